//! What `ccfirewall.toml` means, and what is said where it is wrong.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::line::LogFormat;
use proptest::prelude::*;
use topology::config::{
    AuthError, Config, ConfigError, Database, EnforcerChoice, Generate, Input, KafkaInput, MkeyError,
    MkeySource, Mysql, Protect, Shape, Start, ZooKeeperPlace, key_paths, reference_page,
};
use zk_config::Tls;

const SOURCE: &str = "[[source]]\nlog = \"a.log\"\n";

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/x")).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// Every error, in order.
fn check_errors(text: &str, expect: &[&str]) {
    let errors = match Config::parse(text, Path::new("/etc/x")) {
        Ok(config) => panic!("{text}\n{config:?}"),
        Err(errors) => errors,
    };
    let found: Vec<String> = errors.findings().iter().map(ToString::to_string).collect();
    assert_eq!(found, expect, "{text}");
}

/// `text` and a source after it.
fn check_error(text: &str, expect: &str) {
    check_errors(&format!("{text}\n{SOURCE}"), &[expect]);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn the_least_that_it_needs() {
    let config = parse(SOURCE);
    assert_eq!(config.state, Path::new("/var/lib/ccfirewall"));
    assert_eq!(config.settings, None);
    assert!(!config.dry_run);
    assert_eq!(config.sources.len(), 1);
    assert_eq!(config.sources[0].input, Input::Log { path: "/etc/x/a.log".into(), start: Start::End });
    assert_eq!(config.sources[0].format.to_string(), LogFormat::combined().to_string());
    let agent = config.agent.unwrap();
    assert_eq!((agent.enforcer, agent.listen.to_string()), (EnforcerChoice::Auto, "127.0.0.1:0".to_owned()));
    assert!(config.agents.is_empty() && config.geoip.is_empty());
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8480");
    assert_eq!(config.store.database.path(), Some(Path::new("/var/lib/ccfirewall/ccfirewall.db")));
    assert_eq!((config.limits.window_memory, config.limits.tasks), (1 << 30, 1));
    assert_eq!(config.protect, Protect::default());
}

#[test]
fn zookeeper() {
    let place = |text: &str| parse(&format!("[zookeeper]\n{text}{SOURCE}")).zookeeper.unwrap();
    assert_eq!(parse(SOURCE).zookeeper, None);
    assert_eq!(place("servers = 'a:1,[::1]:2'\n"), ZooKeeperPlace::new("a:1,[::1]:2".to_owned()));
    let whole = place(
        "servers = 'a:1'\nroot = '/site/a'\nsession_timeout = 10\nauth_file = 'auth'\nca = 'ca.pem'\n\
         cert = 'c.pem'\nkey = '/k.pem'\n",
    );
    assert_eq!((whole.root.as_str(), whole.session_timeout), ("/site/a", Duration::from_secs(10)));
    assert_eq!(whole.auth_file.as_deref(), Some(Path::new("/etc/x/auth")));
    let identity = Some(("/etc/x/c.pem".into(), "/k.pem".into()));
    assert_eq!(whole.tls, Some(Tls { ca: "/etc/x/ca.pem".into(), identity }));
    check_error(
        "[zookeeper]",
        "zookeeper (line 1): must have `servers`, such as \"10.0.0.1:2181,10.0.0.2:2181\"",
    );
    check_errors(
        &format!(
            "[zookeeper]\nservers = 'a'\nroot = 'x'\nsession_timeout = 0\ncert = 'c'\nauth_fil = 1\n{SOURCE}"
        ),
        &[
            "zookeeper.servers (line 2): must be servers such as \"10.0.0.1:2181,10.0.0.2:2181\", found \"a\"",
            "zookeeper.root (line 3): must be a path such as \"/ccfirewall\", found \"x\"",
            "zookeeper.session_timeout (line 4): must be a whole number of seconds from 1 to 120, found 0",
            "zookeeper.cert (line 5): goes with `key`; give both or none",
            "zookeeper.auth_fil (line 6): unknown key; did you mean `auth_file`?",
        ],
    );
    check_error(
        "[zookeeper]\nservers = 'a:1'\ncert = 'c'\nkey = 'k'",
        "zookeeper.cert (line 3): goes with `ca`, which says whose certificates are believed",
    );
}

#[test]
fn the_secret_for_zookeeper() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth");
    let mut place = ZooKeeperPlace::new("a:1".to_owned());
    assert_eq!(place.ensemble().unwrap().digest, None);
    place.auth_file = Some(path.clone());
    assert!(matches!(place.ensemble(), Err(AuthError::File { .. })));
    for (content, expect) in [
        (&b"ann:hush\n"[..], Some("ann:hush")),
        (b"ann:hush:hush\r\n", Some("ann:hush:hush")),
        (b"", None),
        (b":hush", None),
        (b"ann:", None),
        (b"ann\n:hush", None),
        (b"ann:hush\xff", None),
    ] {
        std::fs::write(&path, content).unwrap();
        match (place.ensemble(), expect) {
            (Ok(ensemble), Some(expect)) => {
                assert_eq!(ensemble.digest.as_deref(), Some(expect));
                assert!(!format!("{ensemble:?}{place:?}").contains("hush"));
            }
            (Err(error), None) => assert!(!error.to_string().contains("hush"), "{error}"),
            (found, _) => panic!("{content:?}: {found:?}"),
        }
    }
    std::fs::write(&path, format!("a:{}", "x".repeat(1024))).unwrap();
    assert!(matches!(place.ensemble(), Err(AuthError::Unfit(_))));
}

