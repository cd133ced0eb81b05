"""Real Kafka, ZooKeeper, MariaDB and Redis for tests, on 127.0.0.1: `scripts/services` as a class.

    with Servers.own("chaos") as servers:
        broker = servers.up("kafka")
        servers.create_topic("access", 8)
        servers.kill("kafka")

`Servers.own` are nobody else's, and gone at the end of the block. `Servers.shared` are the same ones for all tests, and
stay. Where the servers aren't installed, entering raises `NotInstalled`, for `skips.skip`.
"""

import itertools
import os
import pathlib
import shutil
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = REPOSITORY / "scripts" / "services"
NOT_INSTALLED = 3


class NotInstalled(Exception):
    """Something that the servers need isn't on this machine; the words say what, and how to install it."""


class Failed(Exception):
    """`scripts/services` failed; the words are its own."""


class Servers:
    """A set of servers with data and ports of its own. A name is one of scripts/services, such as `zookeeper3.1`."""

    _count = itertools.count()

    def __init__(self, state, ours):
        self.state, self.ours = state, ours

    @classmethod
    def shared(cls):
        return cls("shared", False)

    @classmethod
    def own(cls, name):
        """`name` holds letters, digits and dashes."""
        return cls(f"{name}-{os.getpid()}-{next(cls._count)}", True)

    def __enter__(self):
        self._call("installed")
        return self

    def __exit__(self, *_):
        if self.ours:
            self._call("wipe")

    def up(self, name):
        """Starts or wakes it, waits until it serves, and says where: `host:port`, of an ensemble several with commas
        between, or a `mysql://` or `redis://` URL. It stays the same over kills and restarts."""
        owner = ["--owner", str(os.getpid())] if self.ours else []
        self._call(*owner, "up", name)
        return self.url(name)

    def url(self, name):
        return self._call("url", name).strip()

    def down(self, name):
        self._call("down", name)

    def kill(self, name):
        self._call("kill", name)

    def pause(self, name):
        self._call("pause", name)

    def resume(self, name):
        self._call("resume", name)

    def wipe(self, name):
        self._call("wipe", name)

    def pids(self, name):
        return [int(pid) for pid in self._call("pid", name).split()]

    def copy_logs(self, to):
        """What each server has said goes to `to`/NAME.log, for it's gone with the servers."""
        to.mkdir(exist_ok=True)
        states = REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target") / "services"
        for log in sorted((states / self.state).glob("*/log")):
            shutil.copyfile(log, to / f"{log.parent.name}.log")

    def leader(self):
        """The node that leads `zookeeper3`."""
        return self._call("leader").strip()

    def zkcli(self, *command):
        """Calls ZooKeeper's own zkCli with one command, and gives what it prints."""
        return self._call("zkcli", *command)

    def topics(self, *arguments):
        """Calls Kafka's own kafka-topics, and gives what it prints."""
        return self._call("topics", *arguments)

    def create_topic(self, topic, partitions):
        self.topics("--create", "--topic", topic, "--partitions", str(partitions))

    def _call(self, *arguments):
        done = subprocess.run([SCRIPT, "--state", self.state, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == NOT_INSTALLED:
            raise NotInstalled(done.stderr.strip())
        if done.returncode != 0:
            raise Failed(f"scripts/services {' '.join(arguments)}: exit code {done.returncode}\n"
                         f"{done.stdout}{done.stderr}")
        return done.stdout
