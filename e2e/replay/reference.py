#!/usr/bin/env python3
"""Reference for `ccfirewall replay`: slow and obvious, standard library only.

    reference.py [--settings FILE] [--log-format FILE|STRING|combined] [--trace FILE] LOG...

Decisions go to stdout as JSON lines (without `country`), the summary as the last line to stderr.
--trace writes one line of text for every input line: its number, what became of it and why.

Written from the specification alone. Where the text left a choice, the comment says CHOICE.
"""
import argparse
import calendar
import datetime
import ipaddress
import json
import os
import re
import sys


# ---------------------------------------------------------------------------------------------
# Settings
# ---------------------------------------------------------------------------------------------

def to_int(value):
    """Every scalar may be a string or native."""
    return int(value)


def to_bool(value):
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError("not a boolean: %r" % (value,))


def parse_network(text):
    """An address or CIDR prefix. IPv4-mapped ones are IPv4.

    CHOICE: host bits are masked away; an IPv6 prefix shorter than ::ffff:0:0/96 stays IPv6 and covers no IPv4.
    """
    network = ipaddress.ip_network(text, strict=False)
    if network.version == 6 and network.prefixlen >= 96 and network.network_address.ipv4_mapped is not None:
        return ipaddress.ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96), strict=False)
    return network


class Pattern:
    """A URL of the settings: `host/path`, `/path` (any host), `host` (path `/`), with a trailing `*` for a prefix."""

    def __init__(self, text):
        self.text = text
        raw = text.encode("utf-8")
        self.is_prefix = raw.endswith(b"*")
        if self.is_prefix:
            raw = raw[:-1]
        slash = raw.find(b"/")
        if slash < 0:  # a pattern without a slash is a host with path /
            host, self.path = raw, b"/"
        else:
            host, self.path = raw[:slash], raw[slash:]
        self.host = clean_host(host)  # None: any host

    def matches(self, url):
        host, path = url
        if self.host is not None and self.host != host:
            return False
        if self.is_prefix:
            return path.startswith(self.path)
        return path == self.path

    def rank(self):
        """The smallest rank wins: exact, then with a host, then the longer, then byte order.

        CHOICE: length is that of the normalised host and path; byte order is that of the text in the settings.
        (They only differ for patterns that normalise to the same URL.)
        """
        length = len(self.host or b"") + len(self.path)
        return (self.is_prefix, self.host is None, -length, self.text.encode("utf-8"))


class Rule:
    def __init__(self, name, reason, block_within, warn_within, block_second):
        self.name = name
        self.reason = reason
        self.block_within = block_within
        self.warn_within = warn_within
        self.block_second = block_second


class Settings:
    def __init__(self, data):
        self.count = to_int(data.get("count", 200))
        self.if_block = to_bool(data.get("if_block", True))
        self.if_warning = to_bool(data.get("if_warning", True))
        block_within = to_int(data.get("threshold_secound", 10))
        warn_within = to_int(data.get("threshold_w_secound", 20))
        block_second = to_int(data.get("block_second", 600))
        self.warn_second = to_int(data.get("warn_second", 60))
        self.max_lateness = to_int(data.get("max_lateness", 60))
        self.ipv6_prefix = to_int(data.get("ipv6_prefix", 64))
        # Not used by replay: max_event_age, max_new_bans_per_minute, max_banned_share, retention_days, records_kept.

        default_host = data.get("default_host")
        self.default_host = clean_host(default_host.encode("utf-8")) if default_host else None
        self.trusted = [parse_network(text) for text in data.get("trusted_proxies", [])]
        exempt = list(data.get("ip_white_list", [])) + list(data.get("protected", []))
        exempt += ["127.0.0.0/8", "::1"]  # loopback is always protected
        self.exempt = [parse_network(text) for text in exempt]

        listed = data.get("url_black_list", ["all"])
        self.all_urls = "all" in listed
        self.listed = [Pattern(text) for text in listed if text != "all"]
        self.global_rule = Rule("global", 0, block_within, warn_within, block_second)
        self.special = []
        for text, own in data.get("special_rule", {}).items():
            rule = Rule(text, 1,  # decisions print the URL as the settings have it
                        to_int(own.get("threshold_secound", block_within)),
                        to_int(own.get("threshold_w_secound", warn_within)),
                        to_int(own.get("block_second", block_second)))
            self.special.append((Pattern(text), rule))

    def rule_for(self, url):
        """The one rule of a request, or None."""
        if url is not None:
            matching = [(pattern.rank(), rule) for pattern, rule in self.special if pattern.matches(url)]
            if matching:
                return min(matching, key=lambda pair: pair[0])[1]
        if self.all_urls:
            return self.global_rule
        if url is not None and any(pattern.matches(url) for pattern in self.listed):
            return self.global_rule
        return None


