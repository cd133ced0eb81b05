"""Compares what a run left with the model: bans with bursts, what the agent held with the bans, rows with both."""

import collections
import json
import subprocess

import attacks
from firewall import rows

# What is on time.
SLACK = 1.0
# A decision must come so soon after its line, where the program runs.
DECIDED_WITHIN = 1.5
# And bans in force must be held so soon after a restart.
RESTORED_WITHIN = 5.0


BANS = 'SELECT id, target, decided, start, "end", ended_at, ended_cause, count, during FROM ban'


class BanRow:
    """A row of `ban`, with times in seconds."""

    def __init__(self, id, target, decided, start, end, ended_at, cause, count, during):
        self.id, self.target, self.decided = id, target, decided
        self.start, self.end = start / 1000, end / 1000
        self.ended_at = None if ended_at is None else ended_at / 1000
        self.cause, self.count, self.during = cause, count, during

    def __repr__(self):
        return f"{self.target} {self.start:.3f}..{self.end:.3f}"


def latest_decision(written_at, ready):
    """Until when a burst must be decided on: soon after its line, in the first run that lived for long enough."""
    for since, until in ready:
        latest = max(since, written_at) + DECIDED_WITHIN
        if until is None or latest <= until:
            return latest
    return None


def bans_match_bursts(test, bans):
    by_burst = collections.defaultdict(list)
    for ban in bans:
        by_burst[ban.target, ban.decided].append(ban)
    for burst in test.writer.all_bursts():
        found = by_burst.pop((burst.target, burst.decided), [])
        if len(found) != 1:
            yield f"{len(found)} bans instead of one for {burst}: {found}"
        for ban in found:
            if ban.count != attacks.COUNT or ban.during != burst.decided - burst.first:
                yield f"{ban}: {ban.count} requests in {ban.during} s instead of {burst}"
            if round(ban.end - ban.start, 3) != burst.length:
                yield f"{ban} doesn't last {burst.length} s"
            latest = latest_decision(burst.written_at, test.story.ready["run"])
            if ban.start < burst.decided or latest and ban.start > latest:
                yield f"{ban} should begin between {burst.written_at:.3f} and {latest}"
            if ban.cause != "expired" or ban.ended_at < ban.end:
                yield f"{ban}: {ban.cause} at {ban.ended_at}"
            ended = latest_decision(ban.end, test.story.ready["run"])
            if ended and ban.ended_at is not None and ban.ended_at > ended:
                yield f"{ban} was over only at {ban.ended_at:.3f}"
    for ban in (ban for found in by_burst.values() for ban in found):
        yield f"a ban that nothing led to: {ban} decided {ban.decided}, {ban.count} requests, {ban.cause}"


def held_as_banned(test, bans):
    """Each ban is held to its end and not longer, from when it was first seen; after a restart soon again."""
    looks = test.watch.looks
    by_target = collections.defaultdict(list)
    for ban in bans:
        by_target[ban.target].append(ban)
    for look in looks:
        for target in look.held:
            ends = [ban.end for ban in by_target[target] if ban.start - SLACK <= look.after]
            if not any(abs(look.end(target) - end) <= SLACK and look.before <= end + SLACK for end in ends):
                yield f"at {look.before:.3f} {target} is held until {look.end(target):.3f}, not one of {ends}"
    # The kernel keeps bans when an agent is killed; a dry run begins anew.
    survives = test.args.enforcer == "nftables"
    starts = sorted(test.story.starts["run"] + test.story.starts["agent"])
    for ban in bans:
        holder = None
        for look in looks:
            if not ban.start < look.before or not look.after < ban.end - SLACK:
                continue
            instance = survives or look.instance
            if ban.target in look.held:
                holder = instance
            elif holder == instance:
                yield f"{ban} was let go early: not held at {look.before:.3f}"
                holder = None
            else:
                down = [since for since in gaps(test.story) if since <= look.before]
                newest = max([start for start in starts if start <= look.before], default=0)
                settled = max([newest, ban.start, *down])
                if look.before - settled > RESTORED_WITHIN:
                    yield f"{ban} isn't held at {look.before:.3f}, {look.before - settled:.1f} s after all ran"


def gaps(story):
    """When run or agent were killed."""
    return [until for periods in story.ready.values() for _, until in periods if until]


def never_held(test, bans):
    """Bans that could have been seen at the agent, and never were."""
    for ban in bans:
        seen = any(ban.target in look.held for look in test.watch.looks if ban.start < look.before < ban.end)
        if not seen:
            yield ban


