//! Agents of 2016: made in Python of the interface alone, and served by the two calls that they know.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod fleet_common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleet_common::{KEY, agent_at, an_agent, fleet, held, listed, options, target, until};
use model::ban::{Change, Order};
use model::ledger::{AskedBan, Ledger};
use model::units::Seconds;
use tempfile::TempDir;
use topology::adapters::fleet::{AgentConfig, AgentState, Options};

/// Why this can't be tested here, where it can't.
fn missing() -> Option<String> {
    for (tool, args) in [("thrift", &["--version"][..]), ("python3", &["-c", "import thrift"])] {
        match Command::new(tool).args(args).output() {
            Err(error) => return Some(format!("{tool}: {error}")),
            Ok(output) if !output.status.success() => {
                return Some(format!("{tool}: {}", String::from_utf8_lossy(&output.stderr)));
            }
            Ok(_) => {}
        }
    }
    None
}

/// Where agents keep what they hold.
struct Place {
    folder: TempDir,
    options: Vec<&'static str>,
}

/// An agent in Python; killed when dropped.
struct Python {
    child: Child,
    address: SocketAddr,
    _stdin: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Place {
    /// `None` where it can't be tested.
    fn new(options: &[&'static str]) -> Option<Self> {
        if let Some(reason) = missing() {
            real_servers::skip(&reason);
            return None;
        }
        Some(Self { folder: tempfile::tempdir().unwrap(), options: options.to_vec() })
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    fn broken(&self) -> PathBuf {
        self.folder.path().join("broken")
    }

    /// What the host holds.
    fn banned(&self) -> BTreeSet<String> {
        fs::read(self.state()).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn start(&self, port: u16) -> Python {
        let house = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut child = Command::new("python3")
            .arg(house.join("e2e/agent/original_agent.py"))
            .arg(house.join("thrift/ccfirewall.thrift"))
            .args([&port.to_string(), KEY, "--state"])
            .arg(self.state())
            .arg("--broken")
            .arg(self.broken())
            .args(&self.options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let port: u16 = first.trim().strip_prefix("listening ").unwrap().parse().unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        let stdin = child.stdin.take().unwrap();
        Python { child, address: (Ipv4Addr::LOCALHOST, port).into(), _stdin: stdin, lines }
    }
}

impl Python {
    fn calls(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn patient() -> Options {
    Options { call: Duration::from_secs(5), ..options() }
}

fn ips(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<String> {
    numbers.into_iter().map(|number| target(number).to_string()).collect()
}

#[test]
fn an_agent_of_2016_is_served_by_its_two_calls() {
    let Some(place) = Place::new(&[]) else { return };
    let agent = place.start(0);
    let mut setup = fleet(&[("old", agent.address)], Ledger::default(), 1, patient());
    setup.in_sync(0);
    assert!(setup.fleet.agents()[0].original);
    let asked = Instant::now();
    let ban = setup.ban(1, 600);
    until("banned", || place.banned() == ips([1]));
    println!("banned after {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_millis(500));
    until("told", || setup.told(&ban) == [("old".to_owned(), Order::Block, 1)]);
    // Longer is nothing to it.
    let longer = setup.decided(1, 900);
    setup.change(longer);
    until("asked again", || agent.calls().iter().filter(|line| line.starts_with("block")).count() == 2);
    let asked = Instant::now();
    setup.lift(1);
    until("let through", || place.banned().is_empty());
    assert!(asked.elapsed() < Duration::from_millis(500));
    let both = [("old".to_owned(), Order::Block, 1), ("old".to_owned(), Order::Unblock, 1)];
    until("told", || setup.told(&ban) == both);
    assert!(setup.fleet.agents()[0].warnings[0].contains("2016"));
    let (.., all_sent) = setup.stop();
    assert!(all_sent);
}

#[test]
fn after_it_was_away_it_gets_what_is_in_force_and_what_fell_due() {
    let Some(place) = Place::new(&["--answers", "number"]) else { return };
    let agent = place.start(0);
    let port = agent.address.port();
    // Unblocks wait longer than the patience with ours.
    let options = Options { unblock_within: Duration::from_millis(200), ..patient() };
    let mut setup = fleet(&[("old", agent.address)], Ledger::default(), 1, options);
    setup.in_sync(0);
    let bans: Vec<_> = (0..5).map(|number| setup.ban(number, 600)).collect();
    until("banned", || place.banned() == ips(0..5));
    drop(agent);
    until("seen", || matches!(setup.state(0), AgentState::Unreachable { .. }));
    setup.lift(0);
    setup.lift(1);
    let away = setup.ban(7, 600);
    let missed = setup.ban(8, 600);
    setup.lift(8);
    until("told: it never got it", || setup.told(&missed).len() == 2);
    let left = Instant::now();
    until("longer than the patience", || left.elapsed() > Duration::from_millis(600));
    assert_eq!(setup.told(&bans[0]).len(), 1, "the unblock is still to come");
    let agent = place.start(port);
    until("made up for", || place.banned() == ips([2, 3, 4, 7]));
    until("told", || {
        setup.told(&bans[0]).last() == Some(&("old".to_owned(), Order::Unblock, 1))
            && setup.told(&away).len() == 1
    });
    // Each was asked for again, and told once.
    until("asked again", || agent.calls().iter().filter(|line| line.ends_with(" -1")).count() == 3);
    assert!(bans[2..].iter().all(|ban| setup.told(ban).len() == 1));
    setup.in_sync(0);
}

/// As the list says it: an agent of 2016 before anybody has asked it.
fn listed_as_original(address: SocketAddr) -> Vec<AgentConfig> {
    let mut list = listed(&[("old", address)]);
    list[0].original = true;
    list
}

#[test]
fn one_that_is_away_while_the_owner_is_started_anew_lets_go_later() {
    let Some(place) = Place::new(&[]) else { return };
    let agent = place.start(0);
    let (address, port) = (agent.address, agent.address.port());
    let mut setup = fleet(&[], Ledger::default(), 1, patient());
    setup.fleet.set_agents(listed_as_original(address)).unwrap();
    setup.in_sync(0);
    let bans: Vec<_> = (0..2).map(|number| setup.ban(number, 600)).collect();
    until("told", || bans.iter().all(|ban| setup.told(ban).len() == 1));
    drop(agent);
    let (ledger, ..) = setup.stop();

    let options = Options { unblock_within: Duration::from_millis(200), ..patient() };
    let mut setup = fleet(&[], ledger, 2, options);
    setup.fleet.set_agents(listed_as_original(address)).unwrap();
    setup.lift(0);
    let left = Instant::now();
    until("longer than the patience", || left.elapsed() > Duration::from_millis(600));
    assert_eq!(setup.told(&bans[0]), [], "the unblock is still to come");
    assert_eq!(place.banned(), ips([0, 1]));
    let _agent = place.start(port);
    until("made up for", || place.banned() == ips([1]));
    until("told", || setup.told(&bans[0]) == [("old".to_owned(), Order::Unblock, 1)]);
}

#[test]
fn one_that_left_with_bans_is_an_alarm_until_it_is_back() {
    let Some(place) = Place::new(&[]) else { return };
    let agent = place.start(0);
    let options = Options { leave_after: Duration::from_millis(100), ..patient() };
    let mut setup = fleet(&[("old", agent.address)], Ledger::default(), 1, options);
    setup.in_sync(0);
    setup.ban(1, 600);
    setup.ban(2, 600);
    until("banned", || place.banned() == ips([1, 2]));
    setup.fleet.set_agents(Vec::new()).unwrap();
    until("an alarm", || setup.heard.open("agent_left"));
    setup.lift(1);
    assert!(setup.heard.last("agent_left").unwrap().text.contains("2 bans"));
    assert_eq!(place.banned(), ips([1, 2]));
    setup.fleet.set_agents(listed_as_original(agent.address)).unwrap();
    until("over", || !setup.heard.open("agent_left"));
    until("let through", || place.banned() == ips([2]));
}

/// How many connections are open to a port of this machine.
fn connections(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let peer = format!(":{port:04X} 01");
    table.lines().filter(|line| line.contains(&peer)).count()
}

#[test]
fn much_goes_over_several_connections_and_an_unban_goes_first() {
    const BANS: u32 = 2_000;
    let Some(place) = Place::new(&["--slow", "2"]) else { return };
    let agent = place.start(0);
    let mut ledger = Ledger::default();
    for number in 0..BANS {
        let asked = AskedBan { target: target(number), length: Seconds(600), note: None };
        let change = ledger.asked(asked, fleet_common::now());
        ledger.apply(&change);
    }
    let mut setup = fleet(&[("old", agent.address)], ledger, 1, patient());
    let began = Instant::now();
    until("several connections", || connections(agent.address.port()) > 2);
    let before = agent.calls().len();
    let lifted = setup.lift(BANS - 1);
    until("lifted", || setup.told(&lifted).iter().any(|told| told.1 == Order::Unblock));
    let unblock = format!("unblock {} ", target(BANS - 1));
    let mut at = None;
    until("its line", || {
        at = agent.calls().iter().position(|line| line.starts_with(&unblock));
        at.is_some()
    });
    let between = at.unwrap().saturating_sub(before);
    println!("{between} bans went before an unban that came after {before} of {BANS}");
    assert!(between < 500, "{between}");
    setup.in_sync(0);
    println!("{BANS} bans took {:?}", began.elapsed());
    until("all", || place.banned() == ips(0..BANS - 1));
    until("told", || {
        setup.listen();
        setup.outcomes.len() > BANS as usize
    });
}

#[test]
fn one_that_serves_a_connection_at_a_time_is_served_by_one() {
    let Some(place) = Place::new(&["--one-at-a-time"]) else { return };
    let agent = place.start(0);
    let mut setup = fleet(&[("old", agent.address)], Ledger::default(), 1, patient());
    setup.in_sync(0);
    let changes: Vec<Change> = (0..300).map(|number| setup.decided(number, 600)).collect();
    setup.changes(changes);
    until("banned", || place.banned() == ips(0..300));
    setup.in_sync(0);
    let asked = Instant::now();
    setup.lift(1);
    until("lifted", || place.banned().len() == 299);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[test]
fn prefixes_leave_a_row_and_an_alarm() {
    let Some(place) = Place::new(&[]) else { return };
    let agent = place.start(0);
    let mut setup = fleet(&[("old", agent.address)], Ledger::default(), 1, patient());
    setup.in_sync(0);
    let mut bans = Vec::new();
    for prefix in ["2001:db8:1:2::/64", "198.51.100.0/24", "2001:db8::7"] {
        let asked = AskedBan { target: prefix.parse().unwrap(), length: Seconds(600), note: None };
        let change = setup.ledger.asked(asked, fleet_common::now());
        bans.push(setup.change(change));
    }
    for (ban, flag) in bans.iter().zip([-2, -2, 1]) {
        until("told", || setup.told(ban) == [("old".to_owned(), Order::Block, flag)]);
    }
    until("an alarm", || setup.heard.open("agent_prefix"));
    assert_eq!(place.banned().into_iter().collect::<Vec<_>>(), ["2001:db8::7"]);
    for ban in &bans[..2] {
        let lifted = setup.ledger.lifted(&ban.target, fleet_common::now(), model::ban::Ended::ByHand);
        setup.change(lifted.unwrap());
        until("told", || setup.told(ban).last() == Some(&("old".to_owned(), Order::Unblock, -1)));
    }
    setup.ban(1, 600);
    until("over", || !setup.heard.open("agent_prefix"));
}

#[test]
fn answers_that_are_none_are_failures_in_its_words() {
    let Some(place) = Place::new(&["--answers", "text"]) else { return };
    let agent = place.start(0);
    let mut setup = fleet(&[("old", agent.address)], Ledger::default(), 1, patient());
    setup.in_sync(0);
    let ban = setup.ban(1, 600);
    until("told", || setup.told(&ban) == [("old".to_owned(), Order::Block, -4)]);
    let result = &setup.outcomes[0].result;
    assert!(result.contains("Resource temporarily") && result.len() < 600, "{result}");
}

#[test]
fn what_its_firewall_refuses_is_asked_for_again() {
    let Some(place) = Place::new(&[]) else { return };
    let agent = place.start(0);
    let mut setup = fleet(&[("old", agent.address)], Ledger::default(), 1, patient());
    setup.in_sync(0);
    let first = setup.ban(1, 600);
    until("banned", || place.banned() == ips([1]));
    fs::write(place.broken(), "").unwrap();
    let second = setup.ban(2, 600);
    setup.lift(1);
    until("told", || setup.told(&second) == [("old".to_owned(), Order::Block, -4)]);
    until("told", || setup.told(&first).last() == Some(&("old".to_owned(), Order::Unblock, -4)));
    until("failing", || matches!(setup.state(0), AgentState::Failing { .. }));
    until("an alarm", || setup.heard.open("agent_unreachable"));
    fs::remove_file(place.broken()).unwrap();
    until("done after all", || place.banned() == ips([2]));
    setup.in_sync(0);
    until("over", || !setup.heard.open("agent_unreachable"));
    assert_eq!(setup.told(&first).len() + setup.told(&second).len(), 3, "one row each");
}

#[test]
fn a_wrong_key_is_told() {
    let Some(place) = Place::new(&[]) else { return };
    let agent = place.start(0);
    let mut setup = fleet(&[], Ledger::default(), 1, patient());
    let mut list = fleet_common::listed(&[("old", agent.address)]);
    list[0].mkey = "another".to_owned();
    setup.fleet.set_agents(list).unwrap();
    setup.ban(1, 600);
    until("refused", || setup.state(0) == AgentState::WrongKey);
    until("an alarm", || setup.heard.open("agent_key"));
    assert!(place.banned().is_empty());
    setup.fleet.set_agents(fleet_common::listed(&[("old", agent.address)])).unwrap();
    until("banned", || place.banned() == ips([1]));
    setup.in_sync(0);
}

#[test]
fn an_upgrade_is_noticed_and_the_way_back_too() {
    let Some(place) = Place::new(&[]) else { return };
    let old = place.start(0);
    let address = old.address;
    let mut setup = fleet(&[("a", address)], Ledger::default(), 1, patient());
    setup.in_sync(0);
    let ban = setup.ban(1, 600);
    until("banned", || place.banned() == ips([1]));
    drop(old);
    let ours = agent_at(address, KEY, None);
    until("one of ours", || !setup.fleet.agents()[0].original && setup.state(0) == AgentState::InSync);
    assert_eq!(held(address).into_keys().collect::<Vec<_>>(), [target(1)]);
    ours.stop();
    setup.lift(1);
    let second = setup.ban(2, 600);
    let old = place.start(address.port());
    until("old again", || setup.fleet.agents()[0].original && setup.state(0) == AgentState::InSync);
    until("in step", || place.banned() == ips([2]));
    until("told", || setup.told(&ban).len() == 2 && setup.told(&second).len() == 1);
    drop(old);
}

#[test]
fn one_that_hangs_is_noticed_and_holds_up_nobody() {
    let Some(place) = Place::new(&["--slow", "60000"]) else { return };
    let (old, ours) = (place.start(0), an_agent());
    let options = Options { call: Duration::from_millis(600), ..options() };
    let mut setup = fleet(&[("old", old.address), ("ours", ours.address())], Ledger::default(), 1, options);
    setup.in_sync(1);
    setup.in_sync(0);
    setup.ban(1, 600);
    let took = until("banned", || held(ours.address()).len() == 1);
    assert!(took < Duration::from_millis(500), "{took:?}");
    until("noticed", || matches!(setup.state(0), AgentState::Hanging { .. }));
    until("an alarm", || setup.heard.open("agent_unreachable"));
    let began = Instant::now();
    drop(setup);
    assert!(began.elapsed() < Duration::from_secs(1));
}
