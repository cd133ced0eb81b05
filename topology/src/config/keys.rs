//! Every key of `ccfirewall.toml`: what it accepts, its default and what it means.

use std::fmt::Write as _;

/// A key that holds a value.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What it accepts: the word behind "must be".
    pub(super) value: &'static str,
    /// As it would stand in the file, or in words.
    default: &'static str,
    meaning: &'static str,
}

/// A table of the file; the keys before any table are the section without a name.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// How its header is written.
    pub(super) header: &'static str,
    pub(super) keys: &'static [Key],
    meaning: &'static str,
}

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, value: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, value, default, meaning }
}

const FLAG: &str = "true or false";
const PATH: &str = "a path";
const TOPIC: &str = "a topic's name: 1 to 249 letters, digits, `.`, `_` and `-`";

pub(super) static TOP: Section = Section {
    name: "",
    header: "",
    meaning: "These stand before the first table.",
    keys: &[
        key(
            "state",
            PATH,
            "\"/var/lib/ccfirewall\"",
            "The folder of what the program keeps: journal, database, control socket, and the positions in logs. \
             It must survive restarts.",
        ),
        key(
            "settings",
            PATH,
            "none: the default rules hold",
            "The rules, JSON ([settings.md](settings.md)). The file is watched: a change that is in order holds \
             within 200 ms, one with errors changes nothing and raises an alarm. With `[zookeeper]` they are \
             there, and the file is only what they are created from.",
        ),
        key(
            "dry_run",
            FLAG,
            "false",
            "Decide and keep everything, and block nobody: the agent in this process enforces nothing, and \
             agents elsewhere are sent nothing.",
        ),
    ],
};

pub(super) static SOURCE: Section = Section {
    name: "source",
    header: "[[source]]",
    meaning: "Where lines come from. At least one, each with exactly one of `log`, `stdin`, `generate` and `kafka`.",
    keys: &[
        key("log", PATH, "none", "An access log. It is followed through its rotations, and may come later."),
        key("stdin", FLAG, "false", "Whether lines come from standard input."),
        key(
            "generate",
            "a table such as { rate = 1000, attackers = 5 }",
            "none",
            "Made-up traffic, to try things out. Its addresses are real ones, so it is refused where anything \
             would really be blocked.",
        ),
        key(
            "kafka",
            TOPIC,
            "none",
            "A Kafka topic; `[kafka]` says where. There is one such source at most. Messages may be compressed in any \
             way that Kafka has.",
        ),
        key(
            "envelope",
            "`auto`, `none` or `json`",
            "\"auto\"",
            "What the topic's messages are. `none`: lines, one or several. `json`: always JSON around them, as Flume, \
             Filebeat, Fluent Bit and Vector send it: an object, a list of objects, or an object on each line. `auto`: \
             JSON where a message is valid JSON with a text under one of `message_key`, and hasn't got the key of \
             `$remote_addr` that JSON lines of `format` have; else lines. Where `format` begins with something that a \
             client writes and nginx doesn't escape it, write `none`.",
        ),
        key(
            "message_key",
            "a key or a list of keys",
            "[\"message\", \"log\", \"body\"]",
            "Under which key of the JSON the line is; the first that is there counts. Nested keys are written \
             `outer.inner`.",
        ),
        key(
            "format",
            "`combined`, `json`, or a log_format as it stands in nginx.conf",
            "\"combined\"",
            "How lines are written ([log-formats.md](log-formats.md)).",
        ),
        key(
            "start",
            "`end` or `beginning`",
            "\"end\"",
            "Where a log or a topic is begun when it is read for the very first time. Later, reading goes on where it \
             ended.",
        ),
    ],
};

pub(super) static GENERATE: Section = Section {
    name: "source.generate",
    header: "generate = { … }",
    meaning: "Made-up traffic, in an inline table.",
    keys: &[
        key(
            "rate",
            "a whole number of lines a second from 1 to 10000000",
            "1000",
            "How many lines a second.",
        ),
        key("clients", "a whole number from 0 to 4294967295", "10000", "How many visitors there are."),
        key(
            "attackers",
            "a whole number from 0 to 4294967295",
            "5",
            "How many attackers there are. They take what visitors leave of `rate`.",
        ),
        key(
            "seed",
            "a whole number from 0 to 9223372036854775807",
            "1",
            "What decides everything that is drawn by lot.",
        ),
    ],
};

