"""A made-up access log in which everybody's fate is known: visitors whom nobody may hold up, and attackers of many
kinds around the thresholds.

It is made so that what must be decided doesn't depend on how lines of neighbouring seconds get mixed up on their way
through partitions and workers. Where a case stands right at a threshold, it has just the requests that it needs, so that
they are counted in any order; where it goes on and on, it is far enough from the thresholds. And a visitor has a number
of requests that is a multiple of `COUNT`, or one less: one line lost, or one counted twice, is a record too few or too
many.
"""

import dataclasses
import random
import time

COUNT = 20
# A line: combined, and what proxies say of the client.
FORMAT = ('$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
          '"$http_user_agent" "$http_x_forwarded_for"')
# Within how many seconds `COUNT` requests are a block, or else a warning, by the name of the rule.
GLOBAL = "global"
THRESHOLDS = {GLOBAL: (5, 12), "/login": (3, 3), "/api/*": (2, 8), "www.example.com/checkout/": (4, 4),
              "/short": (5, 5)}
LONG, SHORT = 600, 3
ALLOWED = "198.19.255.0/24"
PROXIES = "198.51.100.0/24"
SHORTEST = 60
# When the first line is, by which times are told; of no meaning otherwise.
EPOCH = 1_767_225_600


def settings():
    special = {name: {"threshold_secound": block, "threshold_w_secound": warn,
                      "block_second": SHORT if name == "/short" else LONG}
               for name, (block, warn) in THRESHOLDS.items() if name != GLOBAL}
    block, warn = THRESHOLDS[GLOBAL]
    return {"count": COUNT, "threshold_secound": block, "threshold_w_secound": warn, "block_second": LONG,
            "ip_white_list": [ALLOWED], "trusted_proxies": [PROXIES], "default_host": "www.example.com",
            "special_rule": special, "max_new_bans_per_minute": 1_000_000}


def rule_of(path):
    """The rule that a made path belongs to."""
    if path.startswith("/api/"):
        return "/api/*"
    if path == "/checkout/":
        return "www.example.com/checkout/"
    return path if path in THRESHOLDS else GLOBAL


@dataclasses.dataclass
class Client:
    """Who is counted as one: what it is called, what it does, and what must come of it."""
    target: str
    kind: str
    # When: seconds since the beginning.
    requests: list = dataclasses.field(default_factory=list)
    # "block" and "warn", in order.
    fate: tuple = ()


class Kinds:
    """The kinds of attackers. Each makes (when, path) from a beginning, and says what must come of it."""

    def __init__(self, seed, seconds):
        self.random, self.seconds = random.Random(f"kinds {seed}"), seconds

    def spread(self, requests, begin, length, path):
        return [(begin + self.random.random() * length, path) for _ in range(requests)]

    def exactly(self, requests, begin, during, path):
        """The first and the last are so many whole seconds apart."""
        first = int(begin)
        between = [(first + self.random.random() * during, path) for _ in range(requests - 2)]
        return [(first + 0.2, path), *between, (first + during + 0.2, path)]

    def flood(self, begin):
        return self.spread(self.random.randint(60, 120), begin, self.random.uniform(0.5, 2.5), "/"), ["block"]

    def steady_flood(self, begin):
        return self.spread(160, begin, 15, "/search"), ["block"]

    def just_enough(self, begin):
        return self.exactly(COUNT, begin, 5, "/"), ["block"]

    def one_too_few(self, begin):
        return self.exactly(COUNT - 1, begin, 4, "/"), []

    def too_slow_to_block(self, begin):
        return self.exactly(COUNT, begin, 6, "/"), ["warn"]

    def just_enough_to_warn(self, begin):
        return self.exactly(COUNT, begin, 12, "/"), ["warn"]

    def too_slow(self, begin):
        return self.exactly(COUNT, begin, 13, "/"), []

    def warned_again_and_again(self, begin):
        return [(begin + n / 2 + self.random.random() / 4, "/") for n in range(70)], ["warn"] * 3

    def login(self, begin):
        return self.exactly(COUNT, begin, 3, "/login"), ["block"]

    def slow_login(self, begin):
        return self.exactly(COUNT, begin, 4, "/login"), []

    def prefix(self, begin):
        requests, _ = self.flood(begin)
        return [(at, f"/api/{self.random.randrange(1000)}") for at, _ in requests], ["block"]

    def slow_prefix(self, begin):
        return [(at, f"/api/{n}") for n, (at, _) in enumerate(self.exactly(COUNT, begin, 8, "/"))], ["warn"]

    def host(self, begin):
        return self.exactly(COUNT, begin, 4, "/checkout/"), ["block"]

    def counted_apart(self, begin):
        return self.spread(15, begin, 2, "/login") + self.spread(15, begin, 2, "/"), []

    def two_rules_at_once(self, begin):
        second = int(begin)
        return self.spread(30, second, 0.98, "/login") + self.spread(30, second, 0.98, "/"), ["block"]

    def visitor_turned(self, begin):
        calm = [(begin + 2 * n, "/") for n in range(8)]
        return calm + self.spread(100, begin + 16, 4, "/"), ["warn", "block"]

    def twice(self, begin):
        """A short ban, and once more when it is over by any clock."""
        again = begin + SHORT + 75
        once = self.spread(40, begin, 0.9, "/short")
        if again > self.seconds - 12:
            return once, ["block"]
        return once + self.spread(40, again, 0.9, "/short"), ["block", "block"]

    def all(self):
        return [self.flood, self.steady_flood, self.just_enough, self.one_too_few, self.too_slow_to_block,
                self.just_enough_to_warn, self.too_slow, self.warned_again_and_again, self.login, self.slow_login,
                self.prefix, self.slow_prefix, self.host, self.counted_apart, self.two_rules_at_once,
                self.visitor_turned, self.twice]


