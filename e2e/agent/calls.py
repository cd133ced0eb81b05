#!/usr/bin/env python3
"""Calls an agent as operators' tools have done since 2016: with code that the Thrift compiler makes of the interface,
and Python's default pairing of transport and protocol.

    calls.py INTERFACE HOST PORT MKEY STEP...

A step is block:IP, unblock:IP (the two original calls) or status. Prints what each returns, one a line. With
--old-style before the steps, messages are written in the oldest spelling, without a version.
"""

import importlib
import pathlib
import subprocess
import sys
import tempfile

from thrift.protocol import TBinaryProtocol
from thrift.transport import TSocket, TTransport


def generated(interface: str, folder: str):
    """The module that the compiler makes of the interface."""
    subprocess.run(["thrift", "--gen", "py", "-out", folder, interface], check=True)
    sys.path.insert(0, folder)
    return importlib.import_module(f"{pathlib.Path(interface).stem}.CCfirewallAgent")


def main() -> None:
    interface, host, port, mkey, *steps = sys.argv[1:]
    strict = "--old-style" not in steps
    with tempfile.TemporaryDirectory() as folder:
        service = generated(interface, folder)
        transport = TTransport.TBufferedTransport(TSocket.TSocket(host, int(port)))
        client = service.Client(TBinaryProtocol.TBinaryProtocol(transport, strictWrite=strict))
        transport.open()
        for step in steps:
            call, _, ip = step.partition(":")
            if call == "block":
                print(client.blockipbyiptables(mkey, ip))
            elif call == "unblock":
                print(client.unblockipbyiptables(mkey, ip))
            elif call == "status":
                print(client.status(mkey).flag)
        transport.close()


main()
