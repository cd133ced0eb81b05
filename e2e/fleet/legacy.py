#!/usr/bin/env python3
"""A site of 2016 changes one side and keeps the other: agents that were made with the original interface alone are served
by our topology, and a stand-in for the original topology is served by our agent.

    legacy.py --binary PATH [--keep]

The original agents are registered in ZooKeeper by nodes without data, listen on port 9090 of the address that names the
node, know two calls, end nothing by themselves, and answer JSON or a bare number. Exits 0 where all is as it must be.
"""

import argparse
import contextlib
import importlib
import ipaddress
import json
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

import fleet  # First, for it says where the other modules are.
from firewall import MKEY, Failed, Program, wait_for
from floods import Topic
from traffic import line

# All that was known of agents in 2016.
INTERFACE = """
service CCfirewall {
  string blockipbyiptables(1: string mkey, 2: string ip)
  string unblockipbyiptables(1: string mkey, 2: string ip)
}
"""
PORT = 9090
COUNT, LENGTH = 20, 3
SETTINGS = {"count": COUNT, "threshold_secound": 2, "block_second": LENGTH, "if_warning": False}


def generated():
    """The module that the compiler makes of the original interface."""
    with tempfile.TemporaryDirectory() as made:
        interface = pathlib.Path(made) / "original.thrift"
        interface.write_text(INTERFACE)
        subprocess.run(["thrift", "--gen", "py", "-out", made, str(interface)], check=True)
        sys.path.insert(0, made)
        return importlib.import_module("original.CCfirewall")


def free_host():
    """A loopback address whose port 9090 is free."""
    while True:
        host = f"127.{random.randrange(64, 128)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, PORT))
            return host


class OriginalAgent:
    """An agent of 2016. `calls` has what it was asked for: (when, call, address, flag)."""

    def __init__(self, service, mkey, bare):
        from thrift.protocol import TBinaryProtocol
        from thrift.server import TServer
        from thrift.transport import TSocket, TTransport

        self.host, self.mkey, self.bare = free_host(), mkey, bare
        self.calls, self.banned, self.lock = [], set(), threading.Lock()
        server = TServer.TThreadedServer(service.Processor(self), TSocket.TServerSocket(host=self.host, port=PORT),
                                         TTransport.TBufferedTransportFactory(),
                                         TBinaryProtocol.TBinaryProtocolFactory(), daemon=True)
        threading.Thread(target=server.serve, daemon=True).start()

    def blockipbyiptables(self, mkey, ip):
        return self.answer("block", mkey, ip, lambda: ip not in self.banned, self.banned.add)

    def unblockipbyiptables(self, mkey, ip):
        return self.answer("unblock", mkey, ip, lambda: ip in self.banned, self.banned.remove)

    def answer(self, call, mkey, ip, is_new, change):
        with self.lock:
            flag = self.carry_out(mkey, ip, is_new, change)
            self.calls.append((time.time(), call, ip, flag))
        return str(flag) if self.bare else json.dumps({"flag": flag, "result": f"{call} {ip}"})

    def carry_out(self, mkey, ip, is_new, change):
        if mkey != self.mkey:
            return -3
        try:
            ipaddress.ip_address(ip)
        except ValueError:
            return -2
        if not is_new():
            return -1
        change(ip)
        return 1

    def of(self, ip):
        with self.lock:
            return [(at, call, flag) for at, call, address, flag in self.calls if address == ip]