class Made:
    """The log, line by line, and its clients."""

    def __init__(self, lines, seconds, seed, attackers=600):
        if seconds < SHORTEST:
            raise ValueError(f"a log of {seconds} s has no room for all kinds of attackers; at least {SHORTEST}")
        self.seconds = seconds
        self.random = random.Random(f"log {seed}")
        self.kinds = Kinds(seed, seconds)
        self.clients = {}
        # (when, the line up to its time, the line behind its time)
        self.lines = []
        self.hosts = 0
        for number in range(attackers):
            self.attacker(self.kinds.all()[number % len(self.kinds.all())], number)
        for number in range(max(attackers // 20, 2)):
            self.allowed(number)
        each = int(0.7 * seconds) // COUNT * COUNT
        while len(self.lines) < lines:
            self.visitor(each - (self.hosts & 1))
        self.lines.sort(key=lambda line: line[0])

    def address(self, base=(198, 18)):
        self.hosts += 1
        host = self.hosts
        return f"{base[0]}.{base[1] + (host >> 16)}.{host >> 8 & 255}.{host & 255}"

    def line(self, at, path, client, way="direct"):
        """A request as it is logged; `way` is how the client came to the server."""
        peer, said = client, "-"
        if way == "proxy":
            peer, said = f"198.51.100.{self.random.randrange(1, 9)}", client
        elif way == "lying proxied":
            peer = f"198.51.100.{self.random.randrange(1, 9)}"
            said = f"192.0.2.{self.random.randrange(256)}, {client}"
        elif way == "lying":
            said = f"192.0.2.{self.random.randrange(256)}"
        behind = f'"GET {path}{self.random.choice(["", "", "?q=1"])} HTTP/1.1" 200 512 "-" "Mozilla/5.0" "{said}"\n'
        self.lines.append((at, f"{peer} - - [".encode(), b"] " + behind.encode()))

    def client(self, target, kind, requests, fate, way="direct", addresses=None):
        client = self.clients.setdefault(target, Client(target, kind, fate=tuple(fate)))
        for at, path in requests:
            client.requests.append((int(at), rule_of(path)))
            self.line(at, path, addresses() if addresses else target, way)

    def attacker(self, kind, number):
        begin = 3 + self.random.random() * (self.seconds * 0.35 if kind == self.kinds.twice else self.seconds - 45)
        requests, fate = kind(begin)
        name = kind.__name__
        if number % 5 == 4:
            # By a network of its own, of which each request is another address.
            self.hosts += 1
            network = f"2001:db8:{self.hosts:x}:1"
            self.client(f"{network}::/64", name, requests, fate,
                        addresses=lambda: f"{network}:{self.random.randrange(1, 65536):x}::1")
        else:
            way = ["direct", "direct", "proxy", "lying proxied", "lying"][number % 7 % 5]
            self.client(self.address(), name, requests, fate, way)

    def allowed(self, number):
        requests, _ = self.kinds.flood(3 + self.random.random() * (self.seconds - 20))
        self.client(f"198.19.255.{number % 250 + 1}", "allowed", requests, [])

    def visitor(self, requests):
        """At most one request a second and a half, so that nobody has reason to complain."""
        path, name = self.random.choices([("/page", GLOBAL), ("/login", "/login"), ("/api/items", "/api/*")],
                                         [8, 1, 1])[0]
        step = (self.seconds - 1) / requests
        path = path if name != GLOBAL else f"/page/{self.random.randrange(1000)}"
        self.client(self.address(), "visitor", [((n + self.random.random()) * step, path) for n in range(requests)],
                    [], "proxy" if self.hosts % 4 == 0 else "direct")

    def write(self, path, epoch=EPOCH):
        """The log as a file, with the first line's second at `epoch`."""
        with open(path, "wb", buffering=1 << 20) as file:
            for at, before, behind in self.lines:
                file.write(before + stamp(epoch + int(at)) + behind)


def stamp(second, known={}):
    """A second as `$time_local`, in UTC; always of the same length."""
    found = known.get(second)
    if found is None:
        if len(known) > 10_000:
            known.clear()
        found = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second)).encode()
        known[second] = found
    return found
