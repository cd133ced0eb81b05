"""HTTP from hosts: connections, a visitor who comes all the time, a flood."""

import contextlib
import http.client
import threading
import time

from namespaces import Host

# How long an answer is waited for that has to come, and one that mustn't.
PATIENCE = 5.0
DROPPED = 0.4


class Connection(http.client.HTTPConnection):
    """A connection from a host, with one of its addresses as the source."""

    auto_open = False  # it would be from this program's own host

    def __init__(self, host: Host, source: str, target: str, timeout: float = PATIENCE) -> None:
        super().__init__(target, 80, timeout=timeout, source_address=(source, 0))
        with host:
            self.connect()

    def is_answered(self, within: float = PATIENCE) -> bool:
        self.sock.settimeout(within)
        try:
            self.request("GET", "/")
            response = self.getresponse()
            return response.status == 200 and response.read() == b"hello\n"
        except TimeoutError:
            return False


def is_answered(host: Host, source: str, target: str, within: float = PATIENCE) -> bool:
    """Whether a new connection gets through and is answered."""
    try:
        with contextlib.closing(Connection(host, source, target, within)) as connection:
            return connection.is_answered(within)
    except TimeoutError:
        return False


def opens(host: Host, source: str, target: str, within: float) -> float:
    """Tries every 3 ms until a connection gets through, and gives the time."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        # On cables without a length an answer comes at once or never.
        with contextlib.suppress(TimeoutError):
            Connection(host, source, target, timeout=0.003).close()
            return time.time()
    raise TimeoutError(f"not within {within} s: {target} lets {source} in")


class Visits:
    """A visitor who asks for something all the time, four times a second on each way (its address, and where to)."""

    def __init__(self, host: Host, ways: list[tuple[str, str]]) -> None:
        self.host, self.done, self.slowest, self.failed, self.end = host, 0, 0.0, [], threading.Event()
        self.threads = [threading.Thread(target=self.visit, args=way, daemon=True) for way in ways]
        for thread in self.threads:
            thread.start()

    def visit(self, source: str, target: str) -> None:
        while not self.end.wait(0.25):
            asked = time.monotonic()
            try:
                answer = "answered" if is_answered(self.host, source, target) else "no answer"
            except (OSError, http.client.HTTPException) as error:
                answer = repr(error)
            self.done += 1
            self.slowest = max(self.slowest, time.monotonic() - asked)
            if answer != "answered":
                self.failed.append(f"{source} at {target}: {answer}")

    def close(self) -> None:
        self.end.set()
        for thread in self.threads:
            thread.join()


def flood(host: Host, source: str, target: str) -> tuple[int, float]:
    """Asks as fast as it goes until nothing is answered. Gives how many answers there were, and for how long."""
    answers: list[float] = []
    begun = time.monotonic()

    def ask() -> None:
        while time.monotonic() < begun + 10 and is_answered(host, source, target, DROPPED):
            answers.append(time.monotonic() - begun)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(answers), max(answers, default=0.0)