def one_row_each(test, bans):
    database = test.run.database
    ids = {ban.id for ban in bans}
    unseen = {ban.id for ban in never_held(test, bans)}
    for table in ("block_log", "unblock_log"):
        found = rows(database, f"SELECT cuuid, server_ip, flag FROM {table}")
        counts = collections.Counter(cuuid for cuuid, *_ in found)
        for ban in bans:
            if counts[ban.id] != 1:
                yield f"{counts[ban.id]} rows in {table} for {ban}"
        for cuuid in set(counts) - ids:
            yield f"a row in {table} for a ban that isn't there: {cuuid}"
        flags = collections.Counter(flag for *_, flag in found)
        print(f"  {table}: {len(found)} rows, flags {dict(flags)}")
        for cuuid, agent, flag in found:
            if agent != f"127.0.0.1:{test.agent.port}":
                yield f"{table} has an agent that isn't there: {agent}"
            if flag not in (1, -1) and table == "block_log" and cuuid in ids - unseen:
                yield f"block_log says {flag} of a ban that was held: {cuuid}"
    decided = collections.Counter(cuuid for cuuid, in rows(database, "SELECT cuuid FROM ip_frequency WHERE alerts = 1"))
    for ban in bans:
        if decided[ban.id] != 1:
            yield f"{decided[ban.id]} records with alerts=1 for {ban}"
    for cuuid in set(decided) - ids:
        yield f"a record with alerts=1 for a ban that isn't there: {cuuid}"


def tallies(test):
    """Each visitor has a record for every so many requests, and for just those."""
    found = collections.defaultdict(list)
    for address, detail in rows(test.run.database, "SELECT ip, detail FROM ip_frequency WHERE alerts = 0 ORDER BY id"):
        found[address].append(json.loads(detail)["request"])
    for visitor in test.writer.visitors:
        records = [int(request.split()[1].rpartition("/")[2]) for request in found.pop(visitor.address, [])]
        expected = list(range(attacks.COUNT, visitor.sent + 1, attacks.COUNT))
        if records != expected:
            yield f"{visitor.address}: records at its requests {records}, instead of {expected}"
    for address, requests in found.items():
        yield f"records with alerts=0 for {address}, which has none to have: {requests}"
    for alerts, count in rows(test.run.database,
                              "SELECT alerts, count(*) FROM ip_frequency WHERE alerts NOT IN (0, 1) GROUP BY alerts"):
        yield f"{count} records with alerts={alerts}"


def kernel(bans, now):
    """What nftables has, compared with the bans in force."""
    listed = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, check=True, text=True).stdout
    held = {}
    for entry in json.loads(listed)["nftables"]:
        for element in entry.get("set", {}).get("elem", []):
            element = element["elem"]
            value = element["val"]
            address = value["prefix"]["addr"] if isinstance(value, dict) else value
            held[address] = now + element["expires"]
    problems = []
    in_force = {ban.target.split("/")[0]: ban for ban in bans if ban.start < now - 1 and ban.end > now + 1}
    for address, ban in in_force.items():
        if abs(held.get(address, 0) - ban.end) > SLACK + 1:
            problems.append(f"the kernel has {held.get(address)} for {ban}")
    ends = {ban.target.split("/")[0]: ban.end for ban in bans}
    for address, end in held.items():
        if end > now + SLACK + 1 and abs(ends.get(address, 0) - end) > SLACK + 1:
            problems.append(f"the kernel drops {address} until {end:.0f}, and no ban says so")
    print(f"  nftables: {len(held)} elements, {len(in_force)} bans in force")
    return problems


def judge(test):
    """All that isn't as it must be."""
    story = test.story
    bans = [BanRow(*row) for row in rows(test.run.database, BANS)]
    problems = list(story.problems)
    problems += bans_match_bursts(test, bans)
    problems += held_as_banned(test, bans)
    problems += one_row_each(test, bans)
    problems += tallies(test)
    restored = sorted(story.restored)
    visits = sum(visitor.sent for visitor in test.writer.visitors)
    print(f"  {story.kills['run']} kills of run and {story.kills['agent']} of the agent; {story.kills['starting']} "
          f"while they started, {story.kills['deciding']} right after an attack began; {story.rotations} rotations")
    print(f"  {test.log.lines} lines, {visits} of {len(test.writer.visitors)} visitors; {len(bans)} bans; "
          f"{len(test.watch.looks)} looks at the agent")
    if restored:
        print(f"  bans held again after a start: median {restored[len(restored) // 2]:.2f} s, "
              f"most {restored[-1]:.2f} s ({len(restored)} times)")
    print(f"  bans that no look saw at the agent: {len(list(never_held(test, bans)))}")
    for table, what in (("block_server_log", "agent"), ("block_url_log", "rule")):
        total = rows(test.run.database, f"SELECT coalesce(sum(num), 0) FROM {table}")
        print(f"  {table}: {total[0][0]} of {len(bans)} bans in the totals per {what}")
    return problems
