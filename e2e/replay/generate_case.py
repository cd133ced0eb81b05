#!/usr/bin/env python3
"""Seeded random cases for `ccfirewall replay`; standard library only.

    generate_case.py --seed N --out DIR [--contested]

Writes case.log (or case.1.log, case.2.log, ...), case.settings.json and sometimes case.log_format.
Inputs on which the specification can honestly be read in two ways appear only with --contested.
"""
import argparse
import calendar
import datetime
import json
import os
import random
import re

FORMATS = [
    # (weight, text, all optional fields are quoted, may be truncated anywhere)
    (40, None, True),
    (30, '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
         '"$http_user_agent" "$http_x_forwarded_for"', True),
    (8, '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
        '"$http_user_agent" "$http_x_forwarded_for" "$host" "$uri"', True),
    (6, '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent $host "$http_referer" '
        '"$http_user_agent" rt=$request_time xff="$http_x_forwarded_for"', False),
    (5, '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
        '"$http_user_agent" $request_time $host "$uri" $msec', False),
    (4, '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent $host', False),
    (5, '$host $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
        '"$http_user_agent" "$http_x_forwarded_for"', None),
    (5, '$msec $remote_addr "$request" $status $body_bytes_sent "$http_x_forwarded_for" "$host"', None),
    (4, '$time_iso8601|$remote_addr|$host|$status|$body_bytes_sent|"$request"|"$http_user_agent"|'
        '"$http_x_forwarded_for"', None),
    (4, '[$time_iso8601] $status "$http_x_forwarded_for" $remote_addr ${host} "$request_uri" $body_bytes_sent', None),
]

PATHS = ["/", "/login", "/login", "/captcha/create/", "/captcha/create/", "/captcha/create/", "/captcha/create",
         "/captcha/x", "/captcha/", "//captcha/create/", "/img/%d.png", "/img", "/imgs", "/api/v1/items/%d", "/api/",
         "/API/v1", "/a%%2Fb", "/caf\\xC3\\xA9", "/q\\x22uote", "/back\\\\slash", "/esc\\\"aped", "/:80/x@y", "/a:b",
         "/http://www.example.com/login"]
TAILS = ["", "", "", "", "", "", "?t=1", "?", "#x", "?a=/login#b", "#f?x", "?u=http://x/", "/"]
HOSTS = ["www.example.com", "www.example.com", "WWW.Example.COM", "api.example.com", "Api.Example.com", "other.test",
         "[2001:db8::1]", "[2001:db8::2]", "192.0.2.80", "example.com"]
PATTERNS = ["www.example.com/captcha/create/", "/captcha/create/", "www.example.com/captcha/*", "/captcha/*",
            "/captcha/create/*", "WWW.Example.com/login", "/login", "/login*", "/img/*", "/img*", "api.example.com/*",
            "/*", "www.example.com", "www.example.com:8080/api/*", "/api/v1/*", "/API/*", "/", "other.test/login",
            "u:p@api.example.com/login", "[2001:db8::1]/*", "www.example.com/*", "Other.Test", "//captcha/create/",
            "/caf\\xC3\\xA9", "192.0.2.80/captcha/*", "/nowhere", "www.example.com/img/1.png", "/a%2Fb"]
NO_URL = ["", "GET", "GET ", "OPTIONS * HTTP/1.1", "GET  /login HTTP/1.1", "GET login HTTP/1.1", "-",
          "CONNECT www.example.com:443 HTTP/1.1", "\\x16\\x03\\x01\\x02\\x00\\x01", "GET www.example.com/login HTTP/1.1",
          "GET ?x=/login HTTP/1.1", "GET #/login HTTP/1.1",
          "GET http:/www.example.com/login HTTP/1.1",
          "GET \\x22/login\\x22 HTTP/1.1", "PRI * HTTP/2.0", "GET http%3A//www.example.com/login HTTP/1.1"]
CONTESTED_REQUESTS = ["GET ://www.example.com/login HTTP/1.1", "GET 1http://www.example.com/login HTTP/1.1",
                      "GET login?u=http://www.example.com/login HTTP/1.1", "GET www.example.com/http://x/login HTTP/1.1",
                      " GET /login HTTP/1.1", " /login HTTP/1.1", "GET \\/login HTTP/1.1"]
TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xf1\x8c\x00/login \x00 /\xff\xfe\x80 \x1b\x7f"

