//! A firewall without topology: a ledger behind [`Control`], served for real.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bolts::tuples::{AnswerCounts, CommandOrder, LineCounts, LiveStatus, Reply, SourceStatus};
use engine::{ComponentKind, ComponentSnapshot, HistogramSnapshot, MetricsSnapshot, SpoutSnapshot};
use model::ban::{Ban, BanId, Cap, Change, Ended, Order, Reason};
use model::ledger::{AskedBan, HeldBan, Ledger};
use model::network::Network;
use model::place::Place;
use model::units::{Moment, Second, Seconds};
use serde_json::Value;
use tempfile::TempDir;
use topology::adapters::http::{self, Http};
use topology::control::{
    AgentAnswer, AgentState, AgentView, BanRow, Control, Health, HistoryFilter, JournalStatus, Problem,
    SettingsStatus, SourceHealth, Status, StoreStatus,
};

/// What the fake firewall is.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) health: Mutex<Health>,
    pub(crate) agents: Mutex<Vec<AgentView>>,
    pub(crate) filters: Mutex<Vec<HistoryFilter>>,
    /// Orders aren't kept in time.
    pub(crate) stuck: Mutex<bool>,
    /// Questions for the agents wait until this is false.
    pub(crate) gate: (Mutex<bool>, Condvar),
}

pub(crate) fn network(text: &str) -> Network {
    text.parse().unwrap()
}

pub(crate) fn now() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Moment(since.as_millis().try_into().unwrap())
}

impl Fake {
    /// Puts a ban in force, as a rule would.
    pub(crate) fn ban(&self, target: &str, rule: &str, start: Moment, length: u32) -> Ban {
        let ban = decided(target, rule, start, length);
        self.ledger.lock().unwrap().apply(&Change::Banned(ban.clone()));
        ban
    }

    pub(crate) fn hold(&self, target: &str) {
        let ban = decided(target, "global", now(), 600);
        self.ledger.lock().unwrap().apply(&Change::Held { ban, cap: Cap::NewBans });
    }

    pub(crate) fn banned(&self) -> Vec<String> {
        let mut targets: Vec<String> = self.bans().iter().map(|ban| ban.target.to_string()).collect();
        targets.sort();
        targets
    }

    /// Lets questions for the agents wait, or lets them go on.
    pub(crate) fn shut(&self, shut: bool) {
        *self.gate.0.lock().unwrap() = shut;
        self.gate.1.notify_all();
    }

    fn obey(&self, order: CommandOrder) -> Reply {
        let mut ledger = self.ledger.lock().unwrap();
        let now = now();
        let changes: Vec<Change> = match order {
            CommandOrder::Ban(AskedBan { target, .. }) if target.first().is_loopback() => {
                return Reply::Refused(format!("{target} is on the allowlist or protected"));
            }
            CommandOrder::Ban(asked) => vec![ledger.asked(asked, now)],
            CommandOrder::Unban(target) => match ledger.lifted(&target, now, Ended::ByHand) {
                Some(change) => vec![change],
                None => return Reply::Refused(format!("{target} isn't banned")),
            },
            CommandOrder::Release(target) | CommandOrder::Discard(target)
                if target.is_some_and(|target| ledger.held_for(&target).is_none()) =>
            {
                return Reply::Refused("no such ban is held".to_owned());
            }
            CommandOrder::Release(target) => {
                let targets = target.map_or_else(|| held_targets(&ledger), |target| vec![target]);
                targets.iter().filter_map(|target| ledger.released(target, now)).flatten().collect()
            }
            CommandOrder::Discard(target) => {
                let targets = target.map_or_else(|| held_targets(&ledger), |target| vec![target]);
                targets.iter().filter_map(|target| ledger.discarded(target, now)).collect()
            }
            CommandOrder::Adopt(_) | CommandOrder::ClockStep { .. } => Vec::new(),
        };
        changes.iter().for_each(|change| ledger.apply(change));
        Reply::Done(changes)
    }
}

fn held_targets(ledger: &Ledger) -> Vec<Network> {
    ledger.held().map(|held| held.ban.target).collect()
}

fn decided(target: &str, rule: &str, start: Moment, length: u32) -> Ban {
    let target = network(target);
    Ban {
        id: BanId::new(rule, &target, start.second(), 0),
        target,
        rule: rule.into(),
        reason: if rule == "global" { Reason::Global } else { Reason::Special },
        decided: start.second(),
        start,
        end: start.plus(Seconds(length)),
        count: 200,
        during: Seconds(3),
        established: false,
        place: Some(Place { country: Some("DE".into()), ..Place::default() }),
        note: None,
    }
}

impl Control for Fake {
    fn health(&self) -> Health {
        self.health.lock().unwrap().clone()
    }

    fn status(&self) -> Status {
        let mut lines =
            LineCounts { lines: 1000, parsed: 990, unattributed: 5, future: 1, ..LineCounts::default() };
        lines.count_unparsed(model::line::Unparsed::Time, 10);
        let source = SourceStatus {
            lines: 1000,
            caught_up: true,
            read_at: Moment(1_795_342_203_000),
            skew_ms: Some(-1500),
            ..SourceStatus::default()
        };
        Status {
            version: "0.1.0".to_owned(),
            started_at: Moment(1_795_342_000_000),
            uptime: Duration::from_secs(3723),
            dry_run: false,
            live: LiveStatus {
                lines,
                lines_per_second: 12.5,
                bans: 3,
                answer_ms: Some((7, 40)),
                sources: [(HOSTILE.into(), source)].into(),
                answers: [("10.0.0.2".into(), AnswerCounts { done: 3, failed: 1 })].into(),
                ..LiveStatus::default()
            },
            alarms: self.health().problems,
            settings: SettingsStatus {
                version: 2,
                errors: vec!["count: 0".to_owned()],
                ..SettingsStatus::default()
            },
            store: StoreStatus { rows: 10, behind: 2, lost: 1, last_error: Some("locked".to_owned()) },
            journal: JournalStatus { entries: 12, bytes: 4096, ..JournalStatus::default() },
            sources: vec![SourceHealth {
                name: HOSTILE.into(),
                behind_bytes: Some(77),
                behind_messages: Some(78),
                last_error: None,
            }],
            agents: self.agents.lock().unwrap().clone(),
            bans_in_force: self.bans().len() as u64,
            held: self.held().len() as u64,
        }
    }