# ---------------------------------------------------------------------------------------------
# Addresses
# ---------------------------------------------------------------------------------------------

def parse_ip(raw):
    """A bare IP literal, or None: no port, no zone id, no leading zeros in IPv4 octets, no brackets, no spaces.

    CHOICE: leading zeros inside an IPv6 group (`0db8`, at most four digits) are ordinary IPv6 text.
    """
    try:
        text = raw.decode("ascii")
        if "%" in text or "/" in text:
            return None
        address = ipaddress.ip_address(text)  # (refuses leading zeros in octets since 3.9.5)
    except ValueError:  # (a UnicodeDecodeError is one too)
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def within_any(address, networks):
    return any(address.version == network.version and address in network for network in networks)


def client_of(fields, settings):
    """(address, why) ; address is None where the line is unattributed."""
    remote = fields["ip"]
    if not within_any(remote, settings.trusted):
        return remote, "remote_addr, not a trusted proxy"
    forwarded = fields.get("http_x_forwarded_for")
    if forwarded is None:
        return None, "trusted proxy and no X-Forwarded-For"
    for hop in reversed(forwarded.split(b",")):
        address = parse_ip(hop.strip(b" "))  # an empty hop or `-` is no IP literal either
        if address is None:
            return None, "hop %r is no IP literal" % hop[:60]
        if not within_any(address, settings.trusted):
            return address, "first untrusted hop"
    return None, "every hop is trusted"


def counted_as(address, settings):
    """The network under which an address is counted, banned and printed."""
    if address.version == 4:
        return ipaddress.ip_network((address, 32))
    return ipaddress.ip_network((address, settings.ipv6_prefix), strict=False)


def print_client(network):
    # CHOICE: with ipv6_prefix 128 the "/128" is printed as every other prefix is.
    return str(network.network_address) if network.version == 4 else str(network)


def is_exempt(network, settings):
    """Allowlisted or protected: a prefix that overlaps one counts as that."""
    return any(network.version == other.version and network.overlaps(other) for other in settings.exempt)


# ---------------------------------------------------------------------------------------------
# Time
# ---------------------------------------------------------------------------------------------

MONTHS = [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"]
TIME_LOCAL = re.compile(rb"(\d\d)/([A-Z][a-z][a-z])/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\Z")
TIME_ISO = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)([+-])(\d\d):(\d\d)\Z")
MSEC = re.compile(rb"(\d+)\.\d+\Z")


def epoch_seconds(year, month, day, hour, minute, second, sign, off_hours, off_minutes):
    """CHOICE: second 60 and year 0000 don't exist; the minutes of an offset are below 60."""
    try:
        moment = datetime.datetime(int(year), month, int(day), int(hour), int(minute), int(second))
    except ValueError:
        return None
    if int(off_minutes) > 59:
        return None
    offset = int(off_hours) * 3600 + int(off_minutes) * 60
    if offset > 14 * 3600:
        return None
    if sign == b"-":
        offset = -offset
    return calendar.timegm(moment.timetuple()) - offset


def parse_time_local(raw):
    m = TIME_LOCAL.match(raw)
    if m is None or m.group(2) not in MONTHS:
        return None
    return epoch_seconds(m.group(3), MONTHS.index(m.group(2)) + 1, m.group(1), m.group(4), m.group(5), m.group(6),
                         m.group(7), m.group(8), m.group(9))


def parse_time_iso(raw):
    m = TIME_ISO.match(raw)
    if m is None:
        return None
    return epoch_seconds(m.group(1), int(m.group(2)), *m.groups()[2:])


def parse_msec(raw):
    m = MSEC.match(raw)
    return None if m is None else int(m.group(1))  # floored to the second


