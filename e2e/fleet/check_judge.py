#!/usr/bin/env python3
"""Checks the judge of `exactness.py`: it must see whatever is wrong in a fleet's results, and nothing in right ones.

    check_judge.py --binary PATH [--seed 1]
"""

import argparse
import collections
import dataclasses
import pathlib
import random
import sys

import fleet  # First, for it says where the other modules are.  # noqa: F401
import judge
import made_log
from firewall import folder, verdict


def right(made, expected):
    """What a fleet that does everything right leaves."""
    records = collections.Counter()
    for client in made.clients.values():
        if not client.fate:
            alerts = -2 if client.kind == "allowed" else 0
            for rule, number in collections.Counter(rule for _, rule in client.requests).items():
                if number >= made_log.COUNT:
                    records[client.target, rule, alerts] = number // made_log.COUNT
    return judge.Found(list(expected), records, [])


class Wrong:
    """Ways to be wrong. Each changes right results."""

    def __init__(self, made, seed):
        self.made, self.random = made, random.Random(f"wrong {seed}")

    def one_of(self, found, **what):
        fits = [n for n, each in enumerate(found.decided)
                if all(getattr(each, name) == value for name, value in what.items())]
        return self.random.choice(fits)

    def change(self, found, n, **change):
        found.decided[n] = dataclasses.replace(found.decided[n], **change)

    def a_ban_is_lost(self, found):
        del found.decided[self.one_of(found, action="block")]

    def a_warning_is_lost(self, found):
        del found.decided[self.one_of(found, action="warn")]

    def a_ban_is_doubled(self, found):
        found.decided.append(found.decided[self.one_of(found, action="block")])

    def a_ban_is_late(self, found):
        n = self.one_of(found, action="block")
        self.change(found, n, second=found.decided[n].second + 2)

    def a_ban_is_early(self, found):
        n = self.one_of(found, action="block")
        self.change(found, n, second=found.decided[n].second - 2)

    def a_warning_is_a_ban(self, found):
        self.change(found, self.one_of(found, action="warn"), action="block")

    def another_rule(self, found):
        self.change(found, self.one_of(found, rule="/api/*", action="block"), rule="/login")

    def an_unknown_rule(self, found):
        self.change(found, self.one_of(found, action="block"), rule="/nothing")

    def a_visitor_is_banned(self, found):
        visitor = next(client for client in self.made.clients.values() if client.kind == "visitor")
        found.decided.append(judge.Decided(20, visitor.target, "block", "global"))

    def somebody_is_banned(self, found):
        found.decided.append(judge.Decided(20, "192.0.2.77", "block", "global"))

    def one_too_few_is_banned(self, found):
        client = next(client for client in self.made.clients.values() if client.kind == "one_too_few")
        found.decided.append(judge.Decided(client.requests[-1][0], client.target, "block", "global"))

    def a_record_is_lost(self, found):
        found.records -= collections.Counter([self.random.choice(sorted(found.records))])

    def a_record_is_doubled(self, found):
        found.records += collections.Counter([self.random.choice(sorted(found.records))])

    def all(self):
        return [self.a_ban_is_lost, self.a_warning_is_lost, self.a_ban_is_doubled, self.a_ban_is_late,
                self.a_ban_is_early, self.a_warning_is_a_ban, self.another_rule, self.an_unknown_rule,
                self.a_visitor_is_banned, self.somebody_is_banned, self.one_too_few_is_banned, self.a_record_is_lost,
                self.a_record_is_doubled]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    made = made_log.Made(60_000, 60, args.seed, attackers=200)
    with folder() as home:
        expected = judge.replay(args.binary.resolve(), made, home)
    requests = judge.Requests(made)
    problems = [f"the log isn't what it should be: {problem}" for problem in judge.fates(made, expected)]
    problems += [f"right results: {problem}" for problem in judge.judge(requests, expected, right(made, expected))]
    wrong = Wrong(made, args.seed)
    for way in wrong.all():
        found = right(made, expected)
        way(found)
        if not judge.judge(requests, expected, found):
            problems.append(f"not noticed: {way.__name__}")
    return verdict(f"check_judge, seed {args.seed}, {len(wrong.all())} ways to be wrong", problems)


if __name__ == "__main__":
    sys.exit(main())