#[test]
fn every_key_is_taken_over() {
    let config = parse(
        "\u{feff}state = 's'\nsettings = '/rules.json'\ndry_run = false\n\
         [[source]]\nlog = 'a.log'\nformat = '$remote_addr [$time_local] \"$request\" $status'\nstart = 'beginning'\n\
         [[source]]\nstdin = true\nformat = 'json'\n\
         [agent]\nenabled = true\nenforcer = 'nftables'\nlisten = '[::1]:7'\n\
         [[agents]]\naddress = '10.0.0.2'\nmkey_file = 'key'\n\
         [[agents]]\naddress = '[2001:db8::2]:9'\nmkey_env = 'KEY'\n\
         [http]\nlisten = '0.0.0.0:80'\nallow_remote = true\n\
         [store]\ndatabase = 'x.db'\n[geoip]\ndatabase = ['a.mmdb', '/b.mmdb']\n\
         [limits]\nwindow_memory = 0x10_0000\ntasks = 4\n\
         [protect]\nssh_peers = false\ngateway = false\nresolvers = false\nown_addresses = false\n",
    );
    assert_eq!(config.state, Path::new("/etc/x/s"));
    assert_eq!(config.settings.as_deref(), Some(Path::new("/rules.json")));
    assert_eq!(config.sources[0].input, Input::Log { path: "/etc/x/a.log".into(), start: Start::Beginning });
    assert_ne!(config.sources[0].format.to_string(), LogFormat::combined().to_string());
    assert_eq!(config.sources[1].input, Input::Stdin);
    let agent = config.agent.unwrap();
    assert_eq!((agent.enforcer, agent.listen.to_string()), (EnforcerChoice::Nftables, "[::1]:7".to_owned()));
    let agents: Vec<_> = config.agents.iter().map(|a| (a.address.to_string(), a.mkey.clone())).collect();
    assert_eq!(
        agents,
        [
            ("10.0.0.2:9090".to_owned(), MkeySource::File("/etc/x/key".into())),
            ("[2001:db8::2]:9".to_owned(), MkeySource::Env("KEY".to_owned())),
        ]
    );
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.store.database.path(), Some(Path::new("/etc/x/s/x.db")));
    assert_eq!(config.geoip, [Path::new("/etc/x/a.mmdb"), Path::new("/b.mmdb")]);
    assert_eq!((config.limits.window_memory, config.limits.tasks), (1 << 20, 4));
    let none = Protect { ssh_peers: false, gateway: false, resolvers: false, own_addresses: false };
    assert_eq!(config.protect, none);
}