BAD_IPS = ["1.2.3.4:80", "fe80::1%eth0", "203.0.113.3%1", "01.2.3.4", "203.0.113.003", "1.2.3", "1.2.3.256", "1.2.3.4.5",
           "[::1]", "[2001:db8::1]:443", "localhost", "unix:", "-", "", "203.0.113.3,10.0.0.1", "::1::", "12345::1",
           "203.0.113.3/32", "::ffff:1.2.3.04", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "2001:db8::g",
           "0x7f.0.0.1", "3405803779", "1.2.3.-4", "1..2.3", "\u0661.2.3.4", "1:2:3:4:5:6:7:8::", "::1.2.3.4.5"]
BAD_HOPS = ["\\x22", "", "unknown", "-", "1.2.3.4:55", "[2001:db8::1]:443", "203.0.113.3%eth0", "fe80::1%2", "_hidden",
            "010.0.0.1", "10.0.0.1;203.0.113.3", "evil\\x5C", "for=203.0.113.3", "10.0.0.1 203.0.113.3", "10.0.0",
            "\\x00", "\\x0910.0.0.1", "caf\\xC3\\xA9", "::ffff:10.0.0.01", "10.0.0.1/24", "'10.0.0.1'"]
AGENTS = ["-", "curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "evil\\x22agent",
          "", "a\\\\", "q\\\"q", "[21/Nov/2026:22:26:41 +0000] \\x22GET /login\\x22 200 1"]
OFFSETS = [0, 0, 0, 0, 60, -60, 330, -720, 840, -840, 345, -210, 839, -839, 1]
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
BASES = ["2026-11-21T22:26:41", "2028-02-28T23:59:30", "2026-12-31T23:58:50", "2027-02-28T23:59:40",
         "1999-12-31T23:59:50", "2038-01-19T03:13:50", "2100-02-28T23:59:45"]


def epoch(text):
    return calendar.timegm(datetime.datetime.fromisoformat(text).timetuple())


def written(seconds, offset):
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds + offset * 60)