def original_agents_served(args, home, places, service):
    """Our topology bans and lets go by the original calls; what such an agent can't hold leaves a row that says so."""
    places.topic("legacy-log")
    site = fleet.Fleet(args.binary, home, places, "legacy", "legacy-log", [["all"]], SETTINGS, listed=True)
    agents = [OriginalAgent(service, MKEY, bare) for bare in (False, True)]
    keeper = places.keeper()
    try:
        for agent in agents:
            keeper.create(f"{site.root}/agent_list/iptables/{agent.host}", b"", ephemeral=True, makepath=True)
        site.start()
        topic, rows = Topic(places.kafka, "legacy-log", 1), site.database.rows
        now = int(time.time())
        for address in ("203.0.113.9", "2001:db8:0:1::9"):
            for _ in range(COUNT):
                topic.write(line(address, "/", now))
        yield from topic.finish()

        def over():
            return all(len(agent.of("203.0.113.9")) >= 2 for agent in agents)

        with contextlib.suppress(Failed):
            wait_for("both calls at both agents", over, 30 + LENGTH)

        def answered():
            return len(rows("SELECT 1 FROM unblock_log WHERE block_ip = '203.0.113.9'")) >= 2 and \
                len(rows("SELECT 1 FROM block_log WHERE block_ip <> '203.0.113.9'")) >= 2

        with contextlib.suppress(Failed):
            wait_for("their answers are in the tables", answered, 10, every=0.2)
        bans = rows("SELECT start, `end` FROM ban WHERE target = '203.0.113.9'")
        if len(bans) != 1:
            yield f"{len(bans)} bans of 203.0.113.9"
            return
        start, end = (each / 1000 for each in bans[0])
        for agent in agents:
            calls = agent.of("203.0.113.9")
            if [(call, flag) for _, call, flag in calls] != [("block", 1), ("unblock", 1)]:
                yield f"{agent.host} was asked for {calls}"
            elif calls[0][0] > start + 1 or not end <= calls[1][0] <= end + 1:
                yield f"{agent.host} was asked {calls[0][0] - start:.2f} s after the start, " \
                      f"{calls[1][0] - end:.2f} s after the end"
            others = {address for _, _, address, _ in agent.calls} - {"203.0.113.9"}
            if others:
                yield f"{agent.host} was asked for {others}, which it can't hold"
            for table in ("block_log", "unblock_log"):
                flags = rows(f"SELECT flag FROM {table} WHERE block_ip = '203.0.113.9' AND server_ip LIKE %s",
                             f"{agent.host}%")
                if flags != ((1,),):
                    yield f"{table} of {agent.host} for 203.0.113.9: {flags}"
            flags = rows("SELECT flag FROM block_log WHERE block_ip LIKE '2001:db8%%' AND server_ip LIKE %s",
                         f"{agent.host}%")
            if flags != ((-2,),):
                yield f"block_log of {agent.host} for the IPv6 prefix: {flags}"
        yield from site.end()
    finally:
        site.kill()
        keeper.stop()


class OriginalTopology:
    """A stand-in for the topology of 2016: it finds agents by the names of their nodes, and calls each at port 9090."""

    def __init__(self, service, keeper, root):
        self.service, self.keeper, self.root = service, keeper, root

    def agents(self):
        path = f"{self.root}/agent_list/iptables"
        return self.keeper.get_children(path) if self.keeper.exists(path) else []

    def call(self, name, mkey, ip, strict=True):
        """What each agent answers: its flag."""
        from thrift.protocol import TBinaryProtocol
        from thrift.transport import TSocket, TTransport

        flags = []
        for host in self.agents():
            link = TSocket.TSocket(host, PORT)
            link.setTimeout(5000)
            transport = TTransport.TBufferedTransport(link)
            client = self.service.Client(TBinaryProtocol.TBinaryProtocol(transport, strictWrite=strict))
            transport.open()
            flags.append(json.loads(getattr(client, name)(mkey, ip))["flag"])
            transport.close()
        return flags


def original_topology_served(args, home, places, service):
    """Our agent is found and does what it is told."""
    host, root = free_host(), "/original"
    mkey_file = home / "original-mkey"
    mkey_file.write_text(MKEY + "\n")
    mkey_file.chmod(0o600)
    agent = Program("agent", [args.binary, "agent", "--listen", f"{host}:{PORT}", "--mkey-file", mkey_file,
                                    "--enforcer", "dry-run", "--zookeeper", places.zookeeper, "--zookeeper-root", root],
                          home / "agent.log")
    keeper = places.keeper()
    topology = OriginalTopology(service, keeper, root)
    try:
        agent.start()
        wait_for("the agent is listed", topology.agents, 20)
        if topology.agents() != [host]:
            yield f"{topology.agents()} are listed, and not {host}"
        block, unblock = "blockipbyiptables", "unblockipbyiptables"
        for strict in (True, False):
            for name, mkey, ip, flag in ((block, MKEY, "203.0.113.9", 1), (block, MKEY, "203.0.113.9", -1),
                                         (block, MKEY, "2001:db8::9", 1), (block, "wrong", "203.0.113.10", -3),
                                         (block, MKEY, "203.0.113.0/24", -2), (block, MKEY, "nobody", -2),
                                         (unblock, "wrong", "203.0.113.9", -3), (unblock, MKEY, "203.0.113.9", 1),
                                         (unblock, MKEY, "203.0.113.9", -1),
                                         (unblock, MKEY, "2001:db8::9", 1)):
                answers = topology.call(name, mkey, ip, strict)
                if answers != [flag]:
                    yield f"{name} of {ip}: {answers} instead of {flag}"
        if agent.end() != 0:
            yield "the agent didn't end in good order"
    finally:
        agent.kill()
        keeper.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--keep", action="store_true", help="keep the folder with states and messages")
    args = parser.parse_args()
    args.binary = args.binary.resolve()

    def play(home, servers):
        places, service = fleet.Places(servers), generated()
        for test in (original_topology_served, original_agents_served):
            try:
                found = [*test(args, home, places, service)]
            except Failed as failure:
                found = [str(failure)]
            print(f"  {test.__name__}: {len(found)} problems", flush=True)
            yield from (f"{test.__name__}: {problem}" for problem in found)

    return fleet.judged("legacy", args, play)


if __name__ == "__main__":
    sys.exit(main())