#[test]
fn who_holds_the_bans() {
    let remote = "[[agents]]\naddress = '10.0.0.2'\nmkey_env = 'KEY'\n";
    let here = |text: &str| parse(&format!("{text}{SOURCE}")).agent.map(|agent| agent.enforcer);
    assert_eq!(here(""), Some(EnforcerChoice::Auto));
    assert_eq!(here(remote), None);
    assert_eq!(here(&format!("{remote}[agent]\n")), Some(EnforcerChoice::Auto));
    assert_eq!(here(&format!("{remote}[agent]\nenabled = false\n")), None);
    assert_eq!(here("dry_run = true\n[agent]\nenforcer = 'nftables'\n"), Some(EnforcerChoice::DryRun));
    check_error(
        "[agent]\nenabled = false",
        "agent (line 1): there is no agent to hold the bans: leave `enabled` out, or name agents elsewhere \
         (`[[agents]]`)",
    );
}

#[test]
fn made_up_traffic_blocks_nobody() {
    let generate = "[[source]]\ngenerate = { attackers = 2 }\n";
    for harmless in ["dry_run = true\n", "[agent]\nenforcer = 'dry-run'\n"] {
        let made_up = Generate { rate: 1000, clients: 10_000, attackers: 2, seed: 1 };
        assert_eq!(parse(&format!("{harmless}{generate}")).sources[0].input, Input::Generate(made_up));
    }
    let refused = "the addresses of made-up traffic are real ones, and would really be blocked; write \
                   `dry_run = true` at the top of the file";
    check_errors(generate, &[&format!("source[0].generate (line 2): {refused}")]);
    let remote = "[[agents]]\naddress = '10.0.0.2'\nmkey_env = 'KEY'\n[agent]\nenforcer = 'dry-run'\n";
    check_errors(&format!("{remote}{generate}"), &[&format!("source[0].generate (line 7): {refused}")]);
    check_errors(
        "dry_run = true\n[[source]]\ngenerate = { clients = 0, attackers = 0, rate = 0, sed = 1 }\n",
        &[
            "source[0].generate (line 3): `clients` and `attackers` are both 0: nobody is left to make requests",
            "source[0].generate.rate (line 3): must be a whole number of lines a second from 1 to 10000000, found 0",
            "source[0].generate.sed (line 3): unknown key; did you mean `seed`?",
        ],
    );
}

