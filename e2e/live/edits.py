#!/usr/bin/env python3
"""Changes settings and logs under a running `ccfirewall run`, while lines flow, and looks whether it notices at once
and counts every line exactly once.

    edits.py --binary PATH [--seed 1] [--keep]

Each line comes from an address of its own. Where lines must be told apart, the settings make a record of every
request, so the database has each line with its number. Exits 0 where all is as it must be.
"""

import argparse
import collections
import json
import pathlib
import random
import subprocess
import sys
import time

from firewall import Failed, Run, UnixConnection, judged, wait_for
from logs import Logs
from traffic import Flow, Log, line

# A change must be in force so soon, in seconds.
IN_FORCE_WITHIN = 0.2
BURST = 30
STRICT = {"count": 20, "threshold_secound": 2, "block_second": 60, "if_warning": False}
LAX = {**STRICT, "count": 5000}
BROKEN = {
    "half of a JSON": b'{"count": 5000, "threshold_secound": 2, "block_sec',
    "wrong values": b'{"count": -5, "block_second": "soon", "threshold_secound": 2}',
    "an unknown key": b'{"cuont": 5000}',
    "not even text": b"\xff\xfe\x00\x01",
    "empty": b"",
}


class Test(Logs):
    def __init__(self, args, home):
        self.home = home
        self.random = random.Random(f"edits {args.seed}")
        self.settings = home / "settings.json"
        self.path = home / "access.log"
        self.binary = args.binary
        self.run = Run(args.binary, home, ["--log", self.path, "--from-beginning", "--settings", self.settings,
                                           "--state", home / "state", "--http", "127.0.0.1:0", "--enforcer",
                                           "dry-run"])
        self.log = Log(self.path)
        self.flow = Flow(self.log)
        self.attackers = (f"198.18.{n >> 8}.{n & 255}" for n in range(1, 60_000))
        self.problems = []
        self.rotations = 0
        # How long settings took to be in force, by the way they were edited.
        self.times = collections.defaultdict(list)
        self.page = None

    def problem(self, text):
        print(f"  PROBLEM {text}", flush=True)
        self.problems.append(text)

    def status(self):
        """The status, over a connection that stays open."""
        self.page = self.page or UnixConnection(self.run.state / "control.sock", 5)
        self.page.request("GET", "/api/v1/status")
        return json.loads(self.page.getresponse().read())

    def in_place(self, text):
        self.settings.write_bytes(text)

    def by_rename(self, text):
        new = self.home / "settings.new"
        new.write_bytes(text)
        new.rename(self.settings)

    def by_symlink(self, text):
        """As a ConfigMap's files change: a link is put in the place of the link."""
        target = self.home / f"settings.{self.random.randrange(1 << 40):x}.json"
        target.write_bytes(text)
        link = self.home / "settings.link"
        link.symlink_to(target.name)
        link.rename(self.settings)

    def put_in_force(self, settings, edit, name=None):
        """Edits the settings; how long it took until the status said so."""
        before = self.status()["settings"]["version"]
        # Never the same bytes twice: that would be no change.
        text = json.dumps({**settings, "retention_days": self.random.randint(1, 10**6)}).encode()
        edited = time.time()
        edit(text)
        edited = (edited + time.time()) / 2
        try:
            wait_for("a new version of the settings", lambda: self.status()["settings"]["version"] > before, 2, 0.003)
        except Failed as failure:
            return self.problem(f"{name}: {failure}")
        took = time.time() - edited
        self.times[name or "others"].append(took)
        if took > IN_FORCE_WITHIN:
            self.problem(f"{name}: in force only after {took * 1000:.0f} ms")
        return None

    def burst(self, banned, what):
        """A burst leads to a ban, or doesn't."""
        attacker = next(self.attackers)
        with self.flow.lock:
            now = int(time.time())
            self.log.write([line(attacker, "/attack", now)] * BURST)
            written = self.log.lines

        def is_banned():
            return any(ban["target"] == attacker for ban in self.run.get("/api/v1/bans?limit=1000")["bans"])

        try:
            if banned:
                wait_for("the ban", is_banned, 2)
                return
            wait_for("its lines are read", lambda: self.status()["lines"]["total"] >= written, 5)
            time.sleep(0.2)
            if is_banned():
                self.problem(f"{what}: a ban by settings that aren't in force")
        except Failed as failure:
            self.problem(f"{what}: {failure}")

    def edits(self):
        ways = {"in place": self.in_place, "by rename": self.by_rename, "by symlink": self.by_symlink}
        for number in range(24):
            name, edit = list(ways.items())[number % 3]
            strict = number // 3 % 2 == 0
            self.put_in_force(STRICT if strict else LAX, edit, name)
            self.burst(strict, f"{name}, {'strict' if strict else 'lax'}")
        # Without a look at the status: what comes 200 ms after the edit is decided by it.
        for number in range(6):
            strict = number % 2 == 0
            self.by_rename(json.dumps(STRICT if strict else LAX).encode())
            time.sleep(IN_FORCE_WITHIN)
            self.burst(strict, f"200 ms after an edit, {'strict' if strict else 'lax'}")
        for name, times in self.times.items():
            milliseconds = sorted(round(1000 * each) for each in times)
            print(f"  settings {name}: in force after {milliseconds} ms")

    def told(self):
        return any(alarm["kind"] == "settings" for alarm in self.status()["alarms"])

    def broken(self):
        breaks = {name: (lambda text=text: self.in_place(text)) for name, text in BROKEN.items()}
        breaks["deleted"] = self.settings.unlink
        breaks["a link to nothing"] = lambda: self.by_link_to_nothing()
        for number, (name, break_it) in enumerate(breaks.items()):
            if self.settings.is_symlink():
                self.settings.unlink()
            strict = number % 2 == 0
            self.put_in_force(STRICT if strict else LAX, self.by_rename)
            before = self.status()["settings"]
            break_it()
            try:
                wait_for("errors in the status", lambda: self.status()["settings"]["errors"], 1)
                wait_for("an alarm", self.told, 2)
                self.burst(strict, f"settings broken ({name})")
                now = self.status()["settings"]
                if (now["version"], now["loaded_at"]) != (before["version"], before["loaded_at"]):
                    self.problem(f"settings broken ({name}): another version is in force: {before} {now}")
                self.put_in_force(LAX if strict else STRICT, self.by_rename, "healing")
                wait_for("no error and no alarm", lambda: not self.status()["settings"]["errors"] and not self.told(),
                         1)
                self.burst(not strict, f"settings healed ({name})")
            except Failed as failure:
                self.problem(f"settings broken ({name}): {failure}")
        print(f"  broken settings: {', '.join(breaks)}")

    def by_link_to_nothing(self):
        self.settings.unlink()
        self.settings.symlink_to("nowhere.json")

    def standard_input(self):
        state = self.home / "piped"
        run = Run(self.binary, self.home, ["--log", "-", "--settings", self.settings, "--state", state, "--http",
                                           "127.0.0.1:0", "--enforcer", "dry-run"])
        first = self.flow.number
        lines = self.flow.numbered(20_000)
        run.start(stdin=subprocess.PIPE)
        try:
            # The last line has no line feed.
            data = b"".join(lines)[:-1]
            half = len(data) // 2 + 7
            run.process.stdin.write(data[:half])
            run.process.stdin.flush()
            time.sleep(0.5)
            run.process.stdin.write(data[half:])
            run.process.stdin.close()
            code = run.process.wait(30)
            if code != 0:
                self.problem(f"standard input: ended with {code}")
        except (subprocess.TimeoutExpired, BrokenPipeError) as error:
            self.problem(f"standard input: {error}")
        finally:
            run.kill()
        self.each_once(state / "ccfirewall.db", range(first, first + len(lines)), "standard input")

    def play(self):
        self.settings.write_text(json.dumps(LAX))
        try:
            self.run.start()
            self.run.wait_until_ready()
            self.flow.start()
            self.edits()
            self.broken()
            self.all_read("edits of the settings")
            first = self.logs()
            self.restarts()
            self.flow.ended.set()
            self.flow.join()
            self.each_once(self.run.state / "ccfirewall.db", range(first, self.flow.number),
                           "logs and restarts")
            if self.run.end() != 0:
                self.problem("the last SIGTERM")
            self.standard_input()
        finally:
            self.flow.ended.set()
            self.run.kill()
        return self.problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs, journal and database")
    args = parser.parse_args()
    print(f"edits: seed {args.seed}", flush=True)
    return judged(f"edits, seed {args.seed}", args.keep, lambda home: Test(args, home).play())


if __name__ == "__main__":
    sys.exit(main())