def print_time(seconds):
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % (moment.year, moment.month, moment.day,
                                              moment.hour, moment.minute, moment.second)


# ---------------------------------------------------------------------------------------------
# Lines
# ---------------------------------------------------------------------------------------------

COMBINED = ('$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
            '"$http_referer" "$http_user_agent"')
COMBINED_HEAD = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'

# Fields that a line must have, where the format has them.
NECESSARY = {"remote_addr", "time_local", "time_iso8601", "msec", "request", "request_uri", "status",
             "body_bytes_sent", "bytes_sent"}
TIMES = {"time_local": parse_time_local, "time_iso8601": parse_time_iso, "msec": parse_msec}

# A quoted field ends at the first `"` that no odd run of backslashes precedes: what stands before it is
# a row of ordinary bytes and of pairs "backslash + anything". There is only one way to match this.
QUOTED = rb'(?:[^"\\]|\\.)*'


class LogFormat:
    """A log_format string (escape=default) as a list of steps: (literal before, variable, quoted?, literal after)."""

    def __init__(self, text):
        text = unpack_directive(text)
        pieces = re.split(r"\$(?:\{(\w+)\}|(\w+))", text)
        literals = [piece.encode("utf-8") for piece in pieces[0::3]]
        names = [a or b for a, b in zip(pieces[1::3], pieces[2::3])]
        self.steps = []
        for i, name in enumerate(names):
            before, after = literals[i], literals[i + 1]
            # Inside of quotes if an odd number of quotes stands before it; alone in them if they touch it.
            quoted = before.endswith(b'"') and after.startswith(b'"')
            self.steps.append([before, name, quoted, after])
        for i, (_, _, quoted, _) in enumerate(self.steps):
            if quoted:  # the closing quote belongs to the field: an unclosed field does not match
                self.steps[i][3] = self.steps[i][3][1:]
                if i + 1 < len(self.steps):
                    self.steps[i + 1][0] = self.steps[i + 1][0][1:]
        self.names = names
        # Up to here a line must match; what follows is optional and may be broken.
        if re.match(re.escape(COMBINED_HEAD) + r"(?![\w])", text):
            self.required = 6
        else:
            # CHOICE: for other formats, up to the last of the necessary fields.
            self.required = max([i + 1 for i, name in enumerate(names) if name in NECESSARY], default=0)
        self.head = self.compile_head()

    def variable_pattern(self, step):
        _, name, quoted, after = step
        if quoted:
            return b"(" + QUOTED + b')"'
        if name == "remote_user":
            return rb'([^"]*)'  # spaces and brackets, never a raw quote
        if name == "time_local":
            return rb"(\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})"
        if name == "status":
            return rb"(\d{3})"
        if name in ("body_bytes_sent", "bytes_sent"):
            return rb"(\d+|-)"
        if after:
            return b"([^" + re.escape(after[:1]) + b"]*)"  # up to the first byte of the literal that follows
        return b"(.*)"

    def compile_head(self):
        pattern = b"".join(re.escape(step[0]) + self.variable_pattern(step) for step in self.steps[:self.required])
        after = self.steps[self.required - 1][3]
        # The last field of the head must end there: at the end of the line or where the next literal begins.
        # CHOICE: so bytes `12x` is no number; but `12` and end of line is fine.
        pattern += rb"(?=\Z|" + re.escape(after[:1]) + b")" if after else rb"\Z"
        return re.compile(pattern, re.DOTALL)

    def parse(self, line):
        """(fields, None) or (None, reason). The fields are bytes by name; plus ip (address) and t (seconds)."""
        m = self.head.match(line)
        if m is None:
            return None, "does not have the form of the log format"
        fields = dict(zip(self.names[:self.required], m.groups()))

        # The optional rest, left to right; the first field that does not match ends it.
        position = m.end()
        for step in self.steps[self.required:]:
            m = re.compile(re.escape(step[0]) + self.variable_pattern(step), re.DOTALL).match(line, position)
            if m is None:
                break
            fields.setdefault(step[1], m.group(1))
            position = m.end()

        fields["ip"] = parse_ip(fields.get("remote_addr", b""))
        if fields["ip"] is None:
            return None, "no bare IP literal"
        # Every time in the head must exist; the first kind in this order is the one that counts.
        fields["t"] = None
        for name in ("time_local", "time_iso8601", "msec"):
            if name in self.names[:self.required]:
                t = TIMES[name](fields[name])
                if t is None:
                    return None, "impossible " + name
                if fields["t"] is None:
                    fields["t"] = t
        if fields["t"] is None:
            return None, "no time"
        for name, pattern in (("status", rb"\d{3}\Z"), ("body_bytes_sent", rb"(\d+|-)\Z")):
            if name in self.names[:self.required] and not re.match(pattern, fields[name]):  # (they may be quoted)
                return None, "bad " + name
        return fields, None


