//! From TOML to a [`Config`], or to everything that is wrong.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ccfirewall_thrift::tls::TlsFiles;
use model::line::LogFormat;
use toml::de::DeTable;

use super::keys::{
    AGENT, AGENTS, GENERATE, GEOIP, HTTP, KAFKA, LIMITS, PROTECT, REGISTERED_AGENTS, SOURCE, STORE, TOP,
    WORKER, ZOOKEEPER,
};
use super::reader::{Given, Reader, Table};
use super::value::parse_address;
use super::{
    Config, ConfigErrors, Database, EnforcerChoice, Generate, Http, Input, Limits, LocalAgent, MkeySource,
    Mysql, Protect, RegisteredAgents, RemoteAgent, RemoteTls, Role, Source, Start, Store, Tls, Worker,
    ZooKeeperPlace, kafka,
};

/// Reads a whole file; relative paths are relative to `folder`.
pub(super) fn read(text: &str, folder: &Path) -> Result<Config, ConfigErrors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What could be made of the rest is guesswork, and complaints about it would mislead.
        reader.not_toml(errors);
        return reader.finish(None);
    }
    let sections = [
        &SOURCE,
        &KAFKA,
        &AGENT,
        &AGENTS,
        &REGISTERED_AGENTS,
        &WORKER,
        &HTTP,
        &STORE,
        &ZOOKEEPER,
        &GEOIP,
        &LIMITS,
        &PROTECT,
    ];
    let top = reader.top(&TOP, document.get_ref(), &sections);
    let mut reading = Reading { reader, folder };
    let config = reading.config(&top);
    reading.reader.finish(config)
}

struct Reading<'t, 'f> {
    reader: Reader<'t>,
    folder: &'f Path,
}