def time_local(seconds, offset, sign=None):
    d = written(seconds, offset)
    sign = sign or ("+" if offset >= 0 else "-")
    return "%02d/%s/%04d:%02d:%02d:%02d %s%02d%02d" % (d.day, MONTHS[d.month - 1], d.year, d.hour, d.minute, d.second,
                                                      sign, abs(offset) // 60, abs(offset) % 60)


def time_iso(seconds, offset):
    d = written(seconds, offset)
    sign = "+" if offset >= 0 else "-"
    return "%04d-%02d-%02dT%02d:%02d:%02d%s%02d:%02d" % (d.year, d.month, d.day, d.hour, d.minute, d.second,
                                                        sign, abs(offset) // 60, abs(offset) % 60)


class Case:
    def __init__(self, seed, contested=False):
        self.rng = random.Random(seed)
        self.seed = seed
        self.contested = contested

    def maybe(self, p):
        return self.rng.random() < p

    def scalar(self, value):
        """A string or native."""
        if self.maybe(0.5):
            return value
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)

    # -- settings -----------------------------------------------------------------------------

    def make_settings(self):
        rng, s = self.rng, {}
        self.n_lines = int(round(200 * 25 ** rng.random()))
        self.count = rng.choice([1, 2, 5, 5, 5, 12, 50, 50])
        if self.count == 50:
            self.n_lines = max(self.n_lines, 2500)
        s["count"] = self.scalar(self.count)
        if self.maybe(0.03):
            del s["count"]
            self.count = 200
            self.n_lines = 5000
        second = [0, 1, 3, 20, 3600]

        def thresholds(into, p):
            if self.maybe(p):
                into["threshold_secound"] = self.scalar(rng.choice(second))
            if self.maybe(p):
                into["threshold_w_secound"] = self.scalar(rng.choice(second))
            if self.maybe(p):
                into["block_second"] = self.scalar(rng.choice([0, 0, 1, 1, 5, 5, 600]))

        thresholds(s, 0.93)
        if self.maybe(0.4):  # room for warnings: the warning threshold is the wider one
            s["threshold_secound"] = self.scalar(rng.choice([0, 0, 1]))
            s["threshold_w_secound"] = self.scalar(rng.choice([1, 3, 20, 3600]))
        if self.maybe(0.6):
            s["if_block"] = self.scalar(self.maybe(0.75))
        if self.maybe(0.6):
            s["if_warning"] = self.scalar(self.maybe(0.75))
        self.lateness = 60
        if self.maybe(0.7):
            self.lateness = rng.choice([0, 1, 5, 10, 60, 600])
            s["max_lateness"] = self.scalar(self.lateness)
        if self.maybe(0.3):
            s["warn_second"] = self.scalar(rng.choice([1, 33, 120]))
        self.prefix = 64
        if self.maybe(0.6):
            self.prefix = rng.choice([32, 48, 56, 64, 128])
            s["ipv6_prefix"] = self.scalar(self.prefix)
        self.default_host = None
        if self.maybe(0.6):
            self.default_host = rng.choice(["www.example.com", "WWW.Example.com", "www.example.com:8080", "api.example.com"])
            s["default_host"] = self.default_host
        if self.maybe(0.7):
            kind = rng.random()
            if kind < 0.4:
                listed = ["all"]
            elif kind < 0.55:
                listed = []
            elif kind < 0.65:
                listed = rng.sample(PATTERNS, 2) + ["all"]
            else:
                listed = rng.sample(PATTERNS, rng.randint(1, 6))
            s["url_black_list"] = listed
        if self.maybe(0.7):
            special = {}
            seen = set()
            for text in rng.sample(PATTERNS, rng.randint(1, 7)):
                normal = re.sub(r"^.*@|:\d+", "", text).lower() if not text.startswith("/") else text
                if normal not in seen:  # two patterns for one URL are contested
                    seen.add(normal)
                    own = {}
                    thresholds(own, 0.6)
                    special[text] = own
            s["special_rule"] = special
        # A few of the policy keys that replay doesn't use.
        if self.maybe(0.2):
            s["max_new_bans_per_minute"] = self.scalar(1)
        if self.maybe(0.1):
            s["retention_days"] = self.scalar(30)

        self.make_addresses(s)
        if self.contested:
            self.contest_settings(s)
        return s

    def contest_settings(self, s):
        rng = self.rng
        if self.maybe(0.3):
            s.setdefault("special_rule", {}).update({"WWW.example.com/login": {}, "www.example.com/login": {"block_second": 1}})
        if self.maybe(0.3):
            s.setdefault("special_rule", {}).update({"www.example.com:8080/captcha/*": {}, "www.example.com/captcha/*": {"block_second": 2}})
        if self.maybe(0.3):
            s.setdefault("special_rule", {}).update({"other.test*": {}, "www.example.com": {}, "www.example.com/": {"block_second": 2}})
        if self.maybe(0.1):
            s["warn_second"] = 0
        if self.maybe(0.2):
            s.setdefault("protected", []).append(rng.choice(["203.0.113.9/24", "::/0", "::ffff:0:0/95"]))

    # -- addresses ----------------------------------------------------------------------------

    def make_addresses(self, s):
        rng = self.rng
        pool = ["203.0.113.%d" % i for i in range(1, 9)]
        pool += ["2001:db8:bad:1::%x" % i for i in range(1, 5)]          # one /64
        pool += ["2001:db8:bad:2::1", "2001:db8:bad:1ff::1", "2001:DB8:bad:2:0:0:0:2"]  # same /48, /56 differ
        pool += ["2001:db8:cafe:1::1", "2001:db8::1", "2001:0db8:bad:0001::7"]
        pool += ["::ffff:203.0.113.%d" % i for i in (1, 2, 3)] + ["::FFFF:cb00:7104"]   # the last: 203.0.113.4
        pool += ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::2", "198.51.100.7"]
        flooders = rng.sample(pool, rng.randint(2, 9))
        if self.maybe(0.5):
            flooders += ["2001:db8:bad:1::1", "2001:db8:bad:1::2"]
        visitors = ["198.51.100.%d" % i for i in range(1, 1 + rng.randint(1, 40))] + ["2001:db8:aa:%x::1" % i for i in range(5)]
        self.addresses = flooders
        self.weights = [rng.choice([1, 2, 5, 10]) for _ in flooders]
        self.visitors = visitors
        allow = ["203.0.113.1", "203.0.113.4/31", "2001:db8:bad:1::3", "2001:db8:bad:2::/64", "203.0.113.0/30",
                 "::ffff:203.0.113.6", "2001:db8:bad:1ff::/120", "198.51.100.0/24", "192.0.2.0/24", "2001:db8:bad::/48",
                 "::ffff:203.0.113.2/127"]
        if self.maybe(0.6):
            s["ip_white_list"] = rng.sample(allow, rng.randint(0, 3))
        if self.maybe(0.3):
            s["protected"] = rng.sample(allow, rng.randint(0, 2))
        self.proxies = []
        if self.maybe(0.5):
            choices = [("10.0.0.0/24", ["10.0.0.1", "10.0.0.2", "10.0.0.255", "::ffff:10.0.0.3"]),
                       ("2001:db8:cdcd::/48", ["2001:db8:cdcd::1", "2001:DB8:cdcd:ffff::2"]),
                       ("192.0.2.1", ["192.0.2.1", "::ffff:192.0.2.1"]),
                       ("::ffff:172.16.0.0/108", ["172.16.1.1", "::ffff:172.31.0.9"]),
                       ("127.0.0.1", ["127.0.0.1"])]
            picked = rng.sample(choices, rng.randint(1, 3))
            s["trusted_proxies"] = [network for network, _ in picked]
            self.proxies = [address for _, some in picked for address in some]

    def client(self):
        if self.maybe(0.12):
            return self.rng.choice(self.visitors)
        return self.rng.choices(self.addresses, self.weights)[0]

    def forwarded(self, client):
        """X-Forwarded-For as proxies in front would write it, with what the client forged on its left."""
        rng = self.rng
        hops = []
        if self.maybe(0.35):  # forged by the client: stands left of it, never reached
            for _ in range(rng.choice([1, 1, 2, 3, 300 if self.maybe(0.05) else 2])):
                hops.append(rng.choice(BAD_HOPS + self.addresses + self.proxies + ["127.0.0.1", "198.51.100.77"]))
        hops.append(client)
        for _ in range(rng.choice([0, 0, 0, 1, 2, 400 if self.maybe(0.03) else 1])):
            hops.append(rng.choice(self.proxies))
        kind = rng.random()
        if kind < 0.04:  # garbage on the way: unattributed
            hops.append(rng.choice(BAD_HOPS))
            if self.maybe(0.5):
                hops.append(rng.choice(self.proxies))
        elif kind < 0.06:
            return ", ,"
        elif kind < 0.08:
            return rng.choice(["-", "", " ", ",", "unknown"])
        elif kind < 0.10:
            return ", ".join(rng.choice(self.proxies) for _ in range(rng.randint(1, 4)))  # all trusted
        elif kind < 0.12:
            hops = [hop + rng.choice([":443", "%eth0"]) for hop in hops]
        elif kind < 0.13:
            return client + "," + rng.choice(["", " ", "  "])
        text = rng.choice([", ", ", ", ",", " , ", ",   "]).join(hops)
        if self.maybe(0.05):
            text = "  " + text + " "
        if self.contested and self.maybe(0.02):
            text += "\t"
        return text

    # -- requests -----------------------------------------------------------------------------

    def target(self):
        rng = self.rng
        path = rng.choice(PATHS)
        if "%d" in path:
            path = path % rng.randint(1, 2)
        path = path.replace("%%", "%")
        kind = rng.random()
        if kind < 0.72:
            if self.maybe(0.55):
                path = rng.choice(self.hot)
            return path + rng.choice(TAILS)
        scheme = rng.choice(["http://", "http://", "https://", "HTTP://", "h2+c.x-1://"])
        host = rng.choice(HOSTS)
        if self.maybe(0.2):
            host = rng.choice(["u:p@", "user@", "u%40x:@", "WWW.example.com:80@"]) + host
        if self.maybe(0.3):
            host += rng.choice([":80", ":8080", ":443", ":"])
        if self.contested and self.maybe(0.1):
            host = rng.choice(["", "a@b@www.example.com", "www.example.com:a:b", "www.example.com.", "u:p@", ":80"])
        if self.maybe(0.15):
            return scheme + host + rng.choice(["", "?t=/login", "#/login", "?", "#", "?a@b/c"])
        return scheme + host + path + rng.choice(TAILS)

    def request(self):
        """(what stands in the log as $request, as bytes, and its target or None)"""
        rng = self.rng
        if self.maybe(0.08):
            if self.maybe(0.15):
                return TLS, None
            if self.contested and self.maybe(0.3):
                return rng.choice(CONTESTED_REQUESTS).encode(), None
            return rng.choice(NO_URL).encode(), None
        target = self.target()
        method = rng.choice(["GET", "GET", "GET", "POST", "HEAD", "get", "\\x00GET"])
        tail = rng.choice([" HTTP/1.1"] * 8 + [" HTTP/2.0", "", " b HTTP/1.1", "  HTTP/1.1"])
        raw = (method + " " + target + tail).encode()
        if self.maybe(0.01):
            raw = raw.replace(b"/login", b"/log\xff\xc3in\x01")
        return raw, target

    # -- lines --------------------------------------------------------------------------------

    def values(self, t):
        rng = self.rng
        client = self.client()
        remote, forwarded = client, rng.choice(["-", "-", "198.51.100.77", "\\x22", "127.0.0.1", "203.0.113.1"])
        if self.proxies and self.maybe(0.65):
            remote = rng.choice(self.proxies)
            forwarded = self.forwarded(client)
        request, target = self.request()
        offset = rng.choice(OFFSETS) if self.maybe(self.mixed) else 0
        if "$request_uri" in (self.format or "") and target is None:
            target = rng.choice(["-", "", "*", "login", "www.example.com:443"])
        uri = "-"
        if target is not None:
            # The decoded path, as nginx would put it: never with a cut, sometimes another one.
            uri = re.split(r"[?#]", re.sub(r"^[A-Za-z0-9+.-]*://[^/?#]*", "", target))[0] or "/"
            uri = uri.replace("//", "/").replace("%2F", "/")
            if self.maybe(0.05):
                uri = rng.choice(["/login", "/index.html", "/captcha/create/"])
            if self.contested and self.maybe(0.05):
                uri = rng.choice(["/login?x", "/login#x", "", "-", "*", "login"])
        elif self.contested and self.maybe(0.5):
            uri = "/login"
        host = rng.choice(["www.example.com", "WWW.Example.com", "api.example.com", "other.test", "-", "www.example.com:8080"])
        users = ["-", "-", "-", "-", "bob", "a b", "x [y] z", "a - b", "[21/Nov/2026:22:26:41 +0000]", "\\x22q\\x22",
                 "] [", "u [01/Jan/2020:00:00:00 +0000] -", "\xe9"]
        return {
            "remote_addr": remote, "remote_user": rng.choice(users) if self.maybe(0.2) else "-",
            "time_local": time_local(t, offset, "-" if offset == 0 and self.maybe(0.05) else None),
            "time_iso8601": time_iso(t, offset), "msec": "%d.%03d" % (t, rng.choice([0, 1, 500, 999])),
            "request": request, "request_uri": target or "-", "status": rng.choice(["200", "200", "304", "404", "500", "000"]),
            "body_bytes_sent": rng.choice(["0", "-", "1234", "99999999999999999999999", "007"]) if self.maybe(0.3) else "512",
            "http_referer": rng.choice(["-", "http://www.example.com/", "a\\\\", "b\\\"c"]),
            "http_user_agent": rng.choice(AGENTS), "http_x_forwarded_for": forwarded, "host": host, "uri": uri,
            "request_time": "0.%03d" % rng.randint(0, 999),
        }

    def render(self, values):
        out = b""
        for piece in re.split(r"(\$\{?\w+\}?)", self.format or COMBINED):
            if piece.startswith("$"):
                value = values[piece.strip("${}")]
                out += value if isinstance(value, bytes) else value.encode("utf-8")
            else:
                out += piece.encode()
        return out

    def broken(self, t):
        """A line that is broken in one way; most are unparsed, some are not."""
        rng, v = self.rng, self.values(t)
        kind = rng.randrange(16)
        if kind == 0:
            return b""
        if kind == 1:
            return bytes(rng.randrange(256) for _ in range(rng.randint(1, 80))).replace(b"\n", b" ").replace(b"\r", b" ")
        if kind == 2:
            return TLS
        if kind in (3, 4):
            v["remote_addr"] = rng.choice(BAD_IPS)
        elif kind in (5, 6, 7):
            self.break_time(v, t)
        elif kind == 8:
            v["status"] = rng.choice(["20", "2000", "abc", "-", "", "2 0", "+20", "2e2", "\u0662\u0660\u0660"])
        elif kind == 9:
            v["body_bytes_sent"] = rng.choice(["x", "", "abc", "+5", "0x1f", "--"] + (["12x", "-1", "1.5"] if self.contested else []))
        elif kind == 10:  # a raw quote closes the request early; an escaped one doesn't
            v["request"] = rng.choice([b'GET /"login HTTP/1.1', b'GET /login" HTTP/1.1', b'"', b'GET /login HTTP/1.1\\',
                                       b'GET /login HTTP/1.1\\\\\\', b'GET /login\\\\" HTTP/1.1'])
        elif kind == 11:  # quotes and brackets missing
            line = self.render(v)
            quotes = [i for i, c in enumerate(line) if c in b'"[]']
            if "$http_x" not in (self.format or "") or self.truncatable:
                quotes = quotes[:6]
            if self.truncatable is not True:
                quotes = quotes[:1]  # (what follows the head of other formats is contested)
            drop = rng.choice(quotes) if quotes else 0
            return line[:drop] + line[drop + 1:]
        elif kind == 12:  # truncated
            line = self.render(v)
            if self.truncatable is True or self.contested:
                return line[:rng.randrange(len(line))]
            return line[:rng.randint(1, 12)]
        elif kind == 13:  # something in front of the address
            return rng.choice([b" ", b"\t", b"x", b"\xef\xbb\xbf", b"- "]) + self.render(v) if self.format is None \
                else b"garbage"
        elif kind == 14 and self.truncatable is True:  # broken after the bytes: still parsed
            line = self.render(v)
            m = re.search(rb'" [0-9-]+ [0-9-]+ ', line)
            if m is None:
                return line
            if self.maybe(0.3):
                return line[:m.end() - 1]  # ends with the bytes (so a CR that is kept would show)
            return line[:m.end()] + rng.choice([b"", b'"', b'"-', b'"-" ', b'"-" "unclosed', b'"a"b" "-" "-"', b"\xff\xfe junk",
                                                b'"-" "agent\\" "198.51.100.9"', b'- - 203.0.113.5', b'"-" "-" "203.0.113.5',
                                                b'"-" "-" "203.0.113.5" trailing \xff "'])
        elif kind == 15:
            v["remote_user"] = 'quo"te'
        if self.contested and self.maybe(0.3):
            return self.contested_line(v, t)
        return self.render(v)

    def contested_line(self, v, t):
        rng = self.rng
        kind = rng.randrange(6)
        if kind == 0:
            v["remote_user"] = ""
        elif kind == 1:
            v["time_local"] = time_local(t - t % 60 + 59, 0)[:-8] + "60 +0000"  # leap second
        elif kind == 2:
            v["time_local"] = rng.choice(["21/nov/2026:22:26:41 +0000", "21/Nov/0000:22:26:41 +0000", "21/Nov/2026:22:26:41 +0060"])
        elif kind == 3:
            return b"<190>Nov 21 22:26:41 web1 nginx: " + self.render(v)
        elif kind == 4:
            return self.render(v).replace(b" - ", b" ", 1)
        elif kind == 5:
            return self.render(v).replace(b" - ", b" ident ", 1)
        return self.render(v)

    def break_time(self, v, t):
        rng = self.rng
        good = time_local(t, 0)
        v["time_local"] = rng.choice([
            "31/Feb" + good[6:], "30/Feb/2028" + good[11:], "29/Feb/2027" + good[11:], "29/Feb/2100" + good[11:],
            "31/Apr" + good[6:], "00/Nov" + good[6:], "32/Jan" + good[6:],
            good[:12] + "24:00:00 +0000", good[:12] + "23:60:00 +0000", good[:12] + "12:00:61 +0000", good[:12] + "25:00:00 +0000",
            good[:21] + "+1401", good[:21] + "-1401", good[:21] + "+1500", good[:21] + "+9900", good[:21] + "0000",
            good[:20], good[:20] + " Z", good[:20] + " +00:00", good[:20] + " UTC", good[:21] + "+000",
            "1" + good[2:], good[:3] + "Foo" + good[6:], good[:7] + "26" + good[11:], good[:12] + "1:02:03 +0000", "-", "",
            good.replace("/", "-"), good[:17] + " +0000", good[:20] + ".500 +0000", " " + good, good + " "])
        good = time_iso(t, 0)
        v["time_iso8601"] = rng.choice([
            good[:5] + "02-30" + good[10:], good[:5] + "13-01" + good[10:], good[:11] + "24:00:00+00:00", good[:19] + "+14:01",
            good[:19] + "-15:00", good[:19], "-", "", good[:10], "x"])
        v["msec"] = rng.choice(["-", "", "x.y", "12:00:00", "1.2.3", "0x10.000", "+5.000"])

    def make_lines(self):
        rng = self.rng
        t = float(epoch(rng.choice(BASES)))
        rate = rng.choice([0.3, 1, 5, 20, 100, 400])  # lines a second
        jitter = rng.choice([0, 0, 1, 2, 5, self.lateness])
        late = rng.choice([0, 0.005, 0.03])
        bad = rng.choice([0.003, 0.02, 0.08])
        lines = []
        while len(lines) < self.n_lines:
            t += rng.expovariate(rate)
            if self.maybe(0.001):
                t += rng.choice([1, 10, 100, 700, 4000])  # a pause
            at = int(t)
            if jitter and self.maybe(0.4):
                at -= rng.randint(0, jitter)
            if self.maybe(late):
                at -= self.lateness + rng.choice([-1, 0, 0, 1, 1, 2, 100, 4000])
            if self.maybe(0.0003):
                at += rng.choice([1, self.lateness, self.lateness + 1])  # a clock ahead
            if self.maybe(bad):
                lines.append(self.broken(at))
                continue
            v = self.values(at)
            lines.append(self.render(v))
            if self.maybe(0.02):  # a burst of the same
                lines += [lines[-1]] * rng.choice([1, self.count - 1, self.count, self.count + 1, 2 * self.count])
        if self.maybe(0.1):  # very long ones
            v = self.values(int(t))
            v["http_user_agent"] = "A" * (1 << 20)
            lines.insert(rng.randrange(len(lines)), self.render(v))
            v = self.values(int(t))
            v["http_x_forwarded_for"] = ", ".join(["198.51.100.66"] + [rng.choice(self.proxies or ["x"]) for _ in range(10000)])
            lines.insert(rng.randrange(len(lines)), self.render(v))
        return lines

    def make(self, out):
        rng = self.rng
        settings = self.make_settings()
        weights = [weight for weight, _, _ in FORMATS]
        if self.proxies:
            weights[0] = 8  # (without X-Forwarded-For every line of a proxy is unattributed)
        _, self.format, self.truncatable = rng.choices(FORMATS, weights)[0]
        self.mixed = rng.choice([0, 0, 0.2, 1])
        self.hot = rng.sample(["/login", "/captcha/create/", "/img/1.png", "/api/v1/items/1", "/"], 2)
        lines = self.make_lines()

        crlf = rng.choice([0, 0, 1, 0.5])
        files = 1 if self.maybe(0.6) else rng.randint(2, 4)
        cuts = sorted(rng.randrange(len(lines) + 1) for _ in range(files - 1))
        os.makedirs(out, exist_ok=True)
        for i, (start, end) in enumerate(zip([0] + cuts, cuts + [len(lines)])):
            data = b"".join(line + (b"\r\n" if rng.random() < crlf else b"\n") for line in lines[start:end])
            if self.maybe(0.4):  # a last line without LF (nor CR)
                data = data.rstrip(b"\r\n")
            elif self.contested and self.maybe(0.3):
                data = data.rstrip(b"\n")
            name = "case.log" if files == 1 else "case.%d.log" % (i + 1)
            with open(os.path.join(out, name), "wb") as file:
                file.write(data)
        with open(os.path.join(out, "case.settings.json"), "w", encoding="utf-8") as file:
            json.dump(settings, file, indent=1)
        if self.format is not None:
            text = self.format + ("\n" if self.maybe(0.5) else "")
            if self.contested and self.maybe(0.3):
                text = "log_format main '%s'\n    '%s';\n" % (text.strip()[:40], text.strip()[40:])
            with open(os.path.join(out, "case.log_format"), "w", encoding="utf-8") as file:
                file.write(text)


COMBINED = ('$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
            '"$http_referer" "$http_user_agent"')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--contested", action="store_true", help="also what the specification leaves open")
    args = parser.parse_args()
    Case(args.seed, args.contested).make(args.out)


if __name__ == "__main__":
    main()