#[test]
fn all_errors_at_once_in_the_order_of_the_text() {
    check_errors(
        "stat = '/x'\nsettings = 3\ndry_run = 'yes'\n\
         [[source]]\nlog = 'a.log'\nstdin = true\nstart = 'now'\n\
         [[source]]\nlog = '~/a.log'\nformat = 'combine'\n\
         [[source]]\n\
         [[source]]\nlog = 'b.log'\n\
         [[source]]\nlog = './b.log'\n\
         [[source]]\nstdin = true\nstart = 'end'\n\
         [agent]\nenforcer = 'pf'\nlisten = '0.0.0.0:1'\n\
         [[agents]]\nadress = '10.0.0.2'\nmkey_file = 'a'\nmkey_env = 'B'\n\
         [[agents]]\naddress = 'agent.example.com:9090'\nmkey_env = 'A=B'\n\
         [http]\nlisten = '0.0.0.0:8480'\n\
         [store]\ndatabase = ''\n\
         [geoip]\ndatabase = ['a.mmdb', 7]\n\
         [limits]\nwindow_memory = '1 TB'\ntasks = 0\n\
         [protect]\nssh_peer = true\ngateway = 1979-05-27\n\
         [quux]\n",
        &[
            "stat (line 1): unknown key; did you mean `state`?",
            "settings (line 2): must be a path, found 3",
            "dry_run (line 3): must be true or false, found \"yes\"",
            "source[0] (line 4): must have one of `log`, `stdin`, `generate` and `kafka`, found log and stdin",
            "source[0].start (line 7): must be `end` or `beginning`, found \"now\"",
            "source[1].log (line 9): `~` stands for nothing here; write the whole path",
            "source[1].format (line 10): `combine` is no known log format and has no $variables; write `combined`, \
             `json`, or paste the log_format of nginx.conf",
            "source[2] (line 11): must have one of `log`, `stdin`, `generate` and `kafka`, found none of them",
            "source[4].log (line 15): is source[3] already: its lines would count twice; leave one out",
            "source[5].start (line 18): goes with `log` and `kafka` only, and this source is `stdin`; leave it out",
            "agent.enforcer (line 20): must be `auto`, `nftables`, `ipset`, `iptables` or `dry-run`, found \"pf\"",
            "agent.listen (line 21): must be a loopback address with a port, such as 127.0.0.1:0, found \"0.0.0.0:1\"",
            "agents[0] (line 22): must have an `address`, such as \"10.0.0.2:9090\"",
            "agents[0] (line 22): must have one of `mkey_file` and `mkey_env`, found both",
            "agents[0].adress (line 23): unknown key; did you mean `address`?",
            "agents[1].address (line 27): must be an address with a port, such as 10.0.0.2:9090 or \
             [2001:db8::2]:9090, found \"agent.example.com:9090\"",
            "agents[1].mkey_env (line 28): must be the name of an environment variable, found \"A=B\"",
            "http.listen (line 30): 0.0.0.0 is no loopback address, and the pages ask for no password; write \
             127.0.0.1:8480, or `allow_remote = true` where a firewall lets only those in who should",
            "store.database (line 32): must be a path, found \"\"",
            "geoip.database[1] (line 34): must be a path or a list of paths, found 7",
            "limits.window_memory (line 36): must be a size such as \"1G\", \"512M\" or 1048576, found \"1 TB\"",
            "limits.tasks (line 37): must be a whole number from 1 to 256, found 0",
            "protect.ssh_peer (line 39): unknown key; did you mean `ssh_peers`?",
            "protect.gateway (line 40): must be true or false, found a date or time",
            "quux (line 41): unknown key; docs/configuration.md has them all. Here there are state, \
             settings, dry_run, [[source]], [kafka], [agent], [[agents]], [registered_agents], [worker], [http], \
             [store], [zookeeper], [geoip], [limits], [protect]",
        ],
    );
}

#[test]
fn tables_that_are_written_another_way() {
    check_errors("[source]\nlog = 'a'\n", &["source (line 1): must be written `[[source]]`, found a table"]);
    check_errors("source = ['a']\n", &["source[0] (line 1): must be a table, `[[source]]`, found \"a\""]);
    check_errors(
        "[[sources]]\nlog = 'a'\n",
        &[
            "source (line 1): no source of lines; write\n  [[source]]\n  log = \"/var/log/nginx/access.log\"",
            "sources (line 1): unknown key; did you mean `[[source]]`?",
        ],
    );
    check_error("[[agent]]\nenabled = true", "agent (line 1): must be one table, `[agent]`, found a list");
    check_error("http = 8480", "http (line 1): must be one table, `[http]`, found 8480");
}

