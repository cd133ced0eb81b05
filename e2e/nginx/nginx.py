#!/usr/bin/env python3
"""A real nginx, a visitor and an attacker, each on a host of its own, and `ccfirewall run` between them: the attacker
is dropped and let go on time, over IPv4 and IPv6 and before a container behind the server, and the visitor notices
nothing.

    nginx.py --binary PATH [--agent-binary PATH]

Needs root, nginx, nft and ip; without them it is skipped. Exits 1 where anything isn't as it should be.

    visitor ─┐
             ├─ internet ─── server (nginx, ccfirewall) ─── container (nginx)
    attacker ┘
"""

import argparse
import contextlib
import datetime
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable

sys.dont_write_bytecode = True
from firewall import Firewall
from namespaces import Host, Network, eventually, missing
from skips import skip
from traffic import DROPPED, Connection, Visits, flood, is_answered, opens

COUNT, WITHIN, BAN = 50, 5, 5
SETTINGS = {"count": COUNT, "threshold_secound": WITHIN, "block_second": BAN, "if_warning": False}

VISITOR = ("198.51.100.10", "2001:db8:5::10")
ATTACKER = ("203.0.113.66", "2001:db8:6:1::66")
ACCOMPLICE = ("203.0.113.67", "2001:db8:6:2::66")  # for IPv6 in another /64
NEIGHBOUR = "2001:db8:6:1::67"  # in the attacker's /64
SERVER = ("192.0.2.2", "2001:db8:1::2")
CONTAINER = ("10.0.0.2", "2001:db8:2::2")

LOG_FORMAT = """\
log_format ccfirewall '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
                      '"$http_referer" "$http_user_agent" "$http_x_forwarded_for" "$host" $msec';
"""
NGINX = """\
daemon off;
user root;
worker_processes 2;
pid nginx.pid;
error_log error.log;
events {}
http {
    include log_format.conf;
    access_log access.log ccfirewall;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    server {
        listen 80;
        listen [::]:80;
        location / { return 200 "hello\\n"; }
    }
}
"""
# Somebody else's firewall, which lets established connections through before most others are asked.
THEIRS = """\
table inet theirs {
    set friends { type ipv4_addr; elements = { 198.51.100.10, 198.51.100.11 }; }
    chain early {
        type filter hook prerouting priority -150; policy accept;
        ct state established accept
        ip saddr @friends accept
    }
}
"""

started = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - started:5.1f} s  {text}", flush=True)