impl<'t> Reading<'t, '_> {
    /// Everything is read before anything is given up, so that all errors are found.
    fn config(&mut self, top: &Table<'t>) -> Option<Config> {
        let folder = self.folder;
        let state = self.path(top, "state", folder);
        let state = state.unwrap_or_else(|| Config::STATE.into());
        let settings = self.path(top, "settings", folder);
        let dry_run = self.flag(top, "dry_run", false);
        let agent_table = self.reader.table(top, &AGENT);
        let agent = self.agent(&agent_table, dry_run);
        let registered_agents = self.registered_agents(top);
        let worker = self.worker(top);
        let agents_given = top.has(AGENTS.name) || top.has(REGISTERED_AGENTS.name);
        let agents = self.agents(top);
        let agent = match agent {
            // With agents elsewhere there is one here only where it is asked for.
            Some(_) if agents_given && !agent_table.is_given() => None,
            agent => agent,
        };
        if agent.is_none() && !agents_given {
            let message = "there is no agent to hold the bans: leave `enabled` out, or name agents elsewhere \
                           (`[[agents]]`)";
            self.reader.reject_table(&agent_table, message);
        }
        let harmless =
            dry_run || !agents_given && agent.as_ref().is_none_or(|a| a.enforcer == EnforcerChoice::DryRun);
        let sources = self.sources(top, harmless);
        let kafka = kafka::kafka(&mut self.reader, top, &sources);
        let http = self.http(top);
        let store = self.store(top, &state);
        let zookeeper = self.zookeeper(top);
        let geoip = self.geoip(top);
        let limits = self.limits(top);
        let protect = self.protect(top);
        Some(Config {
            store,
            state,
            settings,
            dry_run,
            sources,
            kafka,
            agent,
            agents,
            registered_agents,
            worker,
            http,
            zookeeper,
            geoip,
            limits,
            protect,
        })
    }

    fn sources(&mut self, top: &Table<'t>, harmless: bool) -> Vec<Source> {
        let tables = self.reader.tables(top, &SOURCE);
        if tables.is_empty() && !top.has(SOURCE.name) {
            let message = "no source of lines; write\n  [[source]]\n  log = \"/var/log/nginx/access.log\"";
            self.reader.add(0, SOURCE.name, message);
        }
        let mut seen = HashMap::new();
        let mut sources = Vec::with_capacity(tables.len());
        for (index, table) in tables.iter().enumerate() {
            let format = self.format(table);
            let Some((input, at)) = self.input(table, harmless) else { continue };
            // One line must not count twice. All generators make the same addresses.
            let name = match &input {
                Input::Log { path, .. } => Some(path.clone()),
                Input::Stdin => Some("-".into()),
                Input::Generate(_) => None,
                Input::Kafka(_) => Some("kafka:".into()),
            };
            if let Some(first) = name.and_then(|name| seen.insert(name, index)) {
                let message = match input {
                    Input::Kafka(_) => {
                        format!("source[{first}] is a topic already, and there is one at most")
                    }
                    _ => format!("is source[{first}] already: its lines would count twice; leave one out"),
                };
                self.reader.reject(&at, message);
            }
            sources.push(Source { input, format });
        }
        sources
    }

    fn format(&mut self, table: &Table<'t>) -> LogFormat {
        let Some(given) = table.get("format") else { return LogFormat::combined() };
        let Some(text) = self.reader.text(&given) else { return LogFormat::combined() };
        text.parse().unwrap_or_else(|error| {
            self.reader.reject(&given, format!("{error}"));
            LogFormat::combined()
        })
    }

    fn input(&mut self, table: &Table<'t>, harmless: bool) -> Option<(Input, Given<'t>)> {
        let start = table.get("start");
        let at = start.as_ref().and_then(|given| {
            self.reader.parsed(given, |text| match text {
                "end" => Some(Start::End),
                "beginning" => Some(Start::Beginning),
                _ => None,
            })
        });
        let kafka = kafka::given(&mut self.reader, table);
        let mut inputs = table.given(&["log", "stdin", "generate", "kafka"]);
        // Both are looked at, so that a wrong value shows, too.
        let mut read = Vec::with_capacity(inputs.len());
        inputs.retain(|given| given.key.name != "stdin" || !given.is_off());
        for given in inputs {
            let input = match given.key.name {
                "log" => self
                    .path_of(&given, self.folder)
                    .map(|path| Input::Log { path, start: at.unwrap_or_default() }),
                "stdin" => self.reader.flag(&given).map(|_| Input::Stdin),
                "kafka" => kafka::topic(&mut self.reader, &given)
                    .map(|topic| Input::Kafka(kafka.input(topic, at.unwrap_or_default()))),
                _ => self.generate(&given, harmless).map(Input::Generate),
            };
            read.push((input, given));
        }
        if read.len() != 1 {
            let names: Vec<&str> = read.iter().map(|(_, given)| given.key.name).collect();
            let found = if names.is_empty() { "none of them".to_owned() } else { names.join(" and ") };
            let message = format!("must have one of `log`, `stdin`, `generate` and `kafka`, found {found}");
            self.reader.reject_table(table, message);
            return None;
        }
        let (input, given) = read.pop()?;
        let name = given.key.name;
        if let (Some(start), false) = (start, ["log", "kafka"].contains(&name)) {
            let message =
                format!("goes with `log` and `kafka` only, and this source is `{name}`; leave it out");
            self.reader.reject(&start, message);
        }
        if name != "kafka" {
            for given in table.given(&["envelope", "message_key"]) {
                let message = format!("goes with `kafka` only, and this source is `{name}`; leave it out");
                self.reader.reject(&given, message);
            }
        }
        Some((input?, given))
    }

    fn generate(&mut self, given: &Given<'t>, harmless: bool) -> Option<Generate> {
        if !harmless {
            let message = "the addresses of made-up traffic are real ones, and would really be blocked; write \
                           `dry_run = true` at the top of the file";
            self.reader.reject(given, message);
        }
        let table = self.reader.inline(given, &GENERATE)?;
        let u32s = 0..=u64::from(u32::MAX);
        let mut whole = |name, range, default: u32| {
            let given = table.get(name).and_then(|given| self.reader.whole(&given, range));
            given.map_or(default, |number| u32::try_from(number).expect("its range says so"))
        };
        let rate = whole("rate", 1..=10_000_000, 1000);
        let clients = whole("clients", u32s.clone(), 10_000);
        let attackers = whole("attackers", u32s, 5);
        let seed = table.get("seed").and_then(|given| self.reader.whole(&given, 0..=i64::MAX as u64));
        if clients == 0 && attackers == 0 {
            self.reader
                .reject(given, "`clients` and `attackers` are both 0: nobody is left to make requests");
        }
        Some(Generate { rate, clients, attackers, seed: seed.unwrap_or(1) })
    }

    fn agent(&mut self, table: &Table<'t>, dry_run: bool) -> Option<LocalAgent> {
        let default = LocalAgent::default();
        let enabled = self.flag(table, "enabled", true);
        let enforcer = table.get("enforcer").and_then(|given| {
            self.reader.parsed(&given, |text| match text {
                "auto" => Some(EnforcerChoice::Auto),
                "nftables" => Some(EnforcerChoice::Nftables),
                "ipset" => Some(EnforcerChoice::Ipset),
                "iptables" => Some(EnforcerChoice::Iptables),
                "dry-run" | "dry_run" => Some(EnforcerChoice::DryRun),
                _ => None,
            })
        });
        let listen = table.get("listen").and_then(|given| {
            let loopback = |address: &SocketAddr| address.ip().is_loopback();
            self.reader.parsed(&given, |text| parse_address(text, None).filter(loopback))
        });
        let enforcer = if dry_run { EnforcerChoice::DryRun } else { enforcer.unwrap_or(default.enforcer) };
        enabled.then_some(LocalAgent { enforcer, listen: listen.unwrap_or(default.listen) })
    }

    fn agents(&mut self, top: &Table<'t>) -> Vec<RemoteAgent> {
        let tables = self.reader.tables(top, &AGENTS);
        let mut seen = HashMap::new();
        let mut agents = Vec::with_capacity(tables.len());
        for (index, table) in tables.iter().enumerate() {
            let address = self.agent_address(table);
            let mkey = self.mkey(table);
            let tls = self.tls(table);
            if let (Some(address), Some(given)) = (address, table.get("address"))
                && let Some(first) = seen.insert(address, index)
            {
                self.reader.reject(&given, format!("is agents[{first}] already; leave one out"));
            }
            if let (Some(address), Some(mkey)) = (address, mkey) {
                agents.push(RemoteAgent { address, mkey, tls });
            }
        }
        agents
    }

    fn agent_address(&mut self, table: &Table<'t>) -> Option<SocketAddr> {
        let Some(given) = table.get("address") else {
            self.reader.reject_table(table, "must have an `address`, such as \"10.0.0.2:9090\"");
            return None;
        };
        let reachable = |address: &SocketAddr| address.port() != 0 && !address.ip().is_unspecified();
        self.reader.parsed(&given, |text| parse_address(text, Some(RemoteAgent::PORT)).filter(reachable))
    }

    fn tls(&mut self, table: &Table<'t>) -> Option<RemoteTls> {
        let [ca, cert, key] =
            ["tls_ca", "tls_cert", "tls_key"].map(|name| self.path(table, name, self.folder));
        let is_name = |text: &str| ccfirewall_thrift::tls::is_name(text).then(|| text.to_owned());
        let name = table.get("tls_name").and_then(|given| self.reader.parsed(&given, is_name));
        let lacks = |name: &str| !table.has(name);
        for given in table.given(&["tls_cert", "tls_key", "tls_name"]) {
            if lacks("tls_ca") {
                self.reader.reject(&given, "goes with `tls_ca` only, which says to speak TLS");
            }
        }
        for (one, other) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
            if let (Some(given), true) = (table.get(one), lacks(other)) {
                self.reader.reject(&given, format!("goes with `{other}` only"));
            }
        }
        ca.map(|ca| RemoteTls { files: TlsFiles { cert, key, ca: Some(ca) }, name })
    }

    fn mkey(&mut self, table: &Table<'t>) -> Option<MkeySource> {
        let mut read = self.secrets(table, "mkey_file", "mkey_env");
        if read.len() != 1 {
            let found = if read.is_empty() { "neither" } else { "both" };
            let message = format!("must have one of `mkey_file` and `mkey_env`, found {found}");
            self.reader.reject_table(table, message);
            return None;
        }
        read.pop()?
    }

    /// Where a secret is, as many times as it's given.
    fn secrets(&mut self, table: &Table<'t>, file: &str, env: &str) -> Vec<Option<MkeySource>> {
        let variable = |name: &str| {
            let fits = !name.is_empty() && !name.contains(['=', '\0', ' ']);
            fits.then(|| MkeySource::Env(name.to_owned()))
        };
        let given = table.given(&[file, env]);
        let read = given.iter().map(|given| {
            if given.key.name == file {
                self.path_of(given, self.folder).map(MkeySource::File)
            } else {
                self.reader.parsed(given, variable)
            }
        });
        read.collect()
    }

    fn http(&mut self, top: &Table<'t>) -> Http {
        let table = self.reader.table(top, &HTTP);
        let allow_remote = self.flag(&table, "allow_remote", false);
        let Some(given) = table.get("listen") else { return Http::default() };
        let listen = self.reader.parsed(&given, |text| parse_address(text, None));
        let Some(listen) = listen else { return Http::default() };
        if !listen.ip().is_loopback() && !allow_remote {
            let message = format!(
                "{} is no loopback address, and the pages ask for no password; write 127.0.0.1:{}, or \
                 `allow_remote = true` where a firewall lets only those in who should",
                listen.ip(),
                listen.port()
            );
            self.reader.reject(&given, message);
        }
        Http { listen }
    }

    fn store(&mut self, top: &Table<'t>, state: &Path) -> Store {
        let table = self.reader.table(top, &STORE);
        let path = self.path(&table, "database", state);
        let time_zone = table.get("time_zone").and_then(|given| {
            // Whether this machine knows it shows at the start.
            let named = |zone: &str| {
                let fits = !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_graphic());
                fits.then(|| zone.to_owned())
            };
            self.reader.parsed(&given, named)
        });
        let ca = self.path(&table, "ca", self.folder);
        let tls = table.get("tls").and_then(|given| {
            self.reader.parsed(&given, |text| match text {
                "off" => Some(Tls::Off),
                "preferred" => Some(Tls::Preferred),
                "required" => Some(Tls::Required),
                "verified" => Some(Tls::Verified),
                _ => None,
            })
        });
        let mut passwords = self.secrets(&table, "password_file", "password_env");
        if passwords.len() > 1 {
            self.reader
                .reject_table(&table, "must have one of `password_file` and `password_env`, found both");
        }
        let Some(given) = table.get("url") else {
            for given in table.given(&["password_file", "password_env", "tls", "ca"]) {
                self.reader.reject(&given, "is for a MySQL database, and there is no `url`");
            }
            let database = Database::Sqlite(path.unwrap_or_else(|| state.join(Store::DATABASE)));
            return Store { database, time_zone };
        };
        if table.has("database") {
            self.reader.reject_table(&table, "must have one of `database` and `url`, found both");
        }
        let url = self.reader.text(&given).unwrap_or_default();
        if let Some(fault) = super::store::fault(url) {
            self.reader.reject(&given, fault);
        }
        let tls = tls.unwrap_or(if ca.is_some() { Tls::Verified } else { Tls::Preferred });
        let server = Mysql { url: url.to_owned(), password: passwords.pop().flatten(), tls, ca };
        Store { database: Database::Mysql(server), time_zone }
    }

    fn zookeeper(&mut self, top: &Table<'t>) -> Option<ZooKeeperPlace> {
        let table = self.reader.table(top, &ZOOKEEPER);
        let servers = table.get("servers");
        if servers.is_none() && table.is_given() {
            self.reader.reject_table(&table, "must have `servers`, such as \"10.0.0.1:2181,10.0.0.2:2181\"");
        }
        let servers = servers.and_then(|given| self.reader.parsed(&given, ZooKeeperPlace::read_servers));
        let root = table.get("root").and_then(|given| self.reader.parsed(&given, ZooKeeperPlace::read_root));
        let seconds = table.get("session_timeout").and_then(|given| self.reader.whole(&given, 1..=120));
        let auth_file = self.path(&table, "auth_file", self.folder);
        let ca = self.path(&table, "ca", self.folder);
        let (cert, key) = (self.path(&table, "cert", self.folder), self.path(&table, "key", self.folder));
        let (cert_given, key_given) = (table.get("cert"), table.get("key"));
        match (&cert_given, &key_given) {
            (Some(given), None) => self.reader.reject(given, "goes with `key`; give both or none"),
            (None, Some(given)) => self.reader.reject(given, "goes with `cert`; give both or none"),
            (Some(given), Some(_)) if !table.has("ca") => {
                self.reader.reject(given, "goes with `ca`, which says whose certificates are believed");
            }
            _ => {}
        }
        let mut place = ZooKeeperPlace::new(servers?);
        place.root = root.unwrap_or(place.root);
        place.session_timeout = seconds.map_or(place.session_timeout, Duration::from_secs);
        place.auth_file = auth_file;
        place.tls = ca.map(|ca| zk_config::Tls { ca, identity: cert.zip(key) });
        Some(place)
    }

    fn registered_agents(&mut self, top: &Table<'t>) -> Option<RegisteredAgents> {
        let table = self.reader.table(top, &REGISTERED_AGENTS);
        if !table.is_given() {
            return None;
        }
        let tls = self.tls(&table);
        Some(RegisteredAgents { mkey: self.mkey(&table)?, tls })
    }

    fn worker(&mut self, top: &Table<'t>) -> Worker {
        let table = self.reader.table(top, &WORKER);
        let default = Worker::default();
        let role = table.get("role").and_then(|given| {
            self.reader.parsed(&given, |text| match text {
                "all" => Some(Role::All),
                "match" => Some(Role::Match),
                "analyse" => Some(Role::Analyse),
                _ => None,
            })
        });
        let fits = |text: &&str| {
            (1..=100).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
                && *text != "."
                && *text != ".."
        };
        let name = table.get("name");
        let name = name
            .and_then(|given| self.reader.parsed(&given, |text| Some(text).filter(fits).map(str::to_owned)));
        Worker { role: role.unwrap_or_default(), name: name.unwrap_or(default.name) }
    }

    fn geoip(&mut self, top: &Table<'t>) -> Vec<PathBuf> {
        let table = self.reader.table(top, &GEOIP);
        let databases = table.get("database").map(Reader::one_or_more).unwrap_or_default();
        databases.iter().filter_map(|given| self.path_of(given, self.folder)).collect()
    }

    fn limits(&mut self, top: &Table<'t>) -> Limits {
        let table = self.reader.table(top, &LIMITS);
        let default = Limits::default();
        let window_memory = table.get("window_memory").and_then(|given| self.reader.size(&given));
        let tasks = table.get("tasks").and_then(|given| self.reader.whole(&given, 1..=256));
        Limits {
            window_memory: window_memory.unwrap_or(default.window_memory),
            tasks: tasks.map_or(default.tasks, |tasks| usize::try_from(tasks).expect("at most 256")),
        }
    }

    fn protect(&mut self, top: &Table<'t>) -> Protect {
        let table = self.reader.table(top, &PROTECT);
        Protect {
            ssh_peers: self.flag(&table, "ssh_peers", true),
            gateway: self.flag(&table, "gateway", true),
            resolvers: self.flag(&table, "resolvers", true),
            own_addresses: self.flag(&table, "own_addresses", true),
        }
    }

    fn flag(&mut self, table: &Table<'t>, name: &str, default: bool) -> bool {
        table.get(name).and_then(|given| self.reader.flag(&given)).unwrap_or(default)
    }

    fn path(&mut self, table: &Table<'t>, name: &str, folder: &Path) -> Option<PathBuf> {
        table.get(name).and_then(|given| self.path_of(&given, folder))
    }

    fn path_of(&mut self, given: &Given<'t>, folder: &Path) -> Option<PathBuf> {
        let text = self.reader.text(given)?;
        if text.starts_with("~/") {
            self.reader.reject(given, "`~` stands for nothing here; write the whole path");
            return None;
        }
        if text.is_empty() || text.contains('\0') {
            self.reader.mismatch(given);
            return None;
        }
        Some(folder.join(text))
    }
}