#[test]
fn kafka() {
    let config = parse(
        "[[source]]\nkafka = 'access-log'\nstart = 'beginning'\nenvelope = 'json'\nmessage_key = ['a', 'b.c']\n\
         [kafka]\nbrokers = ['a:9092', '[2001:db8::1]:9093, c:1']\ngroup = 'edge'\nsession_timeout = 10\n\
         keyed_by_client = true\nhits_topic = 'h'\nfindings_topic = 'f'\nkey_bans_topic = 'k'\n\
         [kafka.properties]\nsecurity.protocol = 'sasl_ssl'\n\"sasl.mechanism\" = 'SCRAM-SHA-512'\nsasl.password = 'hush'\n\
         fetch.wait.max.ms = 50\nsocket.keepalive.enable = true\n",
    );
    let input = Input::Kafka(KafkaInput {
        topic: "access-log".to_owned(),
        start: Start::Beginning,
        envelope: Shape::Json,
        message_keys: vec!["a".to_owned(), "b.c".to_owned()],
    });
    assert_eq!(config.sources[0].input, input);
    let kafka = config.kafka.unwrap();
    assert_eq!(kafka.client.brokers, "a:9092,[2001:db8::1]:9093,c:1");
    assert_eq!(
        (kafka.group.as_str(), kafka.client.session_timeout.as_secs(), kafka.keyed_by_client),
        ("edge", 10, true)
    );
    let topics = [&kafka.hits_topic, &kafka.findings_topic, &kafka.key_bans_topic];
    assert_eq!(topics, ["h", "f", "k"]);
    let properties: Vec<(&str, &str)> = kafka.client.properties.iter().map(|(k, v)| (&**k, &**v)).collect();
    let expect = [
        ("fetch.wait.max.ms", "50"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.password", "hush"),
        ("security.protocol", "sasl_ssl"),
        ("socket.keepalive.enable", "true"),
    ];
    assert_eq!(properties, expect);

    let config = parse("[[source]]\nkafka = 'access-log'\n[kafka]\nbrokers = 'k:9092'\n");
    let Input::Kafka(input) = &config.sources[0].input else { panic!("{config:?}") };
    assert_eq!((input.start, input.envelope, input.message_keys.len()), (Start::End, Shape::Auto, 3));
    let kafka = config.kafka.unwrap();
    assert_eq!(
        (kafka.group.as_str(), kafka.client.session_timeout.as_secs(), kafka.keyed_by_client),
        ("ccfirewall", 6, false)
    );
    assert_eq!(kafka.hits_topic, "ccfirewall.hits");
}

#[test]
fn what_is_wrong_with_kafka() {
    check_errors(
        "[[source]]\nkafka = 'a'\n",
        &["kafka (line 1): a source reads a topic, so say where Kafka is: `brokers = \"host:9092\"`"],
    );
    check_errors(
        "[[source]]\nkafka = 'a b'\n[[source]]\nlog = 'a'\nenvelope = 'none'\n[kafka]\ngroup = ''\nsession_timeout = 0\n",
        &[
            "source[0].kafka (line 2): must be a topic's name: 1 to 249 letters, digits, `.`, `_` and `-`, found \"a b\"",
            "source[1].envelope (line 5): goes with `kafka` only, and this source is `log`; leave it out",
            "kafka (line 6): must have `brokers`, such as \"kafka1:9092\"",
            "kafka.group (line 7): must be a name of 1 to 255 characters, found \"\"",
            "kafka.session_timeout (line 8): must be a whole number of seconds from 1 to 1800, found 0",
        ],
    );
    check_errors(
        "[[source]]\nkafka = 'a'\n[[source]]\nkafka = 'b'\nmessage_key = 7\n\
         [kafka]\nbrokers = ['k', 'k:9092', 'k:0']\nhits_topic = 'a'\nfindings_topic = 'ccfirewall.key_bans'\n\
         [kafka.properties]\ngroup.id = 'x'\nsasl.pasword = 'hush'\nfetch.wait.max.ms = 'hush'\nx = []\n",
        &[
            "source[1].kafka (line 4): source[0] is a topic already, and there is one at most",
            "source[1].message_key (line 5): must be a key or a list of keys, found 7",
            "kafka (line 6): `key_bans_topic` is the topic of findings_topic already; name another",
            "kafka.brokers[0] (line 7): must be host:port, or a list of them, found \"k\"",
            "kafka.brokers[2] (line 7): must be host:port, or a list of them, found \"k:0\"",
            "kafka.hits_topic (line 8): is the topic of the source already",
            "kafka.properties.group.id (line 11): can't be set here: it is `group` in `[kafka]`; leave it out",
            "kafka.properties.sasl.pasword (line 12): is no key of librdkafka that this program was built with; \
             https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md has them all",
            "kafka.properties.fetch.wait.max.ms (line 13): has a value that librdkafka doesn't take for this key",
            "kafka.properties.x (line 14): must be a text, a number, or true or false",
        ],
    );
}

#[test]
fn what_comes_twice() {
    check_error(
        "[[agents]]\naddress = '10.0.0.2'\nmkey_env = 'A'\n[[agents]]\naddress = '10.0.0.2:9090'\nmkey_env = 'A'",
        "agents[1].address (line 5): is agents[0] already; leave one out",
    );
    check_error(
        "[[source]]\nlog = '/etc/x/a.log'",
        "source[1].log (line 4): is source[0] already: its lines would count twice; leave one out",
    );
}

#[test]
fn what_is_no_toml_has_its_line() {
    let check = |text: &str, expect: &[&str]| {
        let errors = Config::parse(text, Path::new("/")).unwrap_err();
        let found: Vec<String> = errors.findings().iter().map(ToString::to_string).collect();
        assert!(
            found.len() == expect.len() && found.iter().zip(expect).all(|(f, e)| f.starts_with(e)),
            "{found:#?}"
        );
    };
    check("[[source]]\nlog = a.log\ndry_run = yes\n", &["line 2: not TOML: ", "line 3: not TOML: "]);
    check("[[source]]\nlog = 'a'\nlog = 'b'\n", &["line 3: not TOML: duplicate key"]);
    check("[http\n", &["line 1: not TOML: "]);
    check("\0", &["line 1: not TOML: ", "line 1: not TOML: "]);
}

#[test]
fn a_hostile_file_ends_in_errors() {
    for text in ["[".repeat(1 << 20), "a.".repeat(1 << 19), "a = [".repeat(200_000), "x = {".repeat(200_000)]
    {
        assert!(Config::parse(&text, Path::new("/")).is_err());
    }
    let many: String = (0..50_000).map(|n| format!("source{n} = 1\n")).collect();
    assert_eq!(Config::parse(&many, Path::new("/")).unwrap_err().findings().len(), 100);
    let escaped =
        Config::parse("settings = 3\n\"\\u001b[2J\" = 1\n", Path::new("/")).unwrap_err().to_string();
    assert!(!escaped.contains('\u{1b}') && escaped.contains("\\u{1b}[2J"), "{escaped}");
}

#[test]
fn a_file_is_read_with_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    assert!(matches!(Config::load(&path), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&path, SOURCE).unwrap();
    let config = Config::load(&path).unwrap();
    let log = folder.path().join("a.log");
    assert_eq!(config.sources[0].input, Input::Log { path: log, start: Start::End });
    std::fs::write(&path, "a = 1\nb = 2").unwrap();
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}: 3 errors\n", path.display())), "{message}");
    std::fs::write(&path, b"\xff").unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("UTF-8"));
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("longer than 1 MiB"));
}

