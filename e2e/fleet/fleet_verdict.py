"""Compares what a fleet left with the model: bans with bursts, what each agent held with the bans, rows with both."""

import collections
import dataclasses

import floods

# What is on time, in seconds.
SLACK = 1.0
# A decision must come so soon after its lines have reached Kafka, where nothing is disturbed.
DECIDED_WITHIN = 2.0


@dataclasses.dataclass
class Disturbance:
    """Something that was done to the fleet, from when to when all was as it should be again."""
    name: str
    begin: float
    end: float = None
    # The agents that it was done to; all, where it was done to others.
    agents: tuple = ()
    # What is promised meanwhile: a ban begins within so many seconds of its lines, or of `since` where that is later.
    # Without this, nothing but that all will be as it should be again.
    within: float = None
    # When it was done that a fleet needs time for: when a worker died or woke, when the broker was back.
    since: float = 0.0

    def touches(self, host, begin, end):
        """Whether this agent may have been served late between these times."""
        return (not self.agents or host in self.agents) and self.begin <= end and begin <= (self.end or end)

    def latest(self, arrived_at):
        """Until when a ban must begin whose lines were there then."""
        well_again = (self.end or arrived_at) + DECIDED_WITHIN
        return well_again if self.within is None else min(well_again, max(arrived_at, self.since) + self.within)

    def promise(self):
        if self.within is None:
            return ""
        later = f" or after its second {self.since - self.begin:.1f}, where that is later" if self.since else ""
        return f"; promised: {self.within:g} s after them{later}"


@dataclasses.dataclass(eq=False)
class Ban:
    """A row of `ban`, with times in seconds."""
    id: str
    target: str
    decided: int
    start: float
    end: float
    ended_at: float
    cause: str
    count: int
    during: int
    burst: object = None

    def __str__(self):
        return f"{self.target} {self.start:.3f}..{self.end:.3f}"


def read_bans(rows):
    found = rows("SELECT id, target, decided, start, `end`, ended_at, ended_cause, `count`, during FROM ban ORDER BY start")
    return [Ban(id, target, decided, start / 1000, end / 1000, None if ended_at is None else ended_at / 1000, *others)
            for id, target, decided, start, end, ended_at, *others in found]


def match(bursts, bans):
    """Gives each ban the burst that led to it, where there is one, and tells how many bans each burst has."""
    by_target = collections.defaultdict(list)
    for ban in bans:
        by_target[ban.target].append(ban)
    for burst in bursts:
        found = [ban for ban in by_target[burst.target] if burst.first <= ban.decided <= burst.last and not ban.burst]
        for ban in found:
            ban.burst = burst
        yield burst, found


def latest_start(story, arrived_at):
    """Until when a ban must begin whose lines were there then."""
    touching = [each for each in story.disturbances if each.touches(None, arrived_at, arrived_at + DECIDED_WITHIN)]
    return max([arrived_at + DECIDED_WITHIN, *(each.latest(arrived_at) for each in touching)])


def settled(story, since, within, host):
    """From when on this agent can be asked for what was due then and takes so long."""
    ends = [each.end or since for each in story.disturbances if each.touches(host, since, since + within)]
    return max([since, *ends])


def bans_match_bursts(test, bans):
    for burst, found in match(test.writer.all_bursts(), bans):
        if len(found) != 1:
            yield f"{len(found)} bans instead of one for {burst}: {', '.join(map(str, found))}"
        for ban in found:
            if ban.count != floods.COUNT or ban.during > burst.last - burst.first:
                yield f"{ban}: {ban.count} requests in {ban.during} s instead of {burst}"
            if round(ban.end - ban.start, 3) not in burst.lengths:
                yield f"{ban} lasts {ban.end - ban.start:.3f} s instead of {burst.lengths}"
            latest = latest_start(test.story, burst.arrived_at)
            if ban.start < ban.decided or ban.start > latest:
                yield (f"{ban} began {ban.start - burst.arrived_at:.1f} s after its lines were there, at "
                       f"{burst.arrived_at:.3f}: {latest - burst.arrived_at:.1f} s are promised")
            if ban.cause != "expired" or ban.ended_at < ban.end:
                yield f"{ban}: {ban.cause} at {ban.ended_at}"
    for ban in bans:
        if not ban.burst:
            yield f"a ban that nothing led to: {ban} decided {ban.decided}, {ban.count} requests, {ban.cause}"


def ahead_of_row(story, bans, look, end):
    """The ban that an owner told agents of, and was killed before anybody else knew: its successor decides on the same
    requests again, so the ban that is kept begins and ends later, and agents hold it all the time."""
    for ban in bans:
        if ban.burst and ban.burst.written_at <= look.after < ban.start and end <= ban.end + SLACK:
            if any(each.touches(None, look.before - SLACK, ban.start) for each in story.disturbances):
                return ban
    return None


def held_as_banned(test, watch, bans):
    """Each ban is held by this agent, soon after it began and to its end, and not longer."""
    host = watch.agent.host
    by_target = collections.defaultdict(list)
    for ban in bans:
        by_target[ban.target].append(ban)
    wrong = set()
    for look in watch.looks:
        for target in look.held:
            ends = [ban.end for ban in by_target[target] if ban.start - SLACK <= look.after]
            if target in wrong or any(abs(look.end(target) - end) <= SLACK and look.before <= end + SLACK for end in ends):
                continue
            ahead = ahead_of_row(test.story, by_target[target], look, look.end(target))
            if ahead:
                test.story.ahead.add(ahead.id)
            else:
                wrong.add(target)
                yield (f"{host}: at {look.before:.3f} {target} is held until {look.end(target):.3f}, "
                       f"not one of {ends[-3:]}")
    first_looks = {}
    for ban in bans:
        holder = None
        due = settled(test.story, ban.start, SLACK, host) + SLACK
        for look in watch.looks:
            if look.before <= ban.start or look.after >= ban.end - SLACK:
                continue
            if ban.target in look.held:
                if holder is None:
                    test.story.held_after.append(look.before - ban.start)
                holder = look.instance
            elif holder == look.instance:
                yield f"{host}: {ban} was let go early: not held at {look.before:.3f}"
                break
            else:
                start = first_looks.setdefault(look.instance, look.before)
                if look.before > settled(test.story, max(due, start), SLACK, host) + SLACK:
                    yield f"{host}: {ban} isn't held at {look.before:.3f}"
                    break


