#!/usr/bin/env python3
"""Breaks one part of a fleet after the other in the middle of a flood, and compares what is left with a model.

    faults.py --binary PATH [--seed 1] [--only NAME,NAME] [--keep]

Two machines with a worker for each role, two agents, Kafka, three nodes of ZooKeeper and MariaDB; visitors and attackers
all the time. Each fault is one of the methods of `Faults`; after each, all must be as it should be again within a
bounded time before the next one comes. At the end `fleet_verdict.py` says whether a ban was lost, doubled, ended early
or more than a second late, began later than is promised for the fault, and whether a record was lost or doubled. Exits 0
where all is as it must be.
"""

import argparse
import contextlib
import json
import pathlib
import random
import signal
import sys
import time

import fleet  # First, for it says where the other modules are.
import fleet_verdict
import floods
from firewall import AgentClient, Failed, wait_for
from fleet_verdict import DECIDED_WITHIN, SLACK, Disturbance
from watch import Watch

AGENTS = ("127.0.0.2", "127.0.0.3")
# All must be as it should be so soon after a fault: the session of a dead worker ends, another one takes over and
# rebuilds its windows.
RECOVERED_WITHIN = 40
SESSION = fleet.SESSION
# How soon bans are promised while something disturbs, in seconds; `Disturbance.within` says after what. What is done to
# agents is no reason for any ban to begin later than otherwise.
#
# What a dead or hanging worker had goes to others once its session is over, and they rebuild its windows.
WORKER_AWAY = SESSION + 4
# The same, with a broker that has all of its clients to get to know again.
BROKER_AWAY = SESSION + 6
# What no decision waits for: ZooKeeper, MariaDB, new settings.
ASIDE = DECIDED_WITHIN + 1
TOPIC = "access-log"


class Story:
    """What happened."""

    def __init__(self):
        self.problems, self.disturbances = [], []
        # How long after a ban's start agents were first seen to hold it; and which bans they held ahead of their rows.
        self.held_after, self.ahead = [], set()