#[test]
fn without_a_file() {
    let config = Config::for_log(Path::new("a.log"), false, "/s".into());
    assert_eq!(config.sources[0].input, Input::Log { path: "a.log".into(), start: Start::End });
    assert_eq!(config.store.database.path(), Some(Path::new("/s/ccfirewall.db")));
    assert_eq!(config.agent.unwrap().enforcer, EnforcerChoice::Auto);
    let config = Config::for_log(Path::new("-"), true, "/s".into());
    assert_eq!(config.sources[0].input, Input::Stdin);
    assert_eq!(config.agent.unwrap().enforcer, EnforcerChoice::DryRun);
}

#[test]
fn secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mkey");
    let source = MkeySource::File(path.clone());
    assert!(matches!(source.read(), Err(MkeyError::File { .. })));
    for (content, expect) in [
        (&b"secret\n"[..], Some("secret")),
        (b" se cret \r\n\n", Some(" se cret ")),
        (b"", None),
        (b"\n", None),
        (b"se\ncret\n", None),
        (b"se\0cret", None),
        (b"\xff\xfe", None),
    ] {
        std::fs::write(&path, content).unwrap();
        match (source.read(), expect) {
            (Ok(found), Some(expect)) => assert_eq!(found, expect),
            (Err(error), None) => assert!(!error.to_string().contains("cret"), "{error}"),
            (found, _) => panic!("{content:?}: {found:?}"),
        }
    }
    std::fs::write(&path, "x".repeat(1025)).unwrap();
    assert!(source.read().is_err());
    assert!(matches!(MkeySource::Env("CCFIREWALL_NO_SUCH".to_owned()).read(), Err(MkeyError::Unset { .. })));
    assert_eq!(MkeySource::Env("CARGO_PKG_NAME".to_owned()).read().unwrap(), "topology");
}