def unpack_directive(text):
    """`log_format name 'a' 'b';` gives `ab`; anything else is the format itself."""
    text = text.strip("\r\n")
    if text == "combined":
        return COMBINED
    if re.match(r"\s*log_format\s", text):
        return "".join(re.findall(r"'([^']*)'", text))
    return text


def lines_of(path):
    """Lines end with LF; a CR before it is ignored; a last line without LF counts; nothing follows a final LF."""
    with open(path, "rb") as file:
        data = file.read()
    parts = data.split(b"\n")
    last = parts.pop()
    for part in parts:
        yield part[:-1] if part.endswith(b"\r") else part  # one CR only
    if last:
        yield last  # CHOICE: no LF, so a CR at its end is not "before the LF" and stays


# ---------------------------------------------------------------------------------------------
# URLs
# ---------------------------------------------------------------------------------------------

SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")


def clean_host(raw):
    """Lower case (ASCII), without userinfo and port; None if nothing is left.

    CHOICE: userinfo ends at the last `@`; the port begins at the first `:`, after the `]` of an IPv6 literal.
    """
    raw = raw[raw.rfind(b"@") + 1:]
    if raw.startswith(b"[") and b"]" in raw:
        raw = raw[:raw.index(b"]") + 1]
    else:
        raw = raw.split(b":")[0]
    return raw.lower() or None  # bytes.lower() is ASCII only


def cut(path):
    return re.split(rb"[?#]", path)[0]


def url_of(fields, settings):
    """(host or None, path), or None where the request has no URL."""
    log_uri = fields.get("uri")
    if log_uri in (b"", b"-"):  # CHOICE: nginx writes `-` for an empty variable: as if not there
        log_uri = None

    if "request" in fields:
        words = fields["request"].split(b" ")  # single spaces: `GET  /x` has an empty second word
        if len(words) < 2:
            return None
        target = words[1]
    elif "request_uri" in fields:  # CHOICE: where the format has no $request, this is the second word
        target = fields["request_uri"]
    elif log_uri is not None:  # CHOICE: neither of them: $uri alone makes the URL
        target = log_uri
    else:
        return None

    scheme = SCHEME.match(target)
    if scheme is not None:
        rest = target[scheme.end():]
        authority = re.split(rb"[/?#]", rest)[0]
        # CHOICE: an empty authority is no host; neither $host nor default_host stands in for it.
        host = clean_host(authority)
        path = cut(rest[len(authority):])
    elif target.startswith(b"/"):
        log_host = fields.get("host")
        if log_host in (None, b"", b"-"):  # CHOICE: as for $uri
            host = settings.default_host
        else:
            host = clean_host(log_host)
        path = cut(target)
    else:
        return None

    if log_uri is not None:
        path = log_uri  # CHOICE: $uri is not cut: a `?` in it was %3F
    return host, path or b"/"


# ---------------------------------------------------------------------------------------------
# Replay
# ---------------------------------------------------------------------------------------------

class Client:
    """All that is known of one address."""

    def __init__(self):
        self.newest = None      # newest second seen, every attributed line moves it
        self.banned_until = None
        self.windows = {}       # rule name -> sorted list of seconds
        self.tallies = {}       # rule name or None -> requests since the last record


def join(window, t, count):
    """Puts t into the window of the `count` newest seconds; True if the window may decide now."""
    if len(window) == count and t < window[0]:
        return False  # older than all of a full window: changes nothing, decides nothing
    window.append(t)
    window.sort()
    if len(window) > count:
        del window[0]
    return len(window) == count


