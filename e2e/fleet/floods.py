"""Visitors and attackers whose lines go to Kafka as they come, and the model of who must be banned for it: known from
the lines that were written, not from the program.

As `attacks.py` of e2e/live has it, with two differences, for lines get mixed up on their way through partitions, and may
come some seconds late while something is down. All requests of a burst lie within two neighbouring seconds, so that it
is one decision in whatever order they are counted; and when a burst could be known of is when Kafka had it.
"""

import dataclasses
import random
import threading
import time

import attacks
from attacks import COUNT, LENGTHS
from traffic import line

TICK = 0.01
# Between a ban's end and the attacker's next burst, in seconds.
APART = 3.0
# Bursts on this URL are banned for as long as the settings say at the moment; a test edits that.
EDITED, EDITED_LENGTHS = "/attack/edited", (4, 9)


def settings(edited=False):
    """The rules: a URL for each length of a ban, and one whose length is edited."""
    made = attacks.settings()
    made["special_rule"][EDITED] = {"block_second": EDITED_LENGTHS[edited]}
    return {**made, "max_new_bans_per_minute": 1_000_000}


@dataclasses.dataclass
class Burst:
    """One burst, and so one ban that must come."""
    target: str
    path: str
    # How long it may be banned: two lengths, where the settings are just being edited.
    lengths: tuple
    # The seconds of its first and its last line.
    first: int
    last: int
    # When so many lines that it must be decided on were written, and when Kafka had them.
    written_at: float = 0.0
    arrived_at: float = 0.0
    written: int = 0
    arrived: int = 0
    ban: object = None


class Attacker:
    def __init__(self, number, generator, now):
        self.random, self.burst, self.later = generator, None, []
        self.ready_at = now + generator.uniform(0.5, 6)
        self.number = number
        self.network = f"2001:db8:0:{number + 1:x}::" if number % 4 == 0 else None
        self.target = f"{self.network}/64" if self.network else f"203.0.113.{number + 1}"

    def address(self):
        if self.network:
            return f"{self.network}{self.random.randrange(1, 0xffff):x}"
        return self.target


class Topic:
    """A topic that lines are written to, each to a partition at random, and asked when they have arrived."""

    def __init__(self, brokers, topic, seed, partitions=8):
        from confluent_kafka import Producer

        self.producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 2,
                                  "delivery.timeout.ms": 120_000, "reconnect.backoff.max.ms": 500,
                                  # A broker that is away is part of the test.
                                  "log_level": 0})
        self.topic, self.partitions, self.random = topic, partitions, random.Random(f"topic {seed}")
        self.lines, self.lost = 0, []

    def write(self, text, arrived=None):
        def told(error, _):
            if error:
                self.lost.append(error)
            elif arrived:
                arrived()

        self.producer.produce(self.topic, text, partition=self.random.randrange(self.partitions), on_delivery=told)
        self.lines += 1

    def serve(self):
        self.producer.poll(0)

    def finish(self):
        """What is wrong, once all that was written should have arrived."""
        waiting = self.producer.flush(60)
        if waiting or self.lost:
            yield f"{waiting} lines didn't reach Kafka, {len(self.lost)} failed: {self.lost[:3]}"


class Writer(threading.Thread):
    """Writes lines until it is told to stop."""

    def __init__(self, topic, seed, visitors=400, attackers=40):
        super().__init__(name="writer", daemon=True)
        self.topic, self.random = topic, random.Random(f"writer {seed}")
        now = time.time()
        # At least 1.05 s from one to the next: nobody has anything against them.
        self.visitors = [attacks.Visitor(f"198.18.{n // 250}.{n % 250 + 1}", now + self.random.random(),
                                         self.random.uniform(1.05, 1.6)) for n in range(visitors)]
        self.attackers = [Attacker(n, self.random, now) for n in range(attackers)]
        self.bursts, self.lock = [], threading.Lock()
        self.edited_lengths = (EDITED_LENGTHS[0],)
        self.attacks_on = self.visits_on = True
        self.ended, self.failure = threading.Event(), None

    def run(self):
        try:
            while not self.ended.wait(TICK):
                self.tick(time.time())
                self.topic.serve()
        except Exception as failure:  # It is told where the others wait.
            self.failure = failure

    def tick(self, now):
        for visitor in self.visitors if self.visits_on else ():
            if visitor.due <= now:
                visitor.sent += 1
                self.topic.write(line(visitor.address, f"/page/{visitor.sent}", int(now)))
                visitor.due = now + visitor.every
        with self.lock:
            for attacker in self.attackers:
                for due in [later for later in attacker.later if later[0] <= now]:
                    attacker.later.remove(due)
                    self.send(attacker, due[1], now)
                ready = attacker.burst is None and attacker.ready_at <= now
                if ready and self.attacks_on and self.random.random() < 0.02:
                    self.begin(attacker, now)

    def begin(self, attacker, now):
        """The burst: at once, or in two parts within 0.4 s; then single requests up to the end of the next second."""
        lengths = {length: "/attack" if length == LENGTHS[0] else f"/attack/{length}" for length in LENGTHS}
        length = self.random.choice([*LENGTHS, None])
        path = EDITED if length is None else lengths[length]
        attacker.burst = Burst(attacker.target, path, self.edited_lengths if length is None else (length,), int(now),
                               int(now))
        self.bursts.append(attacker.burst)
        requests = self.random.randint(COUNT + 2, 3 * COUNT)
        early = requests if self.random.random() < 0.5 else self.random.randint(1, requests - 1)
        attacker.later = [(now + self.random.uniform(0.05, 0.4), requests - early)] if early < requests else []
        attacker.later += [(now + at, 1) for at in (0.6, 0.8)]
        self.send(attacker, early, now)

    def send(self, attacker, requests, now):
        burst = attacker.burst
        second = int(now)
        if second > burst.first + 1:
            # A third second would be another window. Where we were that slow, there was no burst.
            if burst.written < COUNT:
                attacker.burst, attacker.later, attacker.ready_at = None, [], now + APART
            return
        burst.last = second

        def arrived():
            burst.arrived += 1
            if burst.arrived == COUNT:
                burst.arrived_at = time.time()

        if burst.written < COUNT <= burst.written + requests:
            burst.written_at = now
        burst.written += requests
        for _ in range(requests):
            self.topic.write(line(attacker.address(), burst.path, second), arrived)

    def all_bursts(self):
        with self.lock:
            return [burst for burst in self.bursts if burst.written >= COUNT]

    def banned(self, burst, end):
        """A burst's ban is known: its attacker may come again some time after its end."""
        with self.lock:
            for attacker in self.attackers:
                if attacker.burst is burst:
                    attacker.burst, attacker.later = None, []
                    attacker.ready_at = end + APART + self.random.uniform(0, 2)

    def edit(self, lengths):
        """Bursts on the edited URL are banned for one of these lengths from now on."""
        with self.lock:
            self.edited_lengths = lengths

    def stop(self):
        self.ended.set()
        self.join()
        if self.failure:
            raise self.failure
