"""A little network of hosts on this machine, each a network namespace, joined by veth pairs.

    with Network() as network:
        server, client = network.host("server"), network.host("client")
        network.join(server, ["192.0.2.1/24"], client, ["192.0.2.2/24"])
        server.start(["nginx", "-g", "daemon off;"])
        with client:
            socket.create_connection(("192.0.2.1", 80))

Inside `with host:`, whatever this thread opens or starts is on that host, and stays there. A host has no name in the
system: it is gone when nothing is open in it any more, however this program ends, and its programs are told to end when
the thread that started them does.
"""

import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

# Where `skips` is.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
CLONE_NEWNET = 0x40000000
HERE = os.open("/proc/self/ns/net", os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)


def missing(programs: list[str]) -> str | None:
    """Why there can't be such hosts here, or None."""
    if os.geteuid() != 0:
        return "this needs root"
    if absent := [program for program in ["ip", "setpriv", *programs] if shutil.which(program) is None]:
        return f"these programs aren't here: {', '.join(absent)}"
    try:
        Host("a trial").close()
    except OSError as error:
        return f"no network namespaces: {error}"


def eventually(what: str, holds, seconds: float = 10):
    """Waits until `holds()` is something, and gives that."""
    until = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.005)
    return found


def check(outcome: int, what: str) -> None:
    if outcome != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def new_namespace() -> int:
    check(libc.unshare(CLONE_NEWNET), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


class Host:
    def __init__(self, name: str) -> None:
        self.name = name
        self.links = 0
        self.programs: list[subprocess.Popen] = []
        # A thread goes to a new namespace and ends; what it has opened there keeps it.
        with ThreadPoolExecutor(1) as thread:
            self.namespace = thread.submit(new_namespace).result()
        self.run(["ip", "link", "set", "lo", "up"])

    def __enter__(self) -> "Host":
        check(libc.setns(self.namespace, CLONE_NEWNET), "setns")
        return self

    def __exit__(self, *_) -> None:
        check(libc.setns(HERE, CLONE_NEWNET), "setns")

    def run(self, command: list[str], stdin: str = "") -> str:
        """Runs a program to its end and gives what it printed; an error where it failed."""
        with self:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def ip(self, *commands: str) -> None:
        """Several commands of ip: `route add default via …`."""
        self.run(["ip", "-batch", "-"], "\n".join(commands) + "\n")

    def start(self, command: list[str], **options) -> subprocess.Popen:
        """Starts a program that runs until the network ends."""
        bound = ["setpriv", "--pdeathsig", "TERM", *command]
        with self:
            program = subprocess.Popen(bound, stdin=subprocess.DEVNULL, **options)
        self.programs.append(program)
        return program

    def forward(self) -> None:
        """Makes it a router."""
        with self:
            for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]:
                pathlib.Path("/proc/sys/net", setting).write_text("1")

    def close(self) -> None:
        for program in self.programs:
            program.terminate()
        for program in self.programs:
            try:
                program.wait(timeout=10)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        os.close(self.namespace)


class Network:
    def __init__(self) -> None:
        self.hosts: list[Host] = []

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_) -> None:
        for host in reversed(self.hosts):
            host.close()

    def host(self, name: str) -> Host:
        self.hosts.append(Host(name))
        return self.hosts[-1]

    def join(self, one: Host, ones: list[str], other: Host, others: list[str]) -> None:
        """Puts a cable between two hosts and gives its ends their addresses (`192.0.2.1/24`)."""
        ends = []
        for host, addresses in [(one, ones), (other, others)]:
            ends.append((host, f"cable{host.links}", addresses))
            host.links += 1
        # `ip` goes by a path to find the other host.
        there = f"/proc/{os.getpid()}/fd/{other.namespace}"
        one.ip(f"link add {ends[0][1]} type veth peer name {ends[1][1]} netns {there}")
        for host, cable, addresses in ends:
            # IPv6 addresses are used at once: nobody else can have them.
            add = [f"addr add {address} dev {cable}{' nodad' if ':' in address else ''}" for address in addresses]
            host.ip(*add, f"link set {cable} up")
