#!/usr/bin/env python3
"""Fleets of one, two and three workers decide the same as `ccfirewall replay` on one machine.

    exactness.py --binary PATH [--lines 1000000] [--seconds 150] [--seed 1] [--fleets one,two] [--keep]

A made log is spread at random over 8 partitions, each line at its time, shifted to now. Several fleets read the topic
at the same time, each as a group of its own with its own settings and tables, so one pass serves them all:

    all       one worker that does both
    keyed     two such workers that share the topic
    one       a machine with a process for each role
    two, three  as many of them
    killed    two, of which processes are killed with SIGKILL and started again, each while the broker is paused, so that
              what it has produced isn't committed
    skewed    two, on a topic of its own: a backlog is there at the start, and one partition is 30 s behind the others,
              then and for good

At the end each fleet's tables must hold the decisions of `replay`: the same addresses banned and warned under the same
rules within a second, each justified by the log, each once, and every line counted once. Exits 0 where all is so.
"""

import argparse
import pathlib
import random
import sys
import threading
import time

import fleet  # First, for it says where the other modules are.
import judge
import made_log
from firewall import Failed, wait_for
from spread import Spread

ROLES = fleet.ROLES
MACHINES = {"all": [["all"]], "keyed": [["all"]] * 2, "one": [ROLES], "two": [ROLES] * 2, "three": [ROLES] * 3,
            "killed": [ROLES] * 2, "skewed": [ROLES] * 2}
LATE_BY, BACKLOG = 30, 40
# How long the broker pauses before a worker is killed: it hangs between producing and committing then.
PAUSE = 0.6
# How long after the last line all must be in the tables, in seconds.
DONE_WITHIN = 90


class Killer(threading.Thread):
    """Kills workers of a fleet in the midst of their transactions, and starts each again some seconds later."""

    def __init__(self, fleet, servers, seed, begin, seconds):
        super().__init__(name="killer", daemon=True)
        self.fleet, self.servers, self.random = fleet, servers, random.Random(f"killer {seed}")
        self.told, self.failure = [], None
        self.begin = begin
        first, last = 15, seconds - 25
        turns = [(2, "match"), (1, "analyse"), (1, "match"), (2, "analyse")]
        apart = (last - first) / len(turns)
        self.times = [(begin + first + apart * (n + self.random.random() * 0.3), *turn) for n, turn in enumerate(turns)]

    def run(self):
        try:
            for at, machine, role in self.times:
                time.sleep(max(at - time.time(), 0))
                worker = self.fleet.worker(machine, role)
                worker.must_run()
                self.servers.pause("kafka")
                time.sleep(PAUSE)
                worker.kill()
                killed = time.time()
                self.servers.resume("kafka")
                time.sleep(self.random.choice([0, 2, 12]))
                worker.start()
                self.told.append(f"{worker.name} killed at {killed - self.begin:.1f} s, started {time.time() - killed:.0f} s later")
        except Exception as failure:  # It is told where the others wait.
            self.failure = failure


