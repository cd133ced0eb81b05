#!/usr/bin/env python3
"""An agent of 2016: code that the Thrift compiler makes of the interface, the two original calls alone, and Python's
default pairing of transport and protocol. It blocks nobody, but remembers.

    original_agent.py INTERFACE PORT MKEY [--state FILE] [--answers json|number|text] [--slow MILLISECONDS]
                      [--one-at-a-time] [--broken FILE]

Says "listening PORT" once it listens, then a line for each call: the call, the address and the flag. FILE holds what
is banned, as iptables would over a restart of the agent. With --one-at-a-time one connection is served to its end
before the next one (TSimpleServer), else each has a thread. While the file of --broken exists, calls fail with -4.
Ends when its standard input does.
"""

import argparse
import importlib
import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from thrift.protocol import TBinaryProtocol
from thrift.server import TServer
from thrift.transport import TSocket, TTransport


class Agent:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.banned = set()
        if options.state and os.path.exists(options.state):
            self.banned = set(json.loads(pathlib.Path(options.state).read_text()))

    def answer(self, call: str, mkey: str, ip: str) -> str:
        time.sleep(self.options.slow / 1000)
        with self.lock:
            flag = self.carry_out(call, mkey, ip)
            print(call, ip, flag, flush=True)
        if self.options.answers == "number":
            return str(flag)
        if self.options.answers == "text":
            return "iptables: Resource temporarily unavailable. " * 100
        return json.dumps({"flag": flag, "result": f"{call} {ip}"})

    def carry_out(self, call: str, mkey: str, ip: str) -> int:
        if mkey != self.options.mkey:
            return -3
        try:
            ipaddress.ip_address(ip)
        except ValueError:
            return -2
        if self.options.broken and os.path.exists(self.options.broken):
            return -4
        if (ip in self.banned) == (call == "block"):
            return -1
        if call == "block":
            self.banned.add(ip)
        else:
            self.banned.remove(ip)
        if self.options.state:
            pathlib.Path(self.options.state).write_text(json.dumps(sorted(self.banned)))
        return 1

    def blockipbyiptables(self, mkey: str, ip: str) -> str:
        return self.answer("block", mkey, ip)

    def unblockipbyiptables(self, mkey: str, ip: str) -> str:
        return self.answer("unblock", mkey, ip)


def generated(interface: str):
    """The module of the original service, as the compiler makes it of the interface."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["thrift", "--gen", "py", "-out", folder, interface], check=True)
        sys.path.insert(0, folder)
        return importlib.import_module(f"{pathlib.Path(interface).stem}.CCfirewall")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("interface")
    parser.add_argument("port", type=int)
    parser.add_argument("mkey")
    parser.add_argument("--state")
    parser.add_argument("--answers", choices=["json", "number", "text"], default="json")
    parser.add_argument("--slow", type=float, default=0, metavar="MILLISECONDS")
    parser.add_argument("--one-at-a-time", action="store_true")
    parser.add_argument("--broken")
    options = parser.parse_args()
    processor = generated(options.interface).Processor(Agent(options))
    listener = TSocket.TServerSocket(host="127.0.0.1", port=options.port)
    listener.listen()
    print("listening", listener.handle.getsockname()[1], flush=True)
    # It listens already, and mustn't do it twice.
    listener.listen = lambda: None
    parts = (processor, listener, TTransport.TBufferedTransportFactory(), TBinaryProtocol.TBinaryProtocolFactory())
    server = TServer.TSimpleServer(*parts) if options.one_at_a_time else TServer.TThreadedServer(*parts, daemon=True)
    threading.Thread(target=server.serve, daemon=True).start()
    sys.stdin.read()


main()