pub(super) static AGENT: Section = Section {
    name: "agent",
    header: "[agent]",
    meaning: "The agent in this process, which holds the bans on this machine. Without this table there is one \
              all the same, unless `[[agents]]` names others.",
    keys: &[
        key("enabled", FLAG, "true", "Whether there is one."),
        key(
            "enforcer",
            "`auto`, `nftables`, `ipset`, `iptables` or `dry-run`",
            "\"auto\"",
            "What holds the bans. `auto` is the best that this machine has: nftables, else ipset, else iptables.",
        ),
        key(
            "listen",
            "a loopback address with a port, such as 127.0.0.1:0",
            "\"127.0.0.1:0\"",
            "Where this process speaks to it; port 0 is any free one. For other hosts there is \
             `ccfirewall-agent`.",
        ),
    ],
};

pub(super) static AGENTS: Section = Section {
    name: "agents",
    header: "[[agents]]",
    meaning: "Agents on other hosts, each with exactly one of `mkey_file` and `mkey_env`.",
    keys: &[
        key(
            "address",
            "an address with a port, such as 10.0.0.2:9090 or [2001:db8::2]:9090",
            "none: it must be given",
            "Where it is spoken to. Without a port it is 9090.",
        ),
        key("mkey_file", PATH, "none", "The file with the secret that is shared with the agent."),
        key(
            "mkey_env",
            "the name of an environment variable",
            "none",
            "The environment variable with the secret that is shared with the agent.",
        ),
        key(
            "tls_ca",
            PATH,
            "none: it is spoken to without TLS",
            "Speak TLS with it, and believe only certificates of the authority in this file (PEM).",
        ),
        key(
            "tls_cert",
            PATH,
            "none",
            "The certificate that the agent is shown (PEM), for agents that ask for one (`--tls-client-ca`). It is read \
             again when it changes. With `tls_ca` and `tls_key` only.",
        ),
        key("tls_key", PATH, "none", "The private key of `tls_cert` (PEM)."),
        key(
            "tls_name",
            "a host name or an address",
            "none: the address in `address`",
            "For whom the agent's certificate must be.",
        ),
    ],
};

pub(super) static REGISTERED_AGENTS: Section = Section {
    name: "registered_agents",
    header: "[registered_agents]",
    meaning: "The agents that register in ZooKeeper (`[zookeeper]`), those of 2016 among them: they come and go as \
              they do there. With this table there is an agent in this process only where `[agent]` stands in the file.",
    keys: &[
        key(
            "mkey_file",
            PATH,
            "none",
            "The file that holds the secret that they share with us, in one line.",
        ),
        key(
            "mkey_env",
            "the name of an environment variable",
            "none",
            "The variable that holds the secret that they share with us.",
        ),
        key(
            "tls_ca",
            PATH,
            "none: no TLS",
            "Whose certificates we believe, PEM. A certificate is for the agent's address. With it agents without TLS \
             aren't called, those of 2016 neither: whoever can write to the list mustn't get the secret in clear text. \
             Name such agents under `[[agents]]`.",
        ),
        key(
            "tls_cert",
            PATH,
            "none",
            "Our own certificate, PEM, where agents ask for one. It goes with `tls_key`.",
        ),
        key("tls_key", PATH, "none", "The key of our own certificate, PEM."),
        key(
            "tls_name",
            "a DNS name or an address",
            "none: each agent's address",
            "For whom the agents' certificates must be, where all have the same one.",
        ),
    ],
};

pub(super) static WORKER: Section = Section {
    name: "worker",
    header: "[worker]",
    meaning: "What this process does of all the work ([fleet.md](fleet.md)).",
    keys: &[
        key(
            "role",
            "`all`, `match` or `analyse`",
            "\"all\"",
            "`all` does everything. With more than one worker some read lines (`match`), and others count and decide \
             (`analyse`); one of these at a time owns the bans. They need `[kafka]`, `[zookeeper]`, and the latter a \
             MySQL database.",
        ),
        key(
            "name",
            "a name of 1 to 100 characters without spaces",
            "the host's name",
            "What the worker is called in ZooKeeper, in logs and on pages.",
        ),
    ],
};

pub(super) static HTTP: Section = Section {
    name: "http",
    header: "[http]",
    meaning: "Read-only pages: state, metrics, bans.",
    keys: &[
        key(
            "listen",
            "an address with a port, such as 127.0.0.1:8480",
            "\"127.0.0.1:8480\"",
            "Where they are served.",
        ),
        key(
            "allow_remote",
            FLAG,
            "false",
            "Whether `listen` may be another address than loopback. The pages ask for no password and tell \
             who is blocked: let only those reach them who should.",
        ),
    ],
};

