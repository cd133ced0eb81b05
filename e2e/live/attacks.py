"""Visitors and attackers as lines of a log, and the model of who must be banned for it: slow, obvious, and known
from the lines that were written, not from the program.

Visitors never come twice within a second, so nobody bans them, and each completes a tally with every `COUNT`th
request. Attackers send bursts, far enough apart that each is one decision, at the burst's `COUNT`th line; then a few
requests more, while they are banned.
"""

import dataclasses
import os
import random
import threading
import time

from traffic import line

COUNT = 10
WITHIN = 1
LENGTHS = (3, 4, 5, 7, 10, 14, 20)
# Between a ban's end and the attacker's next burst, in seconds: both ends' second and the window's are over by then.
APART = 2.2
TICK = 0.01
# So many ticks a renamed log is still written to.
LATE_TICKS = 4


def settings():
    """Rules by which each length of a ban has a URL; bursts on other URLs are banned for the shortest time."""
    special = {f"/attack/{length}": {"block_second": length} for length in LENGTHS[1:]}
    return {"count": COUNT, "threshold_secound": WITHIN, "block_second": LENGTHS[0], "if_warning": False,
            "special_rule": special}


@dataclasses.dataclass
class Burst:
    """One burst, and so one ban that must come."""
    target: str
    length: int
    # When its first line was, its `COUNT`th line, and when that was written.
    first: int
    decided: int
    written_at: float


@dataclasses.dataclass
class Attacker:
    address: str
    target: str
    ready_at: float
    burst: Burst = None
    # So many lines of the burst are still to come until the one that is decided on.
    left_to_decide: int = 0
    # Lines that still come: (when, how many, path).
    later: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Visitor:
    address: str
    due: float
    every: float
    sent: int = 0


class Writer(threading.Thread):
    """Writes the log until it is told to stop."""

    def __init__(self, log, seed, visitors=300, attackers=40):
        super().__init__(name="writer", daemon=True)
        self.log, self.random = log, random.Random(f"writer {seed}")
        now = time.time()
        # At least 1.05 s from one to the next, so that no two are in the same second.
        self.visitors = [Visitor(f"198.18.{n // 250}.{n % 250 + 1}", now + self.random.random(),
                                 self.random.uniform(1.05, 1.6)) for n in range(visitors)]
        self.attackers = [self.attacker(n, now) for n in range(attackers)]
        self.bursts = []
        self.lock = threading.Lock()
        self.ordered = None
        self.attacks_on = self.visits_on = True
        self.ended = threading.Event()
        self.failure = None
        # Where the log is to be moved, and after how many ticks it is reopened.
        self.aside, self.reopen_in = None, 0

    def attacker(self, n, now):
        """Every fourth one has an IPv6 address, and is banned with its /64."""
        ready_at = now + self.random.uniform(0.5, 6)
        if n % 4:
            return Attacker(f"203.0.113.{n + 1}", f"203.0.113.{n + 1}", ready_at)
        return Attacker(f"2001:db8:0:{n + 1:x}::{self.random.randrange(1, 0xffff):x}",
                        f"2001:db8:0:{n + 1:x}::/64", ready_at)

    def run(self):
        try:
            while not self.ended.wait(TICK):
                self.tick()
        except Exception as failure:  # It is told where the others wait.
            self.failure = failure

    def tick(self):
        self.rotate_a_little()
        now = time.time()
        lines = []
        for visitor in self.visitors if self.visits_on else ():
            if visitor.due <= now:
                visitor.sent += 1
                lines.append(line(visitor.address, f"/page/{visitor.sent}", int(now)))
                visitor.due = now + visitor.every
        begun = []
        with self.lock:
            ordered, self.ordered = self.ordered, None
            for attacker in self.attackers:
                lines += self.more(attacker, now)
                ready = attacker.burst is None and attacker.ready_at <= now
                if ready and self.attacks_on and (ordered or self.random.random() < 0.01):
                    lines += self.begin(attacker, now)
                    begun.append(attacker)
                    if ordered:
                        ordered.set()
                        ordered = None
            self.ordered = self.ordered or ordered
        if lines:
            torn = self.random.randrange(sum(map(len, lines))) if self.random.random() < 0.05 else None
            self.log.write(lines, torn_after=torn)

    def begin(self, attacker, now):
        """The burst: at once, or in two parts within 0.4 s."""
        length = self.random.choice(LENGTHS)
        path = "/attack" if length == LENGTHS[0] else f"/attack/{length}"
        requests = self.random.randint(COUNT + 2, 3 * COUNT)
        early = requests if self.random.random() < 0.5 else self.random.randint(1, requests - 1)
        attacker.burst = Burst(attacker.target, length, int(now), 0, 0.0)
        attacker.left_to_decide = COUNT
        # While it is banned: at the latest 1.5 s after the decision.
        attacker.later = [(now + self.random.uniform(0.05, 0.4), requests - early, path)] if early < requests else []
        attacker.later += [(now + at, 1, path) for at in (0.9, 1.4)]
        return self.send(attacker, early, path, now)

    def more(self, attacker, now):
        due = [later for later in attacker.later if later[0] <= now]
        attacker.later = [later for later in attacker.later if later[0] > now]
        return [each for _, requests, path in due for each in self.send(attacker, requests, path, now)]

    def send(self, attacker, requests, path, now):
        burst = attacker.burst
        if 0 < attacker.left_to_decide <= requests:
            burst.decided, burst.written_at = int(now), now
            self.bursts.append(burst)
        attacker.left_to_decide -= requests
        return [line(attacker.address, path, int(now))] * requests

    def attack_now(self):
        """An event that is set as soon as some attacker has begun a burst."""
        begun = threading.Event()
        with self.lock:
            self.ordered = begun
        return begun

    def all_bursts(self):
        with self.lock:
            return list(self.bursts)

    def banned(self, target, decided, end):
        """A burst's ban is known: its attacker may come again some time after its end."""
        with self.lock:
            for attacker in self.attackers:
                burst = attacker.burst
                if burst and burst.target == target and burst.decided == decided:
                    attacker.burst = None
                    attacker.ready_at = end + APART + self.random.uniform(0, 3)

    def rotate(self, aside):
        """Rotates the log as logrotate and nginx do: renamed, written to for a moment longer, reopened."""
        self.aside = aside

    def rotate_a_little(self):
        if self.aside:
            self.log.path.rename(self.aside)
            self.aside, self.reopen_in = None, LATE_TICKS
        elif self.reopen_in:
            self.reopen_in -= 1
            if not self.reopen_in:
                os.close(self.log.reopen())

    def stop(self):
        self.ended.set()
        self.join()
        if self.failure:
            raise self.failure