def ready_means_all(watch, bans):
    """An agent that says it's ready holds all that is in force."""
    known = set()
    for look in watch.looks:
        if look.ready and look.instance not in known:
            known.add(look.instance)
            for ban in bans:
                if ban.start < look.before - SLACK and look.after < ban.end - SLACK and ban.target not in look.held:
                    yield f"{watch.agent.host} says at {look.before:.3f} that it's ready, and {ban} isn't held"


def epochs(watch):
    """No agent follows an owner again that another one has followed."""
    newest = collections.defaultdict(int)
    for look in watch.looks:
        if look.epoch < newest[look.instance]:
            yield f"{watch.agent.host}: epoch {look.epoch} after {newest[look.instance]} at {look.before:.3f}"
        newest[look.instance] = max(look.epoch, newest[look.instance])


def one_row_each(test, bans):
    rows = test.fleet.database.rows
    by_id = {ban.id: ban for ban in bans}
    hosts = {agent.host for agent in test.fleet.agents}
    for table in ("block_log", "unblock_log"):
        found = rows(f"SELECT cuuid, server_ip, flag FROM {table}")
        counts = collections.Counter((cuuid, server.rsplit(":", 1)[0] if server.count(":") == 1 else server)
                                     for cuuid, server, _ in found)
        print(f"  {table}: {len(found)} rows, flags {dict(collections.Counter(flag for *_, flag in found))}")
        for (cuuid, host), count in counts.items():
            if cuuid not in by_id or host not in hosts:
                yield f"a row in {table} for a ban or agent that isn't there: {cuuid} {host}"
            if count != 1:
                yield f"{count} rows in {table} of {host} for {by_id.get(cuuid, cuuid)}"
        for ban in bans:
            for host in hosts:
                # An agent that wasn't there when the ban was made owes no answer.
                away = any(each.agents and each.touches(host, ban.start - SLACK, ban.end + SLACK)
                           for each in test.story.disturbances)
                if not counts[ban.id, host] and not away:
                    yield f"no row in {table} of {host} for {ban}"
    decided = collections.Counter(cuuid for cuuid, in rows("SELECT cuuid FROM ip_frequency WHERE alerts = 1"))
    for ban in bans:
        if decided[ban.id] != 1:
            yield f"{decided[ban.id]} records with alerts=1 for {ban}"
    for cuuid in decided.keys() - by_id.keys():
        yield f"a record with alerts=1 for a ban that isn't there: {cuuid}"


def tallies(test):
    """Each visitor has a record for every so many requests: no line is lost or counted twice."""
    rows = test.fleet.database.rows
    found = dict(rows("SELECT ip, count(*) FROM ip_frequency WHERE alerts = 0 GROUP BY ip"))
    for visitor in test.writer.visitors:
        records, expected = found.pop(visitor.address, 0), visitor.sent // floods.COUNT
        if records != expected:
            yield f"{visitor.address}: {records} records instead of {expected}, of {visitor.sent} requests"
    for address, records in found.items():
        found = rows("SELECT starttime, endtime, updatetime FROM ip_frequency WHERE alerts = 0 AND ip = %s", address)
        spans = ", ".join(f"{begin:%H:%M:%S}..{end:%H:%M:%S} at {at:%H:%M:%S}" for begin, end, at in found)
        yield f"{records} records with alerts=0 for {address}, which has none to have: {spans}"
    for alerts, count in rows("SELECT alerts, count(*) FROM ip_frequency WHERE alerts NOT IN (0, 1) GROUP BY alerts"):
        yield f"{count} records with alerts={alerts}"


def judge(test):
    """All that isn't as it must be."""
    bans = read_bans(test.fleet.database.rows)
    problems = [*test.story.problems, *bans_match_bursts(test, bans)]
    for watch in test.watches:
        problems += [*held_as_banned(test, watch, bans), *ready_means_all(watch, bans), *epochs(watch)]
    problems += one_row_each(test, bans)
    problems += tallies(test)
    visits = sum(visitor.sent for visitor in test.writer.visitors)
    print(f"  {test.writer.topic.lines} lines, {visits} of visitors; {len(bans)} bans of {len(test.writer.bursts)} bursts; "
          f"{' and '.join(str(len(watch.looks)) for watch in test.watches)} looks at the agents")
    print(f"  bans that agents held before anybody but a killed owner knew of them: {len(test.story.ahead)}")
    for each in test.story.disturbances:
        late = [ban.start - ban.burst.arrived_at for ban in bans
                if ban.burst and each.begin - SLACK <= ban.burst.arrived_at <= each.end]
        if late:
            print(f"  {each.name}: {len(late)} bans at most {max(late):.1f} s after their lines{each.promise()}")
    for what, times in (("from lines in Kafka to bans", [ban.start - ban.burst.arrived_at for ban in bans if ban.burst]),
                        ("from bans to agents", test.story.held_after)):
        if times := sorted(times):
            print(f"  {what}: median {times[len(times) // 2]:.2f} s, 99 % within {times[len(times) * 99 // 100]:.2f} s, "
                  f"most {times[-1]:.2f} s")
    return problems