#[test]
fn a_mysql_database() {
    let parse = |store: &str| {
        Config::parse(&format!("[[source]]\nstdin = true\n[store]\n{store}"), Path::new("/etc/x"))
    };
    let config =
        parse("url = 'mysql://u@h/d'\npassword_file = 'p'\nca = 'ca.pem'\ntime_zone = 'UTC'").unwrap();
    let expect = Mysql {
        url: "mysql://u@h/d".to_owned(),
        password: Some(MkeySource::File("/etc/x/p".into())),
        tls: topology::config::Tls::Verified,
        ca: Some("/etc/x/ca.pem".into()),
    };
    assert_eq!(
        (config.store.database, config.store.time_zone.as_deref()),
        (Database::Mysql(expect), Some("UTC"))
    );
    for (store, expect) in [
        ("url = 'mysql://u:s3cret@h/d'", "must not have a password in it"),
        ("url = 'postgres://h/d'", "must be a MySQL URL"),
        ("url = 'mysql://u@h/d'\ndatabase = 'x'", "must have one of `database` and `url`, found both"),
        (
            "url = 'mysql://u@h/d'\npassword_file = 'x'\npassword_env = 'X'",
            "must have one of `password_file`",
        ),
        ("tls = 'off'", "there is no `url`"),
        ("url = 'mysql://u@h/d'\ntls = 'maybe'", "must be `off`"),
    ] {
        let errors = parse(store).unwrap_err().to_string();
        assert!(errors.contains(expect) && !errors.contains("s3cret"), "{store}: {errors}");
    }
}

/// Each listed key is read: a value that none accepts is complained about at its place.
#[test]
fn every_listed_key_is_read() {
    for key in key_paths() {
        let text = match key.rsplit_once('.') {
            None => format!("{key} = 1979-05-27\n{SOURCE}"),
            Some(("source", key)) => format!("[[source]]\n{key} = 1979-05-27\n"),
            Some(("source.generate", key)) => {
                format!("dry_run = true\n[[source]]\ngenerate = {{ {key} = 1979-05-27 }}\n")
            }
            Some(("kafka", key)) => format!("[kafka]\nbrokers = 'k:9092'\n{key} = 1979-05-27\n{SOURCE}")
                .replacen("brokers = 'k:9092'\nbrokers", "brokers", 1),
            Some(("agents", key)) => format!("[[agents]]\n{key} = 1979-05-27\n{SOURCE}"),
            Some((table, key)) => format!("[{table}]\n{key} = 1979-05-27\n{SOURCE}"),
        };
        let errors = Config::parse(&text, Path::new("/")).unwrap_err().to_string();
        let name = key.rsplit('.').next().unwrap();
        let complained = errors.lines().any(|line| {
            let (path, message) = line.split_once(": ").unwrap_or_default();
            path.contains(name) && message.starts_with("must be") && message.ends_with("found a date or time")
        });
        assert!(complained, "{key}\n{errors}");
    }
}