def check(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
    say(f"ok: {what}")


def nginx(host: Host, folder: pathlib.Path) -> None:
    (folder / "tmp").mkdir(parents=True)
    (folder / "log_format.conf").write_text(LOG_FORMAT)
    (folder / "nginx.conf").write_text(NGINX)
    host.start(["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"])


def build(network: Network) -> tuple[Host, Host, Host, Host]:
    internet, server, container, visitor, attacker = map(
        network.host, ["internet", "server", "container", "visitor", "attacker"])
    network.join(internet, ["192.0.2.1/24", "2001:db8:1::1/64"], server, [f"{SERVER[0]}/24", f"{SERVER[1]}/64"])
    network.join(server, ["10.0.0.1/24", "2001:db8:2::1/64"], container, [f"{CONTAINER[0]}/24", f"{CONTAINER[1]}/64"])
    network.join(internet, ["198.51.100.1/24", "2001:db8:5::1/64"], visitor, [f"{VISITOR[0]}/24", f"{VISITOR[1]}/64"])
    network.join(internet, ["203.0.113.1/24", "2001:db8:6::1/48"], attacker,
                 [f"{address}/{48 if ':' in address else 24}" for address in (*ATTACKER, *ACCOMPLICE, NEIGHBOUR)])
    for host, v4, v6 in [(server, "192.0.2.1", "2001:db8:1::1"), (container, "10.0.0.1", "2001:db8:2::1"),
                         (visitor, "198.51.100.1", "2001:db8:5::1"), (attacker, "203.0.113.1", "2001:db8:6::1")]:
        host.ip(f"route add default via {v4}", f"route add default via {v6}")
    internet.ip(f"route add 10.0.0.0/24 via {SERVER[0]}", f"route add 2001:db8:2::/64 via {SERVER[1]}")
    internet.forward()
    server.forward()
    return server, container, visitor, attacker


def flood_until_dropped(attacker: Host, source: str, target: str) -> None:
    answers, lasted = flood(attacker, source, target)
    # Its window may already hold a few.
    check(answers > COUNT - 5 and lasted < 5, f"{source} floods {target} and is dropped: {answers} answers in "
          f"{lasted:.3f} s; the {COUNT}th request of its window decides")


def an_attack(firewall: Firewall, attacker: Host, family: int) -> None:
    """A flood, what is dropped while its ban lasts and what isn't, and when the ban ends."""
    source, server, container = ATTACKER[family], SERVER[family], CONTAINER[family]
    target = source if family == 0 else "2001:db8:6:1::/64"
    lasting = [Connection(attacker, source, way) for way in (server, container)]
    answered = all(connection.is_answered() for connection in lasting)
    check(answered, f"{source} keeps connections to {server} and {container}")
    flood_until_dropped(attacker, source, server)
    ban = eventually(f"a ban of {target}", lambda: firewall.bans().get(target))
    end = seconds(ban["end"])
    check(not lasting[0].is_answered(DROPPED), "its established connection isn't answered any more")
    check(not lasting[1].is_answered(DROPPED), "nor is the one to the container")
    check(not is_answered(attacker, source, container, DROPPED), "nor a new one to the container")
    if family == 1:
        check(not is_answered(attacker, NEIGHBOUR, server, DROPPED), f"nor is {NEIGHBOUR}, in the same /64")
    check(is_answered(attacker, ACCOMPLICE[family], server), f"{ACCOMPLICE[family]} is answered")
    check(time.time() < end, "all that while the ban lasted")
    let_go(attacker, source, server, end)
    check(is_answered(attacker, source, server) and is_answered(attacker, source, container), "it is answered again")
    for connection in lasting:
        connection.close()


def let_go(attacker: Host, source: str, server: str, end: float) -> None:
    after = opens(attacker, source, server, 3 * BAN) - end
    check(0 <= after < 1, f"{source} gets through again {after:.3f} s after the end of its ban")


def seconds(moment: str) -> float:
    """A moment as the API writes it, as Unix time."""
    return datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def by_hand(firewall: Firewall, attacker: Host) -> None:
    """Bans and unbans that people ask for."""
    source, server = ACCOMPLICE[0], SERVER[0]

    def takes(unban: Callable[[], object]) -> float:
        firewall.command("add", source, "--for", "1h", "--note", "a test")
        check(not is_answered(attacker, source, server, DROPPED), f"`bans add {source}` drops it")
        opened: list[float] = []
        prober = threading.Thread(target=lambda: opened.append(opens(attacker, source, server, 5)))
        prober.start()
        asked = time.time()
        unban()
        prober.join()
        took = opened[0] - asked
        check(took > 0, f"its packets flow {took * 1000:.0f} ms after the order to lift it")
        return took

    say(f"as a person does it: `bans remove {source}`")
    takes(lambda: firewall.command("remove", source))
    say("and as a program does it: DELETE /api/v1/bans/…")
    times = [takes(lambda: firewall.unban(source)) for _ in range(5)]
    median = statistics.median(times)
    check(median < 0.1, f"that is {median * 1000:.0f} ms (median of 5), less than 100")
    say("it is counted anew:")
    flood_until_dropped(attacker, source, server)
    firewall.unban(source)


def a_stop(firewall: Firewall, attacker: Host) -> None:
    """Bans last in the kernel when the program ends."""
    source, server = ATTACKER[0], SERVER[0]
    firewall.command("add", ACCOMPLICE[0], "--for", "1h")
    flood_until_dropped(attacker, source, server)
    end = seconds(firewall.bans()[source]["end"])
    check(firewall.stop() == 0, "SIGTERM ends ccfirewall with exit code 0")
    check(not is_answered(attacker, source, server, DROPPED) and time.time() < end, "the attacker is still dropped")
    let_go(attacker, source, server, end)
    check(not is_answered(attacker, ACCOMPLICE[0], server, DROPPED), "a ban of an hour goes on")


def test(network: Network, folder: pathlib.Path, binary: str, agent: list[str]) -> None:
    server, container, visitor, attacker = build(network)
    server.run(["nft", "-f", "-"], THEIRS)
    rules = server.run(["nft", "-a", "list", "ruleset"])
    web = folder / "server"
    nginx(server, web)
    nginx(container, folder / "container")
    for target in (*SERVER, *CONTAINER):
        eventually(f"nginx at {target}", lambda: reachable(visitor, target))
    firewall = Firewall(binary, server, folder, web / "access.log", SETTINGS)
    ways = [(VISITOR[family], way[family]) for family in (0, 1) for way in (SERVER, CONTAINER)]
    try:
        firewall.start("--log-format", str(web / "log_format.conf"))
        with contextlib.closing(Visits(visitor, ways)) as visits:
            an_attack(firewall, attacker, 0)
            an_attack(firewall, attacker, 1)
            by_hand(firewall, attacker)
            theirs = server.run(["nft", "-a", "list", "table", "inet", "theirs"])
            check(theirs.strip() == rules.strip(), "the other table is as it was, to its handles")
            a_stop(firewall, attacker)
            server.run([*agent, "--remove"])
            left = server.run(["nft", "-a", "list", "ruleset"])
            check(left == rules, "`--remove` of the agent leaves what was there before")
            check(is_answered(attacker, ACCOMPLICE[0], SERVER[0]), "and with that the ban of an hour is over")
    except BaseException:
        print(f"ccfirewall said:\n{firewall.said()[-4000:]}", file=sys.stderr)
        raise
    check(not visits.failed and visits.done > 50, f"of {visits.done} times that the visitor asked all were answered, "
          f"at the latest after {visits.slowest * 1000:.0f} ms {visits.failed[:3] or ''}")


def reachable(visitor: Host, target: str) -> bool:
    try:
        return is_answered(visitor, VISITOR[1 if ":" in target else 0], target, 1)
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, help="ccfirewall")
    parser.add_argument("--agent-binary", help="ccfirewall-agent; without it, `ccfirewall agent`")
    args = parser.parse_args()
    if why := missing(["nft", "nginx"]):
        return skip(why, needs_root=True)
    binary = os.path.abspath(args.binary)
    agent = [os.path.abspath(args.agent_binary)] if args.agent_binary else [binary, "agent"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    with tempfile.TemporaryDirectory(prefix="ccfirewall-nginx-") as folder, Network() as network:
        test(network, pathlib.Path(folder), binary, agent)
    say("all as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