    fn metrics(&self) -> MetricsSnapshot {
        let mut buckets = vec![0; 40];
        buckets[3] = 1;
        buckets[15] = 4;
        buckets[39] = 2;
        let component = |name: &str, kind, spout| ComponentSnapshot {
            name: name.to_owned(),
            kind,
            tasks: 2,
            batches: 7,
            records: 1000,
            emitted_batches: 7,
            emitted_records: 990,
            errors: [("time".to_owned(), 10)].into(),
            counts: [("places".to_owned(), 4)].into(),
            gauges: [("keys".to_owned(), 100)].into(),
            restarts: 0,
            queue_depth: 1,
            execute_time: HistogramSnapshot { buckets: buckets.clone(), sum: 5_000_000_000 },
            spout,
        };
        let spout = SpoutSnapshot { emitted: 9, acked: 7, pending: 2, ..SpoutSnapshot::default() };
        MetricsSnapshot {
            topology: "live".to_owned(),
            components: vec![
                component("lines", ComponentKind::Spout, Some(spout)),
                component("format", ComponentKind::Bolt, None),
            ],
        }
    }

    fn bans(&self) -> Vec<Ban> {
        self.ledger.lock().unwrap().bans().cloned().collect()
    }

    fn held(&self) -> Vec<HeldBan> {
        self.ledger.lock().unwrap().held().cloned().collect()
    }

    fn agents(&self) -> Vec<AgentView> {
        let shut = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(shut, |shut| *shut).unwrap());
        self.agents.lock().unwrap().clone()
    }

    fn history(&self, filter: &HistoryFilter) -> Result<Vec<BanRow>, String> {
        self.filters.lock().unwrap().push(filter.clone());
        if filter.target == Some(network("192.0.2.66")) {
            return Err("the database is locked".to_owned());
        }
        let row = |agent: &str, flag, ended: Option<i64>| BanRow {
            target: network("198.51.100.7"),
            rule: "/login".to_owned(),
            reason: Reason::Special,
            start: Moment::from(Second(1_795_342_203)),
            end: Moment::from(Second(1_795_342_803)),
            ended_at: ended.map(|second| Moment::from(Second(second))),
            ended_cause: ended.map(|_| Ended::ByHand),
            count: 1200,
            country: Some("DE".to_owned()),
            note: Some("a \u{1b}[31mnote".to_owned()),
            agents: vec![AgentAnswer { agent: agent.to_owned(), order: Order::Block, flag }],
        };
        Ok(vec![row("10.0.0.2", 1, None), row("10.0.0.3", -4, Some(1_795_342_400))])
    }

    fn command(&self, order: CommandOrder) -> Result<Reply, String> {
        if *self.stuck.lock().unwrap() {
            return Err("it wasn't kept within 5 s: the disk refuses".to_owned());
        }
        Ok(self.obey(order))
    }
}

/// A name of a source that nobody should choose.
pub(crate) const HOSTILE: &str = "/log/\"a\\b\n{x=\"1\"} \u{e4}";

pub(crate) fn agent(name: &str, state: AgentState) -> AgentView {
    AgentView {
        name: name.to_owned(),
        address: format!("{name}:9090"),
        state,
        enforcer: "nftables".to_owned(),
        version: "0.1.0".to_owned(),
        held: 3,
        wanted: 4,
        clock_skew_ms: Some(12),
        ..AgentView::default()
    }
}

pub(crate) fn problem(kind: &str, text: &str) -> Problem {
    Problem { kind: kind.to_owned(), text: text.to_owned() }
}

/// A fake firewall that is served.
pub(crate) struct Served {
    pub(crate) fake: Arc<Fake>,
    pub(crate) state: TempDir,
    pub(crate) http: Http,
}

pub(crate) fn serve() -> Served {
    let fake = Arc::new(Fake::default());
    *fake.health.lock().unwrap() = Health { ok: true, problems: Vec::new() };
    *fake.agents.lock().unwrap() = vec![agent("10.0.0.3", AgentState::Up), agent("10.0.0.2", AgentState::Up)];
    let state = tempfile::tempdir().unwrap();
    let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let http = http::start(fake.clone(), any_port, state.path().join("control.sock")).unwrap();
    Served { fake, state, http }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Served {
    pub(crate) fn socket(&self) -> PathBuf {
        self.state.path().join("control.sock")
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Reads a page over TCP.
    pub(crate) fn get(&self, path: &str) -> Answer {
        exchange(self.tcp(), &request("GET", path, "localhost", ""))
    }

    /// Asks over the control socket.
    pub(crate) fn steer(&self, method: &str, path: &str, body: &str) -> Answer {
        steer(&self.socket(), method, path, body)
    }
}

pub(crate) fn steer(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    exchange(stream, &request(method, path, "anything.example", body))
}

pub(crate) fn request(method: &str, path: &str, host: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Writes a request and reads until the other side closes.
pub(crate) fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    // It may answer before it has read all of a request that it doesn't want.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