class Test:
    def __init__(self, args, home, servers):
        self.args, self.home = args, home
        self.made = made_log.Made(args.lines, args.seconds, args.seed)
        self.requests = judge.Requests(self.made)
        self.expected = judge.replay(args.binary, self.made, home)
        self.places = fleet.Places(servers)
        self.problems = []
        self.spreads, self.fleets, self.killer = {}, {}, None

    def problem(self, text):
        self.problems.append(text)

    def prepare(self):
        """The topics, the fleets, and the lines on their way."""
        names = self.args.fleets
        for name in names:
            topic = "skewed-log" if name == "skewed" else "access-log"
            if topic not in self.spreads:
                self.places.topic(topic)
                self.spreads[topic] = None
            self.fleets[name] = fleet.Fleet(self.args.binary, self.home, self.places, name, topic, MACHINES[name],
                                            made_log.settings(), made_log.FORMAT)
        if "skewed" in names:
            late = (random.Random(f"late {self.args.seed}").randrange(8), LATE_BY)
            self.spread("skewed-log", int(time.time()) - BACKLOG, late)
            # Until the backlog is there, which is sent at once.
            time.sleep(5)
        for each in self.fleets.values():
            each.start()
        if "access-log" in self.spreads:
            begin = int(time.time()) + 3
            if "killed" in names:
                self.killer = Killer(self.fleets["killed"], self.places.servers, self.args.seed, begin, self.args.seconds)
                self.killer.start()
            self.spread("access-log", begin)

    def spread(self, topic, begin, late=None):
        self.spreads[topic] = Spread(self.made, self.places.kafka, topic, begin, self.args.seed, late=late)
        self.spreads[topic].start()

    def play(self):
        try:
            self.prepare()
            for spread in self.spreads.values():
                self.await_end_of(spread)
            if self.killer:
                self.killer.join(60)
                for told in self.killer.told:
                    print(f"  {told}")
                if self.killer.failure or len(self.killer.told) < len(self.killer.times):
                    self.problem(f"killed: {self.killer.failure or 'not all was killed'}")
            for name in self.fleets:
                self.finish(name)
            if self.killer:
                aborted = self.aborted(self.fleets["killed"])
                print(f"  killed: {aborted} messages with hits were written and never committed")
                if not aborted:
                    self.problem("killed: nobody was killed between producing and committing")
        finally:
            for spread in self.spreads.values():
                if spread and spread.pid:
                    spread.kill()
            for each in self.fleets.values():
                each.kill()
        return self.problems

    def await_end_of(self, spread):
        while spread.is_alive():
            spread.join(1)
            for name, each in self.fleets.items():
                if name != "killed":
                    each.must_run()
            if time.time() > spread.ends() + 60:
                raise Failed(f"{spread.topic} isn't written")
        if spread.exitcode != 0:
            raise Failed(f"{spread.topic} couldn't be written")
        print(f"  {spread.topic}: all is written {time.time() - spread.ends():.1f} s after its time", flush=True)

    def aborted(self, each):
        """How many hits of a fleet were written and never committed: what was killed between the two left them."""
        from confluent_kafka import Consumer, TopicPartition

        counts, until = [], None
        for isolation in ("read_uncommitted", "read_committed"):
            reader = Consumer({"bootstrap.servers": self.places.kafka, "group.id": "nobody", "isolation.level": isolation,
                               "enable.auto.commit": False, "enable.partition.eof": True})
            topic = f"{each.name}.hits"
            ends = {partition: reader.get_watermark_offsets(TopicPartition(topic, partition), 10)[1]
                    for partition in reader.list_topics(topic, 10).topics[topic].partitions}
            # Workers may still write.
            until = until or ends
            reader.assign([TopicPartition(topic, partition, 0) for partition in until])
            read, left = 0, set(until)
            while left:
                for message in reader.consume(10_000, 1):
                    if message.error() or message.offset() >= until[message.partition()]:
                        left.discard(message.partition())
                    else:
                        read += 1
            reader.close()
            counts.append(read)
        return counts[0] - counts[1]

    def finish(self, name):
        """Waits until all is in the tables, and judges that."""
        each = self.fleets[name]
        rows = each.database.rows
        decided = {alerts: sum(one.action == action for one in self.expected) for action, alerts in judge.ALERTS.items()}
        records = judge.expected_records(self.made)

        def complete():
            found = dict(rows("SELECT alerts, count(*) FROM ip_frequency GROUP BY alerts"))
            bans = rows("SELECT count(*) FROM ban")
            return bans and bans[0][0] >= decided[1] and found.get(0, 0) + found.get(-2, 0) >= records and \
                all(found.get(alerts, 0) >= number for alerts, number in decided.items())

        try:
            wait_for("all is in the tables", complete, DONE_WITHIN, every=0.5)
            # What is too much would come now.
            time.sleep(2)
        except Failed:
            pass  # The judge says what isn't there.
        found = judge.read(rows, self.spreads[each.topic].begin)
        problems = judge.judge(self.requests, self.expected, found)
        for worker in each.workers:
            if not worker.runs():
                problems.append(f"{worker.name} doesn't run any more")
        print(f"  {name}: {len(found.decided)} decisions of {len(self.expected)}, {sum(found.records.values())} records; "
              f"{len(problems)} problems", flush=True)
        self.problems += [f"{name}: {problem}" for problem in problems]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=150, help="how long the log is")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fleets", type=lambda names: names.split(","), default=list(MACHINES))
    parser.add_argument("--keep", action="store_true", help="keep the folder with states and messages")
    args = parser.parse_args()
    args.binary = args.binary.resolve()
    if set(args.fleets) - MACHINES.keys():
        parser.error(f"--fleets: some of {', '.join(MACHINES)}")
    print(f"exactness: seed {args.seed}, {args.lines} lines in {args.seconds} s, {', '.join(args.fleets)}", flush=True)

    def play(home, servers):
        test = Test(args, home, servers)
        return [*judge.fates(test.made, test.expected), *test.play()]

    return fleet.judged("exactness", args, play)


if __name__ == "__main__":
    sys.exit(main())