pub(super) static STORE: Section = Section {
    name: "store",
    header: "[store]",
    meaning: "Where records, bans and answers of agents are kept: in an SQLite database, a file, or in MySQL or \
              MariaDB (`url`).",
    keys: &[
        key("database", PATH, "\"ccfirewall.db\"", "The SQLite database, relative to `state`."),
        key(
            "url",
            "a MySQL URL without a password, such as \"mysql://ccfirewall@10.0.0.5:3306/ccfirewall\"",
            "none: SQLite",
            "The MySQL or MariaDB database instead. It must be there; its tables are made, and those of an older \
             version are brought to what is needed, with their rows. Behind `?socket=` may stand the path of a \
             socket on this machine. MySQL 8 asks for TLS where its users log in as it does by default.",
        ),
        key("password_file", PATH, "none", "The file that holds the password for `url`, in one line."),
        key(
            "password_env",
            "the name of an environment variable",
            "none",
            "The variable that holds the password for `url`.",
        ),
        key(
            "tls",
            "`off`, `preferred`, `required` or `verified`",
            "\"preferred\", with `ca` \"verified\"",
            "How the connection to `url` is kept secret. `preferred` takes what the server has, `required` wants TLS \
             whoever the server is, `verified` wants a certificate with its name that `ca` or the system trusts.",
        ),
        key("ca", PATH, "none: the system's", "The certificates of authorities that are trusted, PEM."),
        key(
            "time_zone",
            "an IANA time zone such as \"Europe/Berlin\"",
            "none: the system's",
            "The zone of the times in the tables, in SQLite as in MySQL.",
        ),
    ],
};

pub(super) static ZOOKEEPER: Section = Section {
    name: "zookeeper",
    header: "[zookeeper]",
    meaning: "The ensemble in which the settings are (`<root>/config`), with their history, for all who read them. \
              Where there are none they are created at the start: from the file of `settings`, else from the \
              defaults. A change holds at once, one with errors changes nothing and raises an alarm. \
              `ccfirewall settings` reads and changes them.",
    keys: &[
        key(
            "servers",
            "servers such as \"10.0.0.1:2181,10.0.0.2:2181\"",
            "none: it must be given",
            "The servers of the ensemble, each with its port.",
        ),
        key(
            "root",
            "a path such as \"/ccfirewall\"",
            "\"/ccfirewall\"",
            "The node below which everything of ours is. It is created where it is missing.",
        ),
        key(
            "session_timeout",
            "a whole number of seconds from 1 to 120",
            "6",
            "How long a session outlives a silent client: so long others believe that this one is there. The \
             servers may grant another one.",
        ),
        key(
            "auth_file",
            PATH,
            "none",
            "A file with `user:password`. Nodes that are created with it can be read and changed by whoever has \
             the same one, and by nobody else.",
        ),
        key("ca", PATH, "none: no TLS", "Whose certificates are believed, PEM. With it TLS is spoken."),
        key(
            "cert",
            PATH,
            "none",
            "Our own certificate, PEM, where the servers ask for one. It goes with `key`.",
        ),
        key("key", PATH, "none", "The key of our own certificate, PEM."),
    ],
};

pub(super) static GEOIP: Section = Section {
    name: "geoip",
    header: "[geoip]",
    meaning: "Where addresses are.",
    keys: &[key(
        "database",
        "a path or a list of paths",
        "none: the built-in countries",
        "Databases in MaxMind's format (country, city, ASN). What the first doesn't know the next may.",
    )],
};

pub(super) static LIMITS: Section = Section {
    name: "limits",
    header: "[limits]",
    meaning: "What the program may use.",
    keys: &[
        key(
            "window_memory",
            "a size such as \"1G\", \"512M\" or 1048576",
            "\"1G\"",
            "How many bytes the windows of all clients may take. Past it, idle ones are forgotten.",
        ),
        key(
            "tasks",
            "a whole number from 1 to 256",
            "1",
            "How many tasks parse and how many count, each with a thread; 1 does all on one.",
        ),
    ],
};

pub(super) static PROTECT: Section = Section {
    name: "protect",
    header: "[protect]",
    meaning: "Addresses that are never banned because of what they are to this machine. They are looked for \
              every 5 seconds and add to `protected` of the settings. Loopback and the agents' addresses are \
              always among them.",
    keys: &[
        key(
            "ssh_peers",
            FLAG,
            "true",
            "Who is logged in by SSH (utmp, systemd-logind, the session that started the program), and \
             connections to the SSH port that are older than 150 seconds: by then sshd has cut those that \
             didn't log in.",
        ),
        key("gateway", FLAG, "true", "The default gateways."),
        key("resolvers", FLAG, "true", "The name servers."),
        key("own_addresses", FLAG, "true", "The machine's own addresses."),
    ],
};

