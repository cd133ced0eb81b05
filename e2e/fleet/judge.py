"""Compares what a fleet decided with what `replay` decides on the log, and with what the log was made for."""

import bisect
import collections
import dataclasses
import datetime
import json
import subprocess

import made_log

# By how much the second of a decision may be another one.
SECONDS_APART = 1
ALERTS = {"block": 1, "warn": 2}


@dataclasses.dataclass(frozen=True, order=True)
class Decided:
    """A decision, with its second counted from the log's beginning."""
    second: int
    target: str
    action: str
    rule: str


@dataclasses.dataclass
class Found:
    """What a fleet left in its database: decisions, how many records of each (target, rule, alerts), and what is wrong
    with the rows as such."""
    decided: list
    records: collections.Counter
    problems: list


def replay(binary, made, home):
    """What `replay` decides on the log."""
    log, settings, form = home / "made.log", home / "made.json", home / "made.format"
    made.write(log)
    settings.write_text(json.dumps(made_log.settings()))
    form.write_text(made_log.FORMAT)
    done = subprocess.run([binary, "replay", "--settings", settings, "--log-format", form, "--output", "json", log],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    summary = json.loads(done.stderr.splitlines()[-1])
    if summary["parsed"] != len(made.lines) or summary["unattributed"] or summary["late"]:
        raise ValueError(f"replay doesn't understand the log: {summary}")
    log.unlink()
    decisions = map(json.loads, done.stdout.splitlines())
    return [Decided(second_of(each["time"]) - made_log.EPOCH, each["ip"], each["action"], each["rule"])
            for each in decisions]


def second_of(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def pairs(wanted, got):
    """Block by block and warning by warning, in order."""
    for action in ALERTS:
        yield from zip(*([each for each in decisions if each.action == action] for decisions in (wanted, got)))


def by_target(decisions):
    found = collections.defaultdict(list)
    for each in sorted(decisions):
        found[each.target].append(each)
    return found


def fates(made, decisions):
    """Where decisions on the log aren't those that its clients are made for."""
    found = by_target(decisions)
    for client in made.clients.values():
        fate = [each.action for each in found.pop(client.target, [])]
        if sorted(fate) != sorted(client.fate):
            yield f"{client.kind} {client.target}: {fate} instead of {client.fate}"
    for target in found:
        yield f"nobody is called {target}"


class Requests:
    """The log's requests, looked up by client and rule."""

    def __init__(self, made):
        self.made, self.known = made, {}

    def seconds(self, target, rule):
        if (target, rule) not in self.known:
            client = self.made.clients.get(target)
            requests = client.requests if client else []
            self.known[target, rule] = sorted(second for second, each in requests if each == rule)
        return self.known[target, rule]

    def justify(self, decided):
        """Whether the newest `COUNT` requests up to that second, or up to one around it, lie close enough."""
        if decided.rule not in made_log.THRESHOLDS:
            return False
        within = made_log.THRESHOLDS[decided.rule][0 if decided.action == "block" else 1]
        seconds = self.seconds(decided.target, decided.rule)
        for second in range(decided.second - SECONDS_APART, decided.second + SECONDS_APART + 1):
            up_to = bisect.bisect_right(seconds, second)
            if bisect.bisect_left(seconds, second - within) <= up_to - made_log.COUNT:
                return True
        return False


def decisions_agree(requests, expected, found):
    """The same decisions on the same targets under the same rules, each once, and each justified by the log."""
    expected, found = by_target(expected), by_target(found)
    for target in sorted(expected.keys() | found.keys()):
        wanted, got = expected.get(target, []), found.get(target, [])
        client = requests.made.clients.get(target)
        name = f"{client.kind if client else 'nobody'} {target}"
        for each in got:
            if not requests.justify(each):
                yield f"{name}: nothing in the log justifies {each}"
        if sorted(each.action for each in wanted) != sorted(each.action for each in got):
            yield f"{name}: decided {short(got)} instead of {short(wanted)}"
            continue
        for want, have in pairs(wanted, got):
            if abs(want.second - have.second) > SECONDS_APART:
                yield f"{name}: decided {short([have])} instead of {short([want])}"
            elif want.rule != have.rule and not (requests.justify(have) and client.kind == "two_rules_at_once"):
                yield f"{name}: decided under {have.rule} instead of {want.rule}"


def short(decisions):
    return [f"{each.action} by {each.rule} at {each.second}" for each in decisions]


def records_agree(requests, found):
    """Clients on whom nothing is decided have a record for every `COUNT` requests: each line counts once."""
    made = requests.made
    expected, seen = collections.Counter(), collections.Counter(found)
    for client in made.clients.values():
        if client.fate:
            for key in [key for key in seen if key[0] == client.target]:
                del seen[key]
            continue
        alerts = -2 if client.kind == "allowed" else 0
        for rule, number in collections.Counter(rule for _, rule in client.requests).items():
            if number >= made_log.COUNT:
                expected[client.target, rule, alerts] = number // made_log.COUNT
    few, many = expected - seen, seen - expected
    for what, difference in (("lost", few), ("too many", many)):
        if difference:
            some = ", ".join(f"{key} {number}" for key, number in sorted(difference.items())[:5])
            yield f"{sum(difference.values())} records {what} of {sum(expected.values())}, as of {some}"


def expected_records(made):
    """How many records there are of clients on whom nothing is decided."""
    return sum(number // made_log.COUNT for client in made.clients.values() if not client.fate
               for number in collections.Counter(rule for _, rule in client.requests).values())


def read(rows, begin):
    """What the database has. `rows` runs a query; `begin` is when the log's first second was."""
    problems, decided = [], []
    records = rows("SELECT ip, rule, alerts, cuuid, endtime FROM ip_frequency ORDER BY id")
    of_ban = collections.Counter(cuuid for *_, alerts, cuuid, _ in records if alerts == ALERTS["block"])
    decided_twice = {cuuid for cuuid, count in of_ban.items() if count > 1}
    for row in rows("SELECT cuuid, ip, id, updatetime, starttime, endtime, cnt FROM ip_frequency WHERE alerts = 1"):
        if row[0] in decided_twice:
            print("    twice:", *row)
    bans = rows("SELECT id, target, rule, decided, count FROM ban")
    for id, target, rule, second, count in bans:
        decided.append(Decided(second - begin, target, "block", rule))
        if count != made_log.COUNT:
            problems.append(f"a ban of {target} for {count} requests")
        if of_ban[id] != 1:
            problems.append(f"{of_ban[id]} records with alerts=1 of the ban of {target}")
    for id in of_ban.keys() - {id for id, *_ in bans}:
        problems.append(f"a record with alerts=1 of a ban that isn't there: {id}")
    for ip, rule, alerts, _, end in records:
        if alerts == ALERTS["warn"]:
            decided.append(Decided(utc(end) - begin, ip, "warn", rule))
    return Found(decided, collections.Counter((ip, rule, alerts) for ip, rule, alerts, *_ in records), problems)


def utc(time):
    """Seconds of a `datetime` column, which is in UTC where the firewall's time zone is."""
    if isinstance(time, str):
        time = datetime.datetime.fromisoformat(time)
    return int(time.replace(tzinfo=datetime.timezone.utc).timestamp())


def judge(requests, expected, found):
    """All that isn't as it must be."""
    return [*found.problems, *decisions_agree(requests, expected, found.decided),
            *records_agree(requests, found.records)]
