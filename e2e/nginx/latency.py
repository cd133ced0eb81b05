#!/usr/bin/env python3
"""Measures `ccfirewall run`: from a line in the log to the drop in the kernel, from an order to lift a ban to its end,
and how long 100,000 bans take.

    latency.py --binary PATH [--attackers N] [--bans N] [--seed N]

The firewall runs on a host of its own (a network namespace) with nftables. The kernel itself tells when a ban is in it:
it sends a message when the change holds. Needs root, ip and nft; without them it says so and exits 0. Prints tables for
docs/benchmarks.md.
"""

import argparse
import contextlib
import os
import pathlib
import platform
import random
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from firewall import Firewall, ban_path
from monitor import ADDED, DELETED, Monitor
from namespaces import Host, Network, eventually, missing
from skips import skip

COUNT = 3
RULES = {"threshold_secound": 60, "block_second": 3600, "if_warning": False, "max_new_bans_per_minute": 10_000_000}


def line(address: str) -> bytes:
    now = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
    return f'{address} - - [{now}] "GET / HTTP/1.1" 200 5 "-" "-"\n'.encode()


def addresses(first: str, many: int) -> list[str]:
    one, two, *_ = first.split(".")
    return [f"{one}.{int(two) + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(many)]


def percentiles(what: str, seconds: list[float]) -> str:
    """A row of the table, in milliseconds."""
    ordered = sorted(seconds)
    at = [ordered[round(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.9, 0.99, 1)]
    return f"| {what} | {len(ordered)} | " + " | ".join(f"{ms:.2f}" for ms in at) + " |"


class Scene:
    """A firewall with an empty log, in a folder and on a host of its own."""

    def __init__(self, network: Network, folder: pathlib.Path, binary: str, settings: dict) -> None:
        folder.mkdir()
        self.host: Host = network.host(folder.name)
        self.log = folder / "access.log"
        self.file = open(self.log, "ab", buffering=0)
        self.firewall = Firewall(binary, self.host, folder, self.log, RULES | settings)
        self.agent = [binary, "agent"]

    def monitor(self) -> Monitor:
        with self.host:
            return Monitor()


def single_bans(scene: Scene, many: int, chance: random.Random) -> tuple[list[float], list[float]]:
    """For one attacker after the other, from the line that completes its window to its ban in the kernel; and from the
    order to lift it to its end there."""
    bans, unbans = [], []
    scene.firewall.start()
    with scene.monitor() as monitor:
        for address in addresses("11.0", many):
            scene.file.write(line(address) * (COUNT - 1))
            time.sleep(chance.uniform(0.02, 0.05))
            last = line(address)
            begun = time.monotonic()
            scene.file.write(last)
            bans.append(monitor.wait(ADDED, address) - begun)
        for address in addresses("11.0", many):
            time.sleep(chance.uniform(0, 0.01))
            begun = time.monotonic()
            with contextlib.closing(scene.firewall.send("DELETE", ban_path(address))) as control:
                unbans.append(monitor.wait(DELETED, address) - begun)
                assert control.getresponse().status == 200
    scene.firewall.stop()
    return bans, unbans


def many_bans(scene: Scene, many: int) -> list[tuple[str, float]]:
    """So many bans at once: from lines in the log, and again after the kernel has lost them."""
    firewall, rows = scene.firewall, []
    firewall.start()
    with scene.monitor() as monitor:
        flood = b"".join(line(address) for address in addresses("11.0", many))
        begun = time.monotonic()
        scene.file.write(flood)
        _, last = monitor.wait_for_many(many, 120)
        rows.append(("from their lines in the log to the kernel", last - begun))
    eventually("all bans are kept", lambda: firewall.ask("GET", "/api/v1/status")["bans"]["in_force"] == many)
    firewall.kill()
    scene.host.run([*scene.agent, "--remove"])
    with scene.monitor() as monitor:
        begun = time.monotonic()
        firewall.spawn()
        first, last = monitor.wait_for_many(many, 120)
        rows.append(("from the start of `run`, with an empty kernel, to the kernel", last - begun))
        rows.append(("of that, from the first in the kernel to the last", last - first))
    held = scene.host.run(["nft", "list", "set", "inet", "ccfirewall", "ipv4_32"]).count("expires")
    assert held == many, f"the kernel holds {held} bans of {many}"
    eventually("it works", firewall.is_well, 30)
    firewall.stop()
    return rows


def machine() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(file.readline().split()[1]) >> 20
    return (f"{os.cpu_count()} processors ({model}), {memory} GiB, Linux {platform.release()}, "
            f"load {os.getloadavg()[0]:.1f} at the start")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, help="ccfirewall")
    parser.add_argument("--attackers", type=int, default=200, help="how many, one after the other (200)")
    parser.add_argument("--bans", type=int, default=100_000, help="how many at once (100000)")
    parser.add_argument("--seed", type=int, default=1, help="of the pauses between attackers (1)")
    args = parser.parse_args()
    if why := missing(["nft"]):
        return skip(why, needs_root=True)
    binary = os.path.abspath(args.binary)
    print(f"{machine()}; seed {args.seed}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="ccfirewall-latency-") as folder, Network() as network:
        scenes = pathlib.Path(folder)
        one = Scene(network, scenes / "one", binary, {"count": COUNT})
        bans, unbans = single_bans(one, args.attackers, random.Random(args.seed))
        print("| milliseconds | measured | p50 | p90 | p99 | greatest |\n|---|---|---|---|---|---|")
        print(percentiles("the first ban after the start: from the line in the log to the kernel", bans[:1]))
        print(percentiles("later bans: from the line in the log to the kernel", bans[1:]))
        print(percentiles("from the order to lift a ban to its end in the kernel", unbans), flush=True)
        rows = many_bans(Scene(network, scenes / "many", binary, {"count": 1}), args.bans)
        print(f"\n| {args.bans} bans | seconds |\n|---|---|")
        for what, seconds in rows:
            print(f"| {what} | {seconds:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