pub(super) static KAFKA: Section = Section {
    name: "kafka",
    header: "[kafka]",
    meaning: "Where Kafka is, and how its topics are read.",
    keys: &[
        key(
            "brokers",
            "host:port, or a list of them",
            "none: it must be given",
            "Brokers to begin with; they tell of the others.",
        ),
        key(
            "group",
            "a name of 1 to 255 characters",
            "\"ccfirewall\"",
            "The consumer group. Workers of one group share the lines; two firewalls that should both see all of \
             them need two groups.",
        ),
        key(
            "session_timeout",
            "a whole number of seconds from 1 to 1800",
            "6",
            "A worker that isn't heard of for so long loses its partitions to others. The brokers' \
             `group.min.session.timeout.ms` (6 s by default) bounds it.",
        ),
        key(
            "keyed_by_client",
            FLAG,
            "false",
            "Whether shippers key the topic by client, so that all lines of a client are in one partition. Only then \
             may several workers run with `--role all`: each then does what the roles `match` and `analyse` do, and needs \
             what they need.",
        ),
        key(
            "hits_topic",
            TOPIC,
            "\"ccfirewall.hits\"",
            "Where match workers put what analysing workers count. Nothing else may write there.",
        ),
        key(
            "findings_topic",
            TOPIC,
            "\"ccfirewall.findings\"",
            "Where analysing workers put what they find. Nothing else may write there.",
        ),
        key(
            "key_bans_topic",
            TOPIC,
            "\"ccfirewall.key_bans\"",
            "Where analysing workers are told what became of bans. Nothing else may write there.",
        ),
        key(
            "properties",
            "a table of librdkafka's keys, each with a text, a number, or true or false",
            "none",
            "Keys of librdkafka, as they are: `security.protocol`, `sasl.*`, `ssl.*` and whatever else \
             [CONFIGURATION.md](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md) has. TLS and \
             SASL with PLAIN and SCRAM are built in, Kerberos isn't. Those on which \
             exact counts depend are refused. Secrets in it are printed nowhere; let only the program read the file.",
        ),
    ],
};

pub(super) static SECTIONS: [&Section; 14] = [
    &TOP,
    &SOURCE,
    &GENERATE,
    &KAFKA,
    &WORKER,
    &AGENT,
    &AGENTS,
    &REGISTERED_AGENTS,
    &HTTP,
    &STORE,
    &ZOOKEEPER,
    &GEOIP,
    &LIMITS,
    &PROTECT,
];

/// Every key as `section.key`, in the order of the page.
#[must_use]
pub fn key_paths() -> Vec<String> {
    let path = |section: &Section, key: &Key| match section.name {
        "" => key.name.to_owned(),
        name => format!("{name}.{}", key.name),
    };
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| path(section, key))).collect()
}

const HEAD: &str = "\
# Configuration

`ccfirewall run` reads `ccfirewall.toml`: where lines come from, where it keeps things, who holds the bans. The rules
are not in it: they are in the settings, JSON ([settings.md](settings.md)), which may change while the program runs.
This file is read at start.

The least that it needs is a source:

```toml
[[source]]
log = \"/var/log/nginx/access.log\"
```

A whole one with every key is [deploy/ccfirewall.toml](../deploy/ccfirewall.toml). Relative paths are relative to the
file's folder. Unknown keys are errors, and all errors are told at once, each with its place and what to write instead.

`ccfirewall run --log LOG` needs no file: one log in `combined`, everything else as by default. The state folder is
`/var/lib/ccfirewall` then where that can be written to, else `$XDG_STATE_HOME/ccfirewall` or
`~/.local/state/ccfirewall`.

This page is made from the program's own list of keys.
";

/// The reference page in Markdown: `docs/configuration.md`.
#[must_use]
pub fn reference_page() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let heading =
            if section.header.is_empty() { "Top level".to_owned() } else { format!("`{}`", section.header) };
        write!(page, "\n## {heading}\n\n{}\n", section.meaning).expect("a String takes everything");
        for Key { name, value, default, meaning } in section.keys {
            let default =
                if default.starts_with("none") { (*default).to_owned() } else { format!("`{default}`") };
            write!(page, "\n### `{name}`\n\n{meaning}\n\n- Value: {value}\n- Default: {default}\n")
                .expect("a String takes everything");
        }
    }
    page
}