#[test]
fn the_page_is_current() {
    let path = root().join("docs/configuration.md");
    let page = reference_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/configuration.md is stale; renew it with: UPDATE_DOCS=1 cargo test -p topology --test config"
    );
    for key in key_paths() {
        let name = key.rsplit('.').next().unwrap();
        assert!(page.contains(&format!("### `{name}`\n")), "{key}");
    }
}

#[test]
fn the_shipped_file_is_in_order_and_whole() {
    let text = std::fs::read_to_string(root().join("deploy/ccfirewall.toml")).unwrap();
    Config::parse(&text, Path::new("/etc/ccfirewall")).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    // Some keys exclude one another; that is all that may be wrong with all of them together.
    let errors = Config::parse(&uncommented, Path::new("/etc/ccfirewall")).unwrap_err();
    for finding in errors.findings() {
        let excluded = ["must have one of", "the addresses of made-up traffic"];
        assert!(excluded.iter().any(|text| finding.message.starts_with(text)), "{finding}");
    }
    let table: toml::Table = uncommented.parse().unwrap();
    for key in key_paths() {
        let steps = key.split('.').try_fold(toml::Value::Table(table.clone()), |value, step| {
            let value = value.get(step)?;
            Some(value.as_array().filter(|_| step != "database").map_or(value, |list| &list[0]).clone())
        });
        assert!(steps.is_some(), "{key} is not in deploy/ccfirewall.toml");
    }
}

fn piece() -> impl Strategy<Value = String> {
    let keys = key_paths();
    let names = prop::sample::select(keys).prop_map(|key| key.rsplit('.').next().unwrap().to_owned());
    let value = prop_oneof![
        Just("true".to_owned()),
        Just("1".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("nan".to_owned()),
        Just("'127.0.0.1:1'".to_owned()),
        Just("'combined'".to_owned()),
        Just("'ä'".to_owned()),
        Just("{ rate = 1 }".to_owned()),
        Just("[1, 'a', []]".to_owned()),
        "\"[ -~]{0,8}\"",
    ];
    prop_oneof![
        4 => (names, value).prop_map(|(name, value)| format!("{name} = {value}\n")),
        2 => prop::sample::select(vec![
            "[[source]]\n", "[agent]\n", "[[agents]]\n", "[http]\n", "[store]\n", "[geoip]\n", "[limits]\n",
            "[protect]\n", "[zookeeper]\n", "[kafka]\n", "[kafka.properties]\n", "brokers = 'k:1'\n", "[source]\n", "source.generate.rate = 1\n", "[[agent]]\n",
        ])
        .prop_map(str::to_owned),
        1 => "\\PC{0,12}\n",
    ]
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Config::parse(&text, Path::new("/"));
    }

    #[test]
    fn no_toml_panics_and_what_is_accepted_is_in_order(pieces in prop::collection::vec(piece(), 0..12)) {
        let text = pieces.concat();
        match Config::parse(&text, Path::new("/etc/x")) {
            Err(errors) => prop_assert!(!errors.findings().is_empty()),
            Ok(config) => {
                prop_assert!(!config.sources.is_empty());
                prop_assert!(config.agent.is_some() || !config.agents.is_empty());
                prop_assert!(config.state.is_absolute() && config.store.database.path().is_none_or(Path::is_absolute));
                prop_assert!(config.limits.window_memory > 0 && config.limits.tasks > 0);
            }
        }
    }
}
