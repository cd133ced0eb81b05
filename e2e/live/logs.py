"""Whatever happens to logs while they are followed: rotated, copied and truncated, deleted, full of nonsense; and the
program ended and started again meanwhile. Each time every line must be counted exactly once.
"""

import collections
import json
import os
import time

from firewall import Failed, rows, wait_for
from traffic import line

# A record for each request, and nobody is banned.
RECORDS = {"count": 1, "if_block": False, "if_warning": False}


class Logs:
    """The part of the test that is about logs."""

    def all_read(self, what, seconds=15):
        """Every line that was written is counted, and no more than that."""
        with self.flow.lock:
            # Whatever is doubled has come by then as well.
            try:
                wait_for("every line is counted", lambda: self.counted() >= self.log.lines, seconds)
                time.sleep(0.25)
            except Failed:
                pass
            if self.counted() != self.log.lines:
                self.problem(f"{what}: {self.log.lines} lines were written, {self.counted()} counted; "
                             f"{self.status()['sources']}")
                self.log.lines = self.counted()

    def counted(self):
        return self.status()["lines"]["total"]

    def aside(self):
        """The next name of a rotated log."""
        self.rotations += 1
        return self.home / f"access.log.{self.rotations}"

    def rotate(self, late=50):
        """A rotation by rename; the old file is written to before and after the new one is there."""
        self.path.rename(self.aside())
        time.sleep(self.random.uniform(0, 0.1))
        with self.flow.lock:
            before = self.log.reopen()
            for _ in range(3):
                self.flow.write(late, into=before)
                self.flow.write(20)
                time.sleep(self.random.uniform(0, 0.15))
            self.flow.write(late, into=before)
            os.close(before)

    def copy_and_truncate(self):
        """As logrotate's `copytruncate` does it, with lines that weren't read yet."""
        with self.flow.lock:
            self.flow.write(500)
            self.aside().write_bytes(self.path.read_bytes())
            os.truncate(self.path, 0)

    def truncate(self):
        with self.flow.lock:
            self.all_read("before a truncation")
            os.truncate(self.path, 0)
            self.flow.write(self.random.randint(1, 400))

    def vanish(self):
        """The log is deleted, written to all the same, and comes back later."""
        with self.flow.lock:
            self.path.unlink()
            self.flow.write(100)
            try:
                wait_for("the status tells that the log is gone", lambda: self.status()["sources"][0]["last_error"], 1)
            except Failed as failure:
                self.problem(str(failure))
            self.flow.write(100)
            before = self.log.reopen()
            self.flow.write(50, into=before)
            os.close(before)

    def folder_vanishes(self):
        """The log is moved away where nobody looks, and back."""
        with self.flow.lock:
            away = self.home / "away"
            away.mkdir(exist_ok=True)
            self.path.rename(away / "access.log")
            self.flow.write(100)
            time.sleep(0.3)
            (away / "access.log").rename(self.path)
            self.flow.write(100)

    def nonsense(self):
        """Lines that are none, between good ones."""
        noise = bytes(self.random.randrange(256) for _ in range(5000)).replace(b"\n", b"")
        lines = [b"\n", b"nonsense\n", noise + b"\n", b"\0" * 4096 + b"\n", b'1.2.3.4 - - [x] "" 0 0\n',
                 b"\x16\x03\x01\x02\r\n", b"a" * (17 << 20) + b"\n", line("1.2.3.4", "/" + "a" * (1 << 20), 0)]
        for each in lines:
            with self.flow.lock:
                self.log.write([each], torn_after=self.random.randrange(len(each)))
                self.flow.write(5)
        self.all_read("nonsense")
        unparsed = self.status()["lines"]["unparsed"]
        print(f"  nonsense: unparsed {unparsed}")
        if sum(unparsed.values()) != 7:
            self.problem(f"nonsense: 7 lines can't be parsed, told are {unparsed}")

    def unfinished(self):
        """A line that is finished only later."""
        with self.flow.lock:
            data = self.flow.numbered(1)[0]
            os.write(self.log.file, data[:40])
            time.sleep(0.5)
            os.write(self.log.file, data[40:])
            self.log.lines += 1

    def logs(self):
        with self.flow.lock:
            self.all_read("before the logs change")
            self.put_in_force(RECORDS, self.by_rename)
            first = self.flow.number
        for _ in range(6):
            self.rotate()
        self.all_read("rotations with late writes")
        for _ in range(3):
            self.rotate(late=0)
        self.all_read("three rotations in a row")
        for _ in range(3):
            self.copy_and_truncate()
            time.sleep(0.3)
        self.all_read("copies and truncations")
        for _ in range(4):
            self.truncate()
        self.all_read("truncations")
        for _ in range(2):
            self.vanish()
            self.all_read("a log that vanished and came back")
        self.folder_vanishes()
        self.all_read("a log that was moved away and back")
        self.nonsense()
        self.unfinished()
        self.all_read("a line in two parts")
        print(f"  logs: {self.log.lines} lines written, {self.counted()} counted")
        return first

    def restarts(self):
        """Ended by SIGTERM while lines flow, with a rotation meanwhile now and then."""
        for number in range(4):
            time.sleep(self.random.uniform(0.1, 0.5))
            self.page = None
            code = self.run.end()
            if code != 0:
                self.problem(f"ended with {code} after SIGTERM")
            if number % 2:
                self.rotate()
            self.flow.write(200)
            self.run.start()
            self.run.wait_until_ready()

    def each_once(self, database, numbers, what):
        """The database has a record of each of these lines, and one of each."""
        def found():
            details = rows(database, "SELECT detail FROM ip_frequency")
            # Of a line that was cut short there is no request.
            requests = [json.loads(detail).get("request", "GET /?").split()[1] for detail, in details]
            return collections.Counter(int(path.split("/")[2]) for path in requests if path.startswith("/line/"))

        try:
            wait_for("a record of every line", lambda: len(found()) >= len(numbers), 20, 0.3)
        except Failed:
            pass
        time.sleep(0.5)
        records = found()
        lost = [number for number in numbers if number not in records]
        doubled = [number for number in numbers if records[number] > 1]
        if lost or doubled:
            self.problem(f"{what}: of {len(numbers)} lines {len(lost)} are lost ({lost[:5]}...), {len(doubled)} "
                         f"doubled ({doubled[:5]}...)")
        print(f"  {what}: {len(numbers)} lines, a record of each: {not lost and not doubled}")
