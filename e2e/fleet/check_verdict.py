#!/usr/bin/env python3
"""Checks the verdict of `faults.py`: it must tell whatever is wrong in what a fleet left, and find nothing in right things.

    check_verdict.py [--seed 1]

Nothing is started: the rows and the looks at the agents are made up.
"""

import argparse
import contextlib
import datetime
import io
import random
import sqlite3
import sys
import types

import fleet  # First, for it says where the other modules are.  # noqa: F401
import fleet_verdict
from attacks import Visitor
from faults import AGENTS, WORKER_AWAY, Story
from firewall import verdict
from fleet_verdict import DECIDED_WITHIN, Ban, Disturbance
from floods import COUNT, Burst
from watch import Look

BEGIN = 1_800_000_000
SECONDS, EVERY = 160, 0.25
LENGTH, LONG = 4, 20
KILLED, SETTLED = BEGIN + 100, BEGIN + 114
AGENT_KILLED, AGENT_STARTED, AGENT_SETTLED = BEGIN + 130, BEGIN + 133, BEGIN + 135


class Left:
    """What a fleet left that did everything right: a worker was killed, with a ban that its owner told agents of before
    anybody else knew, and that its successor decided on once more; and an agent was killed and started again."""

    def __init__(self):
        self.bans, self.bursts = [], []
        self.calm = [self.attack(f"203.0.113.{n + 1}", BEGIN + 10 + 4 * n) for n in range(20)]
        self.taken_over = self.attack("203.0.113.101", KILLED + 1, after=8)
        self.restored = self.attack("203.0.113.102", AGENT_KILLED - 5, length=LONG)
        self.visitors = [Visitor(f"198.18.0.{n}", 0, 1, n * COUNT // 2) for n in range(1, 8)]
        self.block_log = [[ban.id, f"{host}:9090", 1] for ban in self.bans for host in AGENTS]
        self.unblock_log = [[*row] for row in self.block_log]
        # The agent that was away owes no answer.
        self.unblock_log.remove([self.restored.id, f"{AGENTS[0]}:9090", 1])
        self.records = [[ban.target, 1, ban.id] for ban in self.bans]
        self.records += [[visitor.address, 0, ""] for visitor in self.visitors for _ in range(visitor.sent // COUNT)]
        self.disturbances = [
            Disturbance("a worker killed", KILLED, SETTLED, within=WORKER_AWAY, since=KILLED + 0.1),
            Disturbance("an agent killed", AGENT_KILLED, AGENT_SETTLED, agents=AGENTS[:1]),
        ]
        self.looks = {}
        self.look()

    def attack(self, target, second, length=LENGTH, after=0.3):
        arrived = second + 0.5
        self.bursts.append(Burst(target, "/attack", (length,), second, second, arrived, arrived, COUNT, COUNT))
        start = arrived + after
        return self.ban(target, second, start, start + length)

    def ban(self, target, decided, start, end):
        self.bans.append(Ban(f"{target} {len(self.bans)}", target, decided, start, end, end + 0.1, "expired", COUNT, 0))
        return self.bans[-1]

    def look(self):
        """Looks at agents that hold what is banned, each ban soon after it began."""
        times = [BEGIN + n * EVERY for n in range(int(SECONDS / EVERY))]
        for host in AGENTS:
            self.looks[host] = []
            for at in times:
                begun = at >= AGENT_STARTED
                if host == AGENTS[0] and AGENT_KILLED <= at and not begun:
                    continue
                held = {ban.target: ban.end - at for ban in self.bans if ban.start + 0.1 <= at < ban.end}
                early = self.taken_over
                if early.start - 6 <= at < early.start - 6 + LENGTH:
                    held[early.target] = early.start - 6 + LENGTH - at
                self.looks[host].append(Look(at, at, f"{host} {begun}", at != AGENT_STARTED, 1 + (at > KILLED), held))

    def rows(self, query, *values):
        """As a database has it."""
        with contextlib.closing(sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES)) as database:
            database.execute("CREATE TABLE ban (id, target, decided, start, `end`, ended_at, ended_cause, `count`, during)")
            database.executemany("INSERT INTO ban VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [
                (ban.id, ban.target, ban.decided, ban.start * 1000, ban.end * 1000, ban.ended_at * 1000, ban.cause,
                 ban.count, ban.during) for ban in self.bans])
            for table in ("block_log", "unblock_log"):
                database.execute(f"CREATE TABLE {table} (cuuid, server_ip, flag)")
                database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", getattr(self, table))
            database.execute("CREATE TABLE ip_frequency (ip, alerts, cuuid, starttime datetime, endtime datetime, "
                             "updatetime datetime)")
            now = datetime.datetime.fromtimestamp(BEGIN, datetime.timezone.utc).isoformat()
            database.executemany("INSERT INTO ip_frequency VALUES (?, ?, ?, ?, ?, ?)",
                                 [(*record, now, now, now) for record in self.records])
            return database.execute(query.replace("%s", "?"), values).fetchall()

    def judged(self):
        """What the verdict tells."""
        agents = [types.SimpleNamespace(host=host) for host in AGENTS]
        story = Story()
        story.disturbances = self.disturbances
        test = types.SimpleNamespace(
            story=story,
            fleet=types.SimpleNamespace(database=types.SimpleNamespace(rows=self.rows), agents=agents),
            writer=types.SimpleNamespace(all_bursts=lambda: self.bursts, bursts=self.bursts, visitors=self.visitors,
                                         topic=types.SimpleNamespace(lines=0)),
            watches=[types.SimpleNamespace(agent=agent, looks=self.looks[agent.host]) for agent in agents])
        with contextlib.redirect_stdout(io.StringIO()):
            return fleet_verdict.judge(test)


class Wrong:
    """Ways to be wrong. Each changes what is right, and gives words of what must be told of it."""

    def __init__(self, left, seed):
        self.left, self.random = left, random.Random(f"wrong {seed}")
        self.ban, self.host = self.random.choice(left.calm), self.random.choice(AGENTS)

    def _looks(self, begin, end):
        return [look for look in self.left.looks[self.host] if begin <= look.before < end]

    def _not_held(self, begin, end):
        for look in self._looks(begin, end):
            look.held.pop(self.ban.target, None)

    def _row_of(self, table):
        return self.random.choice([row for row in table if row[0] == self.ban.id])

    def _record(self, alerts):
        return self.random.choice([record for record in self.left.records if record[1] == alerts])

    def _late(self, ban, by):
        ban.start, ban.end, ban.ended_at = ban.start + by, ban.end + by, ban.ended_at + by
        self.left.look()

    # Bans

    def a_ban_is_lost(self):
        self.left.bans.remove(self.ban)
        return "0 bans instead of one"

    def a_ban_is_doubled(self):
        self.left.ban(self.ban.target, self.ban.decided, self.ban.start + 1, self.ban.end + 1)
        return "2 bans instead of one"

    def nothing_led_to_a_ban(self):
        self.left.ban("192.0.2.77", BEGIN + 20, BEGIN + 20, BEGIN + 20 + LENGTH)
        return "nothing led to"

    def a_ban_is_late(self):
        self._late(self.ban, DECIDED_WITHIN)
        return "2.0 s are promised"

    def a_ban_is_later_than_is_promised_for_a_killed_worker(self):
        self._late(self.left.taken_over, WORKER_AWAY - 8 + 0.1)
        return f"{WORKER_AWAY:.1f} s are promised"

    def a_ban_is_late_because_of_an_agent(self):
        self._late(self.left.attack("203.0.113.103", AGENT_KILLED + 1), DECIDED_WITHIN)
        return "2.0 s are promised"

    def a_ban_begins_before_its_burst(self):
        self._late(self.ban, -1)
        return f"{self.ban} began"

    def a_ban_is_too_long(self):
        self.ban.end, self.ban.ended_at = self.ban.end + 3, self.ban.ended_at + 3
        self.left.look()
        return "lasts 7.000 s"

    def a_ban_ends_early(self):
        self.ban.ended_at = self.ban.end - 0.1
        return "expired at"

    def a_ban_is_lifted(self):
        self.ban.cause = "lifted"
        return "lifted at"

    def a_ban_is_for_too_many_requests(self):
        self.ban.count += 1
        return f"{COUNT + 1} requests in"

    # Agents

    def an_agent_never_holds_a_ban(self):
        self._not_held(self.ban.start, self.ban.end)
        return f"{self.host}: {self.ban} isn't held"

    def an_agent_holds_a_ban_late(self):
        self._not_held(self.ban.start, self.ban.start + 2.5)
        return f"{self.host}: {self.ban} isn't held"

    def an_agent_lets_go_early(self):
        self._not_held(self.ban.end - 2, self.ban.end)
        return f"{self.host}: {self.ban} was let go early"

    def an_agent_lets_go_for_a_moment(self):
        self._not_held(self.ban.start + 2, self.ban.start + 2 + EVERY)
        return f"{self.host}: {self.ban} was let go early"

    def an_agent_holds_for_too_long(self):
        for look in self._looks(self.ban.end, self.ban.end + 3):
            look.held[self.ban.target] = 0.1
        return f"{self.ban.target} is held until"

    def an_agent_holds_to_another_end(self):
        for look in self._looks(self.ban.start + 1, self.ban.end):
            look.held[self.ban.target] += 1.5
        return f"{self.ban.target} is held until"

    def an_agent_holds_before_the_ban(self):
        for look in self._looks(self.ban.start - 2, self.ban.start):
            look.held[self.ban.target] = self.ban.end - look.before
        return f"{self.ban.target} is held until"

    def an_agent_holds_what_nobody_banned(self):
        self._looks(BEGIN + 30, BEGIN + 31)[0].held["192.0.2.77"] = 5
        return "192.0.2.77 is held until"

    def an_agent_is_ready_without_its_bans(self):
        self.host = AGENTS[0]
        first = self._looks(AGENT_STARTED, AGENT_SETTLED)[0]
        first.ready, first.held = True, {}
        return "that it's ready"

    def an_agent_never_gets_its_bans_back(self):
        self.host, self.ban = AGENTS[0], self.left.restored
        self._not_held(AGENT_STARTED, self.ban.end)
        return f"{self.host}: {self.ban} isn't held"

    def an_agent_follows_an_old_owner(self):
        self._looks(KILLED + 10, KILLED + 11)[0].epoch = 1
        return "epoch 1 after 2"

    # Rows

    def a_block_is_lost(self):
        self.left.block_log.remove(self._row_of(self.left.block_log))
        return "no row in block_log"

    def a_block_is_doubled(self):
        self.left.block_log.append(self._row_of(self.left.block_log))
        return "2 rows in block_log"

    def an_unblock_is_lost(self):
        self.left.unblock_log.remove(self._row_of(self.left.unblock_log))
        return "no row in unblock_log"

    def an_unblock_is_doubled(self):
        self.left.unblock_log.append(self._row_of(self.left.unblock_log))
        return "2 rows in unblock_log"

    def a_block_of_no_ban(self):
        self.left.block_log.append(["nothing", f"{self.host}:9090", 1])
        return "a row in block_log for a ban or agent that isn't there"

    def a_block_of_no_agent(self):
        self.left.block_log.append([self.ban.id, "127.0.0.99:9090", 1])
        return "a row in block_log for a ban or agent that isn't there"

    def the_record_of_a_ban_is_lost(self):
        self.left.records.remove([self.ban.target, 1, self.ban.id])
        return "0 records with alerts=1"

    def the_record_of_a_ban_is_doubled(self):
        self.left.records.append([self.ban.target, 1, self.ban.id])
        return "2 records with alerts=1"

    def a_record_of_no_ban(self):
        self.left.records.append([self.ban.target, 1, "nothing"])
        return "a record with alerts=1 for a ban that isn't there"

    def a_visitors_record_is_lost(self):
        record = self._record(0)
        self.left.records.remove(record)
        return f"{record[0]}: {self.left.records.count(record)} records instead of"

    def a_visitors_record_is_doubled(self):
        record = self._record(0)
        self.left.records.append(record)
        return f"{record[0]}: {self.left.records.count(record)} records instead of"

    def an_attacker_has_a_visitors_record(self):
        self.left.records.append([self.ban.target, 0, ""])
        return f"1 records with alerts=0 for {self.ban.target}"

    def a_record_of_another_kind(self):
        self.left.records.append([self.ban.target, 2, ""])
        return "1 records with alerts=2"


WAYS = [name for name in vars(Wrong) if not name.startswith("_")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sqlite3.register_converter("datetime", lambda text: datetime.datetime.fromisoformat(text.decode()))
    problems = [f"right results: {problem}" for problem in Left().judged()]
    for way in WAYS:
        left = Left()
        words = getattr(Wrong(left, f"{args.seed} {way}"), way)()
        told = left.judged()
        if not any(words in problem for problem in told):
            problems.append(f"not noticed: {way}, for '{words}' isn't in {told[:3]}")
    return verdict(f"check_verdict, seed {args.seed}, {len(WAYS)} ways to be wrong", problems)


if __name__ == "__main__":
    sys.exit(main())