def replay(paths, settings, log_format, trace=None):
    clients = {}
    decisions = []
    records = []
    summary = dict.fromkeys(["lines", "parsed", "unparsed", "clients", "records", "blocks", "warns",
                             "while_banned", "late", "unattributed", "evicted"], 0)

    def note(text):
        if trace is not None:
            trace.write("%d %s\n" % (summary["lines"], text))

    for path in paths:
        for line in lines_of(path):
            summary["lines"] += 1

            # Parsed
            fields, why = log_format.parse(line)
            if fields is None:
                summary["unparsed"] += 1
                note("unparsed: " + why)
                continue
            summary["parsed"] += 1
            t = fields["t"]

            # Attributed
            address, why = client_of(fields, settings)
            if address is None:
                summary["unattributed"] += 1
                note("unattributed: " + why)
                continue
            network = counted_as(address, settings)
            client = clients.setdefault(network, Client())
            url = url_of(fields, settings)
            about = "%s t=%d url=%s" % (print_client(network), t, url)

            # Late: this line moves the newest time as well, so it can never be late against itself.
            if client.newest is None or t > client.newest:
                client.newest = t
            if t < client.newest - settings.max_lateness:
                summary["late"] += 1
                note("late: %s newest=%d" % (about, client.newest))
                continue

            # While banned: lines older than the decision included.
            if client.banned_until is not None and t <= client.banned_until:
                summary["while_banned"] += 1
                note("while_banned: %s until=%d" % (about, client.banned_until))
                continue

            # Rule
            rule = settings.rule_for(url)
            # (The key keeps a special rule that is called "global" apart from the global rule.)
            key = None if rule is None else (rule.reason, rule.name)
            exempt = is_exempt(network, settings)
            client.tallies[key] = client.tallies.get(key, 0) + 1

            decision = None
            if rule is not None:
                window = client.windows.setdefault(key, [])
                if join(window, t, settings.count) and not exempt:
                    during = window[-1] - window[0]
                    if settings.if_block and during <= rule.block_within:
                        decision = ("block", window[-1], during, rule.block_second)
                    elif settings.if_warning and during <= rule.warn_within:
                        decision = ("warn", window[-1], during, settings.warn_second)

            if decision is not None:
                action, second, during, seconds = decision
                decisions.append({"time": print_time(second), "ip": print_client(network), "action": action,
                                  "rule": rule.name, "reason": rule.reason, "count": settings.count,
                                  "during": during, "seconds": seconds})
                records.append(1 if action == "block" else 2)
                if action == "block":
                    summary["blocks"] += 1
                    client.banned_until = second + rule.block_second
                    client.windows.clear()
                    client.tallies.clear()
                else:
                    summary["warns"] += 1
                    client.windows[key] = []
                    client.tallies[key] = 0
                note("%s: %s rule=%s during=%d" % (action, about, rule.name, during))
            elif client.tallies[key] == settings.count:
                # A record empties no window.
                code = -3 if rule is None else -2 if exempt else -1 if not settings.if_block else 0
                records.append(code)
                client.tallies[key] = 0
                note("record %d: %s rule=%s" % (code, about, rule and rule.name))
            else:
                note("counted: %s rule=%s tally=%d" % (about, rule and rule.name, client.tallies[key]))

    summary["records"] = len(records)
    summary["clients"] = len(clients)
    # Stable: equal ones keep decision order. As strings (UTF-8 byte order is code point order).
    decisions.sort(key=lambda d: (d["time"], d["ip"], d["rule"]))
    return decisions, summary


def load_settings(path):
    if path is None:
        return Settings({})
    with open(path, encoding="utf-8") as file:
        return Settings(json.load(file))


def load_log_format(value):
    if value is not None and os.path.isfile(value):
        with open(value, encoding="utf-8", newline="") as file:
            value = file.read()
    return LogFormat(value or "combined")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings")
    parser.add_argument("--log-format")
    parser.add_argument("--trace")
    parser.add_argument("log", nargs="+")
    args = parser.parse_args()
    trace = open(args.trace, "w", encoding="utf-8") if args.trace else None
    decisions, summary = replay(args.log, load_settings(args.settings), load_log_format(args.log_format), trace)
    if trace:
        trace.close()
    for decision in decisions:
        print(json.dumps(decision, ensure_ascii=False))
    print(json.dumps(summary), file=sys.stderr)


if __name__ == "__main__":
    main()