class Test:
    def __init__(self, args, home, servers):
        self.args, self.servers = args, servers
        self.random = random.Random(f"faults {args.seed}")
        self.story = Story()
        self.places = fleet.Places(servers, ensemble=True)
        self.places.topic(TOPIC)
        self.fleet = fleet.Fleet(args.binary, home, self.places, "faults", TOPIC, [fleet.ROLES] * 2, floods.settings(),
                                 agents=AGENTS)
        self.topic = floods.Topic(self.places.kafka, TOPIC, args.seed)
        self.writer = floods.Writer(self.topic, args.seed)
        self.watches = [Watch(agent) for agent in self.fleet.agents]

    def bans(self):
        """The rows of the bans, which also tell attackers when they may come again."""
        bans = fleet_verdict.read_bans(self.fleet.database.rows)
        self.missing = []
        for burst, found in fleet_verdict.match(self.writer.all_bursts(), bans):
            if found:
                self.writer.banned(burst, found[0].end)
            elif burst.arrived_at and burst.arrived_at < time.time() - SLACK:
                self.missing.append(burst)
        return bans

    def not_settled(self, since):
        """What isn't as it should be."""
        if self.writer.failure:
            raise self.writer.failure
        try:
            bans = self.bans()
        except Exception as failure:  # MariaDB may be away.
            return f"the tables can't be read: {failure}"
        if self.missing:
            return f"{len(self.missing)} bursts have led to no ban, as {self.missing[0]}"
        if not any(ban.burst and ban.burst.arrived_at > since for ban in bans):
            return "no new burst has led to a ban"
        for watch in self.watches:
            look = watch.newest(max(since, time.time() - 2))
            if look is None:
                return f"{watch.agent.host} can't be asked what it holds"
            if not look.ready:
                return f"{watch.agent.host} isn't ready"
            for ban in bans:
                if ban.ended_at is None and ban.start < look.before - SLACK and look.after < ban.end - SLACK \
                        and ban.target not in look.held:
                    return f"{watch.agent.host} doesn't hold {ban}"
        return None

    def partitions_move(self):
        """Why partitions may still move from one worker to another. A worker that comes or wakes may be no member of its
        group yet when all looks well, and a group comes to rest twice, for partitions are first taken and then given."""
        from confluent_kafka import KafkaException

        try:
            for role, (group, topic) in self.fleet.groups().items():
                shares = self.places.shares(group)
                running = sum(worker.role == role and worker.runs() for worker in self.fleet.workers)
                if len(shares) != running or 0 in shares or sum(shares) != self.places.partitions(topic):
                    return f"{running} workers of group {group} run, and its members have {shares} partitions"
        except KafkaException as failure:  # Kafka may be away.
            return f"the groups can't be looked at: {failure}"
        return None

    def settle(self, what, seconds=RECOVERED_WITHIN):
        """Waits until all is as it should be."""
        since, last = time.time(), None

        def settled():
            nonlocal since, last
            last = self.not_settled(since)
            if move := self.partitions_move():
                since, last = time.time(), move
            return last is None

        try:
            wait_for(what, settled, seconds, every=0.2)
        except Failed:
            raise Failed(f"{seconds} s after {what}: {last}") from None

    @contextlib.contextmanager
    def disturbed(self, name, within=None, agents=()):
        """Whatever is done in this block disturbs until all has settled after it. `within` is what is promised of bans
        meanwhile; where that counts from a moment, the block says so by the disturbance's `since`."""
        disturbance = Disturbance(name, time.time(), agents=agents, within=within)
        self.story.disturbances.append(disturbance)
        yield disturbance
        done = time.time()
        self.settle(name)
        disturbance.end = time.time()
        begun = time.strftime("%H:%M:%S", time.gmtime(disturbance.begin))
        print(f"  {begun} {name}: {done - disturbance.begin:.1f} s, all well {disturbance.end - done:.1f} s later", flush=True)
        # Undisturbed for a moment, so that the next fault doesn't excuse what this one left.
        self.calm(2.5)

    def calm(self, seconds):
        until = time.time() + seconds
        while time.time() < until:
            self.bans()
            time.sleep(0.2)

    def flood(self):
        """Waits until there is something to lose."""
        def flooded():
            now = time.time()
            return sum(ban.ended_at is None and ban.end > now + 3 for ban in self.bans()) >= 5

        wait_for("enough bans are in force", flooded, 20, every=0.2)

    def owner(self):
        """The worker that owns unblocking."""
        data, _ = self.keeper.get(f"{self.fleet.root}/owner")
        return next(worker for worker in self.fleet.workers if worker.name.encode() in data)

    def play(self):
        AgentClient.generated()
        self.keeper = self.places.keeper()
        try:
            self.fleet.start()
            self.writer.start()
            for watch in self.watches:
                watch.start()
            start = Disturbance("the start", time.time())
            self.story.disturbances.append(start)
            self.settle(start.name, 60)
            start.end = time.time()
            for name in self.args.only:
                self.flood()
                getattr(Faults(self), name)()
                self.fleet.must_run()
            self.finish()
        finally:
            self.writer.ended.set()
            for watch in self.watches:
                watch.ended.set()
            self.fleet.kill()
            with contextlib.suppress(Exception):
                self.keeper.stop()
        return fleet_verdict.judge(self)

    def finish(self):
        """No more attacks; all bans end, all answers are kept, all lines are counted; then all end in good order."""
        self.writer.attacks_on = False
        problems, rows = self.story.problems, self.fleet.database.rows
        longest = max(floods.LENGTHS)

        def over():
            bans = self.bans()
            return not self.missing and all(ban.ended_at is not None for ban in bans)

        def kept():
            records = sum(visitor.sent // floods.COUNT for visitor in self.writer.visitors)
            bans = len(self.bans())
            return rows("SELECT count(*) FROM ip_frequency WHERE alerts = 0")[0][0] >= records and \
                rows("SELECT count(DISTINCT cuuid) FROM unblock_log")[0][0] >= bans

        for what, condition, seconds in (("all bans are over", over, longest + 15), ("all is in the tables", kept, 15)):
            try:
                wait_for(what, condition, seconds, every=0.3)
            except Failed as failure:
                problems.append(str(failure))
            if self.writer.visits_on:
                self.writer.visits_on = False
                time.sleep(0.3)
                self.writer.stop()
                problems += self.topic.finish()
        # What is too much would come now.
        time.sleep(1.5)
        for watch in self.watches:
            watch.stop()
        problems += self.fleet.end()


class Faults:
    """Each method is a fault, but those with an underscore."""

    def __init__(self, test):
        self.test, self.fleet, self.servers, self.random = test, test.fleet, test.servers, test.random

    def _kill_and_restart(self, worker, name):
        """Others take over; then it comes again."""
        with self.test.disturbed(f"{name} ({worker.name}) killed", WORKER_AWAY) as disturbance:
            worker.kill()
            disturbance.since = time.time()
            # Before its session is over nobody knows, and where it had no attacker's lines all would look well.
            time.sleep(SESSION)
        with self.test.disturbed(f"{name} ({worker.name}) started again", WORKER_AWAY) as disturbance:
            worker.start()
            worker.wait_until_ready()
            disturbance.since = time.time()

    def match_worker_killed(self):
        self._kill_and_restart(self.fleet.worker(self.random.choice([1, 2]), "match"), "a match worker")

    def analyse_worker_killed(self):
        owner = self.test.owner()
        self._kill_and_restart(next(worker for worker in self.fleet.workers
                                   if worker.role == "analyse" and worker is not owner), "an analyse worker")

    def owner_killed(self):
        self._kill_and_restart(self.test.owner(), "the owner")

    def owner_restarted_at_once(self):
        owner = self.test.owner()
        with self.test.disturbed(f"the owner ({owner.name}) killed and started at once", WORKER_AWAY) as disturbance:
            owner.kill()
            disturbance.since = time.time()
            owner.start()
            owner.wait_until_ready()

    @contextlib.contextmanager
    def _paused(self, program, seconds, disturbance):
        """For as long as the block takes, and for so many seconds at least. What is promised counts from its waking."""
        program.process.send_signal(signal.SIGSTOP)
        until = time.time() + seconds
        try:
            yield
            time.sleep(max(until - time.time(), 0))
        finally:
            program.process.send_signal(signal.SIGCONT)
            disturbance.since = time.time()

    def owner_paused(self):
        """Past its session; meanwhile another one becomes the owner. Woken, it must do nothing in its old role. Then the
        same is done to the other one, so that a process is the owner for the second time."""
        owner = self.test.owner()
        self._pause_owner(owner)
        self._pause_owner(self.test.owner())
        if self.test.owner() is not owner:
            self.test.story.problems.append(f"{owner.name} isn't the owner again, though the other one was paused")

    def _pause_owner(self, owner):
        with self.test.disturbed(f"the owner ({owner.name}) paused past its session", WORKER_AWAY) as disturbance:
            with self._paused(owner, 2 * SESSION, disturbance):
                wait_for("another owner", lambda: self._other_owner(owner), 2 * SESSION)
        if self.test.owner() is owner:
            self.test.story.problems.append(f"{owner.name} was paused and is the owner again, though another one runs")

    def _other_owner(self, owner):
        from kazoo.exceptions import NoNodeError

        try:
            return self.test.owner() is not owner
        except NoNodeError:
            return False

    def match_worker_paused(self):
        """Past its session: its partitions move, and what it writes when it is woken mustn't count."""
        worker = self.fleet.worker(self.random.choice([1, 2]), "match")
        with self.test.disturbed(f"a match worker ({worker.name}) paused past its session", WORKER_AWAY) as disturbance:
            with self._paused(worker, SESSION * 1.7, disturbance):
                pass

    def broker_killed(self):
        with self.test.disturbed("Kafka killed and started", BROKER_AWAY) as disturbance:
            self.servers.kill("kafka")
            time.sleep(2)
            self.servers.up("kafka")
            disturbance.since = time.time()

    def zookeeper_leader_killed(self):
        leader = self.servers.leader()
        with self.test.disturbed(f"ZooKeeper's leader ({leader}) killed", ASIDE):
            self.servers.kill(leader)
            time.sleep(SESSION / 2)
        with self.test.disturbed(f"{leader} started again", ASIDE):
            self.servers.up(leader)

    def agent_killed(self):
        agent = self.random.choice(self.fleet.agents)
        with self.test.disturbed(f"the agent {agent.host} killed and started again", agents=(agent.host,)):
            agent.kill()
            time.sleep(self.random.uniform(0, 2))
            self._start(agent)

    def _start(self, agent):
        """Its node in ZooKeeper says that it's ready only where it is."""
        agent.start()
        wait_for(f"{agent.host} says in ZooKeeper that it's ready", lambda: self._says_ready(agent), RECOVERED_WITHIN)
        with agent.client() as client:
            if not client.status().ready:
                self.test.story.problems.append(f"{agent.host} is said to be ready in ZooKeeper and isn't")

    def _says_ready(self, agent):
        from kazoo.exceptions import NoNodeError

        agent.must_run()
        try:
            data, node = self.test.keeper.get(f"{self.fleet.root}/agent_list/iptables/{agent.host}")
        except NoNodeError:
            return False
        # The node of the killed one may still be there.
        return node.created >= agent.started and json.loads(data).get("ready") is True

    def agent_hangs(self):
        """Past its session too, so that it vanishes from ZooKeeper and comes again."""
        agent = self.random.choice(self.fleet.agents)
        with self.test.disturbed(f"the agent {agent.host} hangs", agents=(agent.host,)) as disturbance:
            with self._paused(agent, SESSION * 1.5, disturbance):
                pass

    def database_away(self):
        with self.test.disturbed("MariaDB killed and started", ASIDE):
            self.servers.kill("mariadb")
            time.sleep(6)
            self.servers.up("mariadb")

    def settings_edited(self):
        """By ZooKeeper's own zkCli."""
        old, new = ((length,) for length in floods.EDITED_LENGTHS)
        self.test.writer.edit(old + new)
        self.servers.zkcli("set", f"{self.fleet.root}/config", json.dumps(floods.settings(edited=True)))
        # What was written before may be decided a moment later.
        self.test.calm(DECIDED_WITHIN)
        self.test.writer.edit(new)
        with self.test.disturbed("the settings edited by zkCli", ASIDE):
            self.test.calm(4)


FAULTS = [name for name in vars(Faults) if not name.startswith("_")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=lambda names: names.split(","), default=FAULTS, help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--keep", action="store_true", help="keep the folder with states and messages")
    args = parser.parse_args()
    args.binary = args.binary.resolve()
    if set(args.only) - set(FAULTS):
        parser.error(f"--only: some of {', '.join(FAULTS)}")
    print(f"faults: seed {args.seed}", flush=True)
    return fleet.judged("faults", args, lambda home, servers: Test(args, home, servers).play())


if __name__ == "__main__":
    sys.exit(main())
