"""An nginx access log in `combined` that grows, as nginx writes one: whole lines in single writes (or torn ones,
where a test wants that), through a file that stays open until it is told to reopen.
"""

import os
import threading
import time


def stamp(second, known={}):
    """A second as `$time_local`, in UTC."""
    if second not in known:
        known.clear()
        known[second] = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))
    return known[second]


def line(address, path, second):
    """A request as a line."""
    return f'{address} - - [{stamp(second)}] "GET {path} HTTP/1.1" 200 512 "-" "e2e"\n'.encode()


class Log:
    """A log file that is appended to."""

    def __init__(self, path):
        self.path = path
        self.lines = 0
        self.reopen()

    def reopen(self):
        """Opens the path anew, as nginx does at SIGUSR1; what was open is given back, to be written to and closed."""
        before = getattr(self, "file", None)
        self.file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        return before

    def write(self, lines, into=None, torn_after=None):
        """Appends lines, into an older file where one is given; torn at so many bytes, with a moment between."""
        data = b"".join(lines)
        file = self.file if into is None else into
        if torn_after is not None and 0 < torn_after < len(data):
            self._all(file, data[:torn_after])
            time.sleep(0.003)
            data = data[torn_after:]
        self._all(file, data)
        self.lines += len(lines)

    @staticmethod
    def _all(file, data):
        while data:
            data = data[os.write(file, data):]

    def close(self):
        os.close(self.file)


class Flow(threading.Thread):
    """Lines that flow, 500 a second, each from an address of its own and with its number."""

    def __init__(self, log):
        super().__init__(name="flow", daemon=True)
        self.log, self.number = log, 0
        # Whoever has it writes to the log.
        self.lock = threading.RLock()
        self.ended = threading.Event()

    def numbered(self, count):
        now = int(time.time())
        numbers = range(self.number, self.number + count)
        self.number += count
        return [line(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", f"/line/{n}", now) for n in numbers]

    def write(self, count, into=None):
        with self.lock:
            self.log.write(self.numbered(count), into)

    def run(self):
        while not self.ended.wait(0.02):
            self.write(10)
