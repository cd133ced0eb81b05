//! What the tests of the fleet share: agents, a fleet with the ledger that feeds it, and patience.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::needless_pass_by_value, reason = "changes are made up for one call")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent::key::Key;
use agent::{Choice, Config, Observer, Running};
use bolts::ports::{Alarm, BanSink as _, Notifier};
use ccfirewall_thrift::{Client, Timeouts};
use engine::{Clock, SystemClock};
use model::ban::{Ban, Change, Ended, Order, Outcome};
use model::ledger::Ledger;
use model::network::Network;
use model::units::{Moment, Seconds};
use model::verdict::{Action, Decision};
use topology::adapters::fleet::{AgentConfig, AgentState, Fleet, Options, World};
use topology::spouts::outcomes::OutcomeQueue;

pub(crate) const KEY: &str = "a key for tests";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn now() -> Moment {
    Moment(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

pub(crate) fn target(number: u32) -> Network {
    Network::host(Ipv4Addr::from(0x0a00_0000 + number).into())
}

pub(crate) fn agent_at(listen: SocketAddr, key: &str, observer: Option<Observer>) -> Running {
    let mut config = Config::new(Key::new(key).unwrap());
    config.listen = listen;
    config.enforcer = Choice::DryRun;
    config.observer = observer;
    agent::start(config).unwrap()
}

pub(crate) fn an_agent() -> Running {
    agent_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), KEY, None)
}

pub(crate) fn client(address: SocketAddr) -> Client {
    Client::connect(address, Timeouts::default()).unwrap()
}

pub(crate) fn held(address: SocketAddr) -> BTreeMap<Network, i64> {
    let mut client = client(address);
    let mut all = BTreeMap::new();
    loop {
        let bans = client.held(KEY, all.len() as i64, 100_000).unwrap().bans.unwrap();
        let count = bans.len();
        all.extend(bans.into_iter().map(|ban| (ban.target.unwrap().parse().unwrap(), ban.left_ms.unwrap())));
        if count < 100_000 {
            return all;
        }
    }
}

/// Waits until it is so. There is a bound, and a short look again and again, for what happens is in other processes'
/// and threads' hands.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    began.elapsed()
}

#[derive(Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<Alarm>>);

impl Notifier for Heard {
    fn notify(&self, alarm: Alarm) {
        self.0.lock().unwrap().push(alarm);
    }
}

impl Heard {
    pub(crate) fn last(&self, kind: &str) -> Option<Alarm> {
        self.0.lock().unwrap().iter().rev().find(|alarm| alarm.kind == kind).cloned()
    }

    pub(crate) fn open(&self, kind: &str) -> bool {
        self.last(kind).is_some_and(|alarm| !alarm.over)
    }
}

/// A fleet with the ledger that feeds it.
pub(crate) struct Setup {
    pub(crate) fleet: Fleet,
    pub(crate) ledger: Ledger,
    pub(crate) queue: OutcomeQueue,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) offered: Arc<Mutex<Vec<(Network, Moment)>>>,
    pub(crate) superseded: Arc<Mutex<Vec<String>>>,
}

pub(crate) fn options() -> Options {
    Options {
        call: Duration::from_secs(2),
        longest_pause: Duration::from_millis(400),
        refused_pause: Duration::from_millis(400),
        check_every: Duration::from_millis(200),
        adopt_within: Duration::from_secs(2),
        alarm_after: Duration::from_millis(300),
        ..Options::default()
    }
}

pub(crate) fn fleet(agents: &[(&str, SocketAddr)], ledger: Ledger, epoch: i64, options: Options) -> Setup {
    fleet_with(agents, ledger, epoch, options, Arc::new(SystemClock))
}

pub(crate) fn fleet_with(
    agents: &[(&str, SocketAddr)],
    ledger: Ledger,
    epoch: i64,
    options: Options,
    clock: Arc<dyn Clock>,
) -> Setup {
    let (queue, heard) = (OutcomeQueue::new(), Arc::new(Heard::default()));
    let offered = Arc::new(Mutex::new(Vec::new()));
    let superseded = Arc::<Mutex<Vec<String>>>::default();
    let world = World {
        epoch,
        outcomes: queue.clone(),
        notifier: heard.clone(),
        clock,
        adopt: Arc::new({
            let offered = Arc::clone(&offered);
            move |bans| offered.lock().unwrap().extend(bans)
        }),
        superseded: Arc::new({
            let superseded = Arc::clone(&superseded);
            move |said: &str| superseded.lock().unwrap().push(said.to_owned())
        }),
    };
    let fleet = Fleet::start(listed(agents), &ledger, world, options).unwrap();
    Setup { fleet, ledger, queue, outcomes: Vec::new(), heard, offered, superseded }
}

/// A list of agents.
pub(crate) fn listed(agents: &[(&str, SocketAddr)]) -> Vec<AgentConfig> {
    let config = |&(name, address): &(&str, SocketAddr)| AgentConfig {
        name: name.into(),
        address,
        mkey: KEY.to_owned(),
        tls: None,
        original: false,
    };
    agents.iter().map(config).collect()
}

impl Setup {
    pub(crate) fn change(&mut self, change: Change) -> Ban {
        self.changes(vec![change]).remove(0)
    }

    pub(crate) fn changes(&mut self, changes: Vec<Change>) -> Vec<Ban> {
        changes.iter().for_each(|change| self.ledger.apply(change));
        self.fleet.apply(&changes, now());
        changes.iter().map(|change| change.ban().clone()).collect()
    }

    pub(crate) fn decided(&self, number: u32, length: u32) -> Change {
        let now = now();
        let decision = Decision {
            time: now.second(),
            target: target(number),
            action: Action::Block,
            rule: "global".into(),
            reason: 0,
            count: 10,
            during: Seconds(1),
            length: Seconds(length),
            established: false,
            place: None,
        };
        self.ledger.decided(&decision, now).unwrap()
    }

    pub(crate) fn ban(&mut self, number: u32, length: u32) -> Ban {
        self.change(self.decided(number, length))
    }

    pub(crate) fn lift(&mut self, number: u32) -> Ban {
        self.change(self.ledger.lifted(&target(number), now(), Ended::ByHand).unwrap())
    }

    pub(crate) fn listen(&mut self) {
        for outcome in self.queue.take(usize::MAX) {
            self.ledger.answered(&outcome);
            self.outcomes.push(outcome);
        }
    }

    /// The outcomes of a ban so far: agent, order, flag.
    pub(crate) fn told(&mut self, ban: &Ban) -> Vec<(String, Order, i32)> {
        self.listen();
        let of_ban = self.outcomes.iter().filter(|outcome| outcome.ban.id == ban.id);
        of_ban.map(|outcome| (outcome.agent.to_string(), outcome.order, outcome.flag)).collect()
    }

    pub(crate) fn state(&self, number: usize) -> AgentState {
        self.fleet.agents()[number].state
    }

    pub(crate) fn in_sync(&self, number: usize) -> Duration {
        until("in step", || self.state(number) == AgentState::InSync)
    }

    pub(crate) fn stop(self) -> (Ledger, Vec<Outcome>, bool) {
        let Self { fleet, mut ledger, queue, mut outcomes, .. } = self;
        let all_sent = fleet.stop(Duration::from_secs(10));
        for outcome in queue.take(usize::MAX) {
            ledger.answered(&outcome);
            outcomes.push(outcome);
        }
        (ledger, outcomes, all_sent)
    }
}

/// Accepts connections and never answers.
pub(crate) fn hanging() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}
