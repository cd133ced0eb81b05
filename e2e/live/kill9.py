#!/usr/bin/env python3
"""Kills `ccfirewall run` and its agent with SIGKILL again and again, and compares what is left with a model.

    kill9.py --binary PATH [--rounds 100] [--seed 1] [--enforcer dry-run|nftables] [--keep]

A log grows all the time: visitors, and attackers that reach the threshold at random moments. In each round `run`, the
agent or both are killed at a random moment, sometimes within milliseconds of a decision, and started again; sometimes
the log is rotated meanwhile, and sometimes they are killed again while they start. After each restart the bans in
force must be held within 5 s. At the end `verdict.py` says whether any ban came too late, ended early or late, or
whether a row is lost or doubled.

With nftables everything runs in a network namespace of its own, as root. Exits 0 where all is as it must be.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import attacks
import verdict
from firewall import Agent, AgentClient, Failed, Run, judged, rows, wait_for
from skips import skip
from traffic import Log
from watch import Watch


class Story:
    """When what ran, and how soon bans were held again."""

    def __init__(self):
        # (from, until) while run and its agent were ready, and when each was started.
        self.ready = {"run": [], "agent": []}
        self.starts = {"run": [], "agent": []}
        self.restored = []
        self.kills = {"run": 0, "agent": 0, "starting": 0, "deciding": 0}
        self.rotations = 0
        self.problems = []


class Test:
    def __init__(self, args, home):
        self.args, self.home = args, home
        self.random = random.Random(f"kill9 {args.seed}")
        self.story = Story()
        self.agent = Agent(args.binary, home, args.enforcer)
        self.run = Run(args.binary, home)
        (home / "settings.json").write_text(json.dumps(attacks.settings()))
        (home / "ccfirewall.toml").write_text(f"""
            state = "state"
            settings = "settings.json"
            [[source]]
            log = "access.log"
            start = "beginning"
            [agent]
            enabled = false
            [[agents]]
            address = "127.0.0.1:{self.agent.port}"
            mkey_file = "mkey"
            [http]
            listen = "127.0.0.1:0"
        """)
        self.log = Log(home / "access.log")
        self.writer = attacks.Writer(self.log, args.seed)
        self.watch = Watch(self.agent)

    def bans(self):
        """The rows of the bans, which also tell attackers when they may come again."""
        bans = [verdict.BanRow(*row) for row in rows(self.run.database, verdict.BANS)]
        for ban in bans:
            self.writer.banned(ban.target, ban.decided, ban.end)
        return bans

    def start(self, programs):
        for program in programs:
            program.start()
            self.story.starts[program.name].append(program.started)

    def wait_until_ready(self, programs):
        for program in programs:
            program.wait_until_ready()
            self.story.ready[program.name].append([time.time(), None])

    def kill(self, programs):
        for program in programs:
            now = time.time()
            program.must_run()
            program.process.kill()
            periods = self.story.ready[program.name]
            if periods and periods[-1][1] is None:
                periods[-1][1] = now
            self.story.kills[program.name] += 1
        for program in programs:
            program.process.wait()

    def restored(self, since):
        """Waits until all bans in force are held, each to its end."""
        def missing():
            look = self.watch.newest(since)
            if look is None:
                return ["nothing could be seen yet"]
            in_force = [ban for ban in self.bans()
                        if ban.ended_at is None and ban.start < look.before < ban.end - 1]
            return [ban.target for ban in in_force
                    if ban.target not in look.held or abs(look.end(ban.target) - ban.end) > 1]

        left = verdict.RESTORED_WITHIN - (time.time() - since)
        try:
            wait_for("all bans in force are held", lambda: not missing(), max(left, 0), every=0.05)
            self.story.restored.append(time.time() - since)
        except Failed:
            self.story.problems.append(f"{verdict.RESTORED_WITHIN} s after the start at {since:.3f} not held: {missing()}")

    def round(self, number):
        victims = self.random.choices([[self.run], [self.agent], [self.run, self.agent]], [45, 25, 30])[0]
        self.bans()
        if self.random.random() < 0.4:
            # In the middle of a decision, if some attacker isn't banned.
            if self.writer.attack_now().wait(0.5):
                time.sleep(self.random.uniform(0, 0.06))
                self.story.kills["deciding"] += 1
        else:
            time.sleep(self.random.uniform(0, 0.8))
        self.kill(victims)
        if self.random.random() < 0.06:
            self.story.rotations += 1
            self.writer.rotate(self.home / f"access.log.{self.story.rotations}")
        time.sleep(self.random.choice([0, 0, 0.05, 0.2, 0.5, 1.0 if number % 4 else 2.5]))
        self.random.shuffle(victims)
        self.start(victims)
        while self.random.random() < 0.2:
            time.sleep(self.random.uniform(0, 0.3))
            self.kill(victims)
            self.story.kills["starting"] += 1
            self.start(victims)
        self.wait_until_ready(victims)
        self.restored(max(program.started for program in victims))

    def finish(self):
        """No more attacks; all bans end, all answers are kept, all lines are read; then both end in order."""
        self.writer.attacks_on = False
        problems = self.story.problems
        if self.args.enforcer == "nftables":
            problems += verdict.kernel(self.bans(), time.time())
        longest = max(attacks.LENGTHS)

        def over():
            bans = self.bans()
            answered = len(rows(self.run.database, "SELECT id FROM unblock_log"))
            ended = all(ban.ended_at is not None for ban in bans)
            return ended and answered >= len(bans) >= len(self.writer.all_bursts())

        try:
            wait_for("all bans are over and answered", over, longest + 15, every=0.2)
        except Failed as failure:
            problems.append(str(failure))
        self.writer.visits_on = False
        time.sleep(0.3)
        self.writer.stop()

        def read():
            status = self.run.status()
            return all(source["behind_bytes"] == 0 for source in status["sources"])

        wait_for("all lines are read", read, 10, every=0.2)
        time.sleep(0.3)
        self.watch.stop()
        if self.args.enforcer == "nftables":
            problems += verdict.kernel([], time.time())
        for program in (self.run, self.agent):
            code = program.end()
            if code != 0:
                problems.append(f"{program.name} ended with {code} after SIGTERM")

    def play(self):
        AgentClient.generated()
        try:
            self.writer.start()
            self.start([self.agent, self.run])
            self.wait_until_ready([self.agent, self.run])
            self.watch.start()
            began = time.monotonic()
            for number in range(1, self.args.rounds + 1):
                self.round(number)
                if number % 10 == 0:
                    print(f"  round {number}: {len(self.writer.all_bursts())} attacks, {self.log.lines} lines, "
                          f"{time.monotonic() - began:.0f} s", flush=True)
            self.finish()
        finally:
            self.writer.ended.set()
            self.watch.ended.set()
            for program in (self.run, self.agent):
                program.kill()
        return verdict.judge(self)


def in_own_namespace():
    """Starts this test again in a network namespace of its own; returns where that is so already."""
    if os.environ.get("CCFIREWALL_OWN_NAMESPACE"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    missing = [tool for tool in ("unshare", "ip", "nft") if not shutil.which(tool)]
    if os.geteuid() != 0 or missing:
        sys.exit(skip(f"nftables needs root{' and ' + ', '.join(missing) if missing else ''}", needs_root=True))
    os.environ["CCFIREWALL_OWN_NAMESPACE"] = "1"
    os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--enforcer", choices=["dry-run", "nftables"], default="dry-run")
    parser.add_argument("--keep", action="store_true", help="keep the folder with log, journal and database")
    args = parser.parse_args()
    if not shutil.which("thrift"):
        return skip("the Thrift compiler isn't installed")
    if importlib.util.find_spec("thrift") is None:
        return skip("Python's package thrift isn't installed")
    if args.enforcer == "nftables":
        in_own_namespace()
    print(f"kill9: seed {args.seed}, {args.rounds} rounds, {args.enforcer}", flush=True)
    return judged(f"kill9, seed {args.seed}, {args.enforcer}", args.keep, lambda home: Test(args, home).play())


if __name__ == "__main__":
    sys.exit(main())
