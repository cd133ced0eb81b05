//! The live topology with the clock in hand: lines and commands go in, and what is kept, enforced and told comes
//! out. Nothing sleeps.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bolts::live_report::Counts;
use bolts::ports::{Alarm, BanSink, CommandReplies, EventStore, Notifier, Nowhere, SettingsPort, StatusSink};
use bolts::tuples::{Command, CommandOrder, LineBatch, LiveStatus, Outcomes, Reply};
use engine::testing::{Feed, TopologyTestDriver};
use engine::{Config, Timestamp};
use model::ban::{Ban, Cap, Change, Ended};
use model::event::{Entry, Event};
use model::ledger::{AskedBan, Ledger};
use model::line::LogFormat;
use model::mark::{Mark, Position};
use model::network::Network;
use model::settings::Settings;
use model::units::{Moment, Second, Seconds};
use model::verdict::Alert;
use topology::wiring::{self, Live, LiveSpouts, Ruling};

/// 2026-11-22 10:00:00 UTC.
const START: i64 = 1_795_341_600;
const ATTACKER: &str = "203.0.113.9";

#[derive(Default)]
struct Seen {
    entries: Mutex<Vec<Entry>>,
    changes: Mutex<Vec<Change>>,
    replies: Mutex<Vec<(u64, Reply)>>,
    alarms: Mutex<Vec<Alarm>>,
    status: Mutex<LiveStatus>,
}

impl EventStore for Seen {
    fn append(&self, entry: Entry) {
        self.entries.lock().unwrap().push(entry);
    }
}

impl BanSink for Seen {
    fn apply(&self, changes: &[Change], _: Moment) {
        self.changes.lock().unwrap().extend_from_slice(changes);
    }
}

impl CommandReplies for Seen {
    fn reply(&self, id: u64, reply: Reply) {
        self.replies.lock().unwrap().push((id, reply));
    }
}

impl Notifier for Seen {
    fn notify(&self, alarm: Alarm) {
        self.alarms.lock().unwrap().push(alarm);
    }
}

impl StatusSink for Seen {
    fn status(&self, status: &LiveStatus) {
        *self.status.lock().unwrap() = status.clone();
    }
}

struct Site {
    driver: TopologyTestDriver,
    lines: Feed<LineBatch>,
    commands: Feed<Command>,
    settings: SettingsPort,
    seen: Arc<Seen>,
    batch: u64,
    command: u64,
}

const SETTINGS: &str = r#"{"count": 10, "threshold_secound": 5, "threshold_w_secound": 5, "block_second": 60,
    "ip_white_list": ["198.51.100.0/24"], "if_warning": false}"#;

impl Site {
    fn new(settings: &str) -> Self {
        Self::with(settings, Ledger::default(), 1)
    }

    fn with(settings: &str, ledger: Ledger, tasks: usize) -> Self {
        let seen = Arc::<Seen>::default();
        let (lines, commands, outcomes) = (Feed::new(), Feed::new(), Feed::<Outcomes>::new());
        let settings = SettingsPort::new(Settings::parse(settings).unwrap().settings);
        let sources = vec![("access.log".into(), LogFormat::combined())];
        let ruling = Ruling {
            formats: sources.clone(),
            ledger,
            counts: Counts::default(),
            events: seen.clone(),
            sinks: vec![seen.clone()],
            replies: seen.clone(),
            status: seen.clone(),
            notifier: seen.clone(),
        };
        let (settings_port, places) = (settings.clone(), Arc::new(Nowhere));
        let parts = Live { sources, settings: settings_port, places, tasks, window_memory: 1 << 24, ruling };
        let spouts =
            LiveSpouts { lines: lines.spout(), commands: commands.spout(), outcomes: outcomes.spout() };
        let topology = wiring::live(parts, spouts).unwrap();
        let start = Timestamp::from_secs(START as u64);
        let driver = TopologyTestDriver::with_config(topology, Config::default(), start);
        Self { driver, lines, commands, settings, seen, batch: 0, command: 0 }
    }

    fn now(&self) -> i64 {
        (self.driver.now().as_millis() / 1000) as i64
    }

    /// Requests of each address, `age` seconds old by the clock, as one batch.
    fn requests(&mut self, requests: &[(&str, usize)], age: i64) -> &mut Self {
        self.batch(requests, age, false)
    }

    fn batch(&mut self, requests: &[(&str, usize)], age: i64, rebuild: bool) -> &mut Self {
        let time = Second(self.now() - age);
        let time = time_local(time);
        let line = |ip: &str| format!("{ip} - - [{time}] \"GET /a?b HTTP/1.1\" 200 5 \"-\" \"-\"\n");
        let text: String = requests.iter().map(|(ip, n)| line(ip).repeat(*n)).collect();
        let mark = Mark {
            source: "access.log".into(),
            batch: self.batch,
            next: Position { offset: (self.batch + 1) * 1000, ..Position::default() },
            read_at: Moment(self.driver.now().as_millis() as i64),
            older: Vec::new(),
            rebuild,
            caught_up: true,
        };
        self.batch += 1;
        self.lines.push(LineBatch::new(text.into_bytes()).marked(mark));
        self.driver.run_until_idle();
        self
    }

    fn ask(&mut self, order: CommandOrder) -> Reply {
        self.command += 1;
        let at = Moment(self.driver.now().as_millis() as i64);
        self.commands.push(Command { id: self.command, at, order });
        self.driver.run_until_idle();
        let replies = self.seen.replies.lock().unwrap();
        replies.iter().find(|(id, _)| *id == self.command).expect("an answer").1.clone()
    }

    fn advance(&mut self, seconds: u64) -> &mut Self {
        // In steps, as ticks come.
        for _ in 0..seconds * 10 {
            self.driver.advance(Duration::from_millis(100));
        }
        self
    }

    /// What was handed to the sinks since the last call.
    fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.seen.changes.lock().unwrap())
    }

    fn banned(&self) -> Vec<Ban> {
        let banned = |change: Change| match change {
            Change::Banned(ban) => Some(ban),
            _ => None,
        };
        self.changes().into_iter().filter_map(banned).collect()
    }

    fn kept(&self) -> Vec<Entry> {
        self.seen.entries.lock().unwrap().clone()
    }
}

fn time_local(second: Second) -> String {
    // 2026-11-22T10:00:00Z → 22/Nov/2026:10:00:00 +0000; tests stay within that month.
    let text = second.to_string();
    format!("{}/Nov/2026:{} +0000", &text[8..10], &text[11..19])
}

fn target(text: &str) -> Network {
    text.parse().unwrap()
}

#[test]
fn a_flood_is_banned_kept_first_and_let_go_on_time() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[(ATTACKER, 9), ("192.0.2.1", 9)], 0);
    assert_eq!(site.changes(), []);
    site.requests(&[(ATTACKER, 5)], 0);
    let [ban] = &site.banned()[..] else { panic!("one ban") };
    assert_eq!(ban.target, target(ATTACKER));
    assert_eq!(ban.end, Moment((START + 60) * 1000));

    let kept = site.kept();
    let entry = kept.iter().find(|entry| !entry.events.is_empty()).unwrap();
    assert!(matches!(&entry.events[0], Event::Change(change) if change.ban() == ban), "{entry:?}");
    let Event::Record(record) = &entry.events[1] else { panic!("{entry:?}") };
    assert_eq!((record.record.alert, record.ban, record.direct), (Alert::Blocked, Some(ban.id), Some(true)));
    assert!(record.detail.as_ref().unwrap().contains("GET /a?b"), "{record:?}");
    assert_eq!(entry.mark.as_ref().unwrap().next.offset, 2_000, "kept with the place behind its lines");

    site.requests(&[(ATTACKER, 30)], 0);
    site.advance(59);
    assert_eq!(site.changes(), [], "while banned, and not over yet");
    site.advance(2);
    let [Change::Unbanned { ban: over, at, cause: Ended::Expired }] = &site.changes()[..] else { panic!() };
    assert_eq!(over, ban);
    assert!((0..=200).contains(&(at.0 - ban.end.0)), "{at:?}");
    let status = site.seen.status.lock().unwrap().clone();
    assert_eq!((status.lines.lines, status.bans, status.unbans, status.while_banned), (53, 1, 1, 34));
    site.requests(&[(ATTACKER, 10)], 0);
    assert_eq!(site.banned().len(), 1, "who goes on is banned again");
}

#[test]
fn a_ban_of_lagging_lines_lasts_its_whole_time() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[(ATTACKER, 10)], 100);
    let [ban] = &site.banned()[..] else { panic!("one ban") };
    assert_eq!((ban.decided, ban.start), (Second(START - 100), Moment(START * 1000)));
    assert_eq!(ban.length(), Seconds(60));
}

#[test]
fn old_lines_fill_windows_and_ban_nobody() {
    let mut site = Site::new(r#"{"count": 10, "threshold_secound": 300, "max_lateness": 3600}"#);
    site.requests(&[(ATTACKER, 50)], 301);
    assert_eq!(site.changes(), []);
    site.requests(&[(ATTACKER, 1)], 60);
    assert_eq!(site.banned().len(), 1, "the first that may decide finds the window full");
}

#[test]
fn lines_from_the_future_are_counted_and_dropped() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[(ATTACKER, 50)], -61);
    assert_eq!(site.changes(), []);
    site.requests(&[(ATTACKER, 10)], -60).advance(1);
    assert_eq!(site.banned().len(), 1);
    let status = site.seen.status.lock().unwrap().clone();
    assert_eq!((status.lines.future, status.lines.parsed), (50, 60));
}

#[test]
fn clocks_apart_are_told() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[("192.0.2.1", 1)], 1).advance(1);
    assert_eq!(*site.seen.alarms.lock().unwrap(), []);
    site.requests(&[("192.0.2.1", 1)], -5).advance(1);
    let alarms = site.seen.alarms.lock().unwrap().clone();
    let [Alarm { kind: "clock_skew", text, over: false }] = &alarms[..] else { panic!("{alarms:?}") };
    assert!(text.contains("ahead"), "{text}");
    site.advance(60);
    assert!(site.seen.alarms.lock().unwrap().last().unwrap().over);
}

#[test]
fn an_unban_by_hand_starts_anew() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[(ATTACKER, 10)], 0);
    site.changes();
    let reply = site.ask(CommandOrder::Unban(target(ATTACKER)));
    assert!(matches!(&reply, Reply::Done(changes) if changes.len() == 1), "{reply:?}");
    assert!(matches!(&site.changes()[..], [Change::Unbanned { cause: Ended::ByHand, .. }]));
    site.requests(&[(ATTACKER, 9)], 0);
    assert_eq!(site.changes(), [], "what came before doesn't count any more");
    site.requests(&[(ATTACKER, 1)], 0);
    assert_eq!(site.banned().len(), 1);
    let reply = site.ask(CommandOrder::Unban(target("192.0.2.77")));
    assert!(matches!(reply, Reply::Refused(why) if why.contains("192.0.2.77")));
}

#[test]
fn a_ban_by_hand_holds_for_its_time_and_stops_at_the_guards() {
    let mut site = Site::new(SETTINGS);
    let ask = |text: &str| {
        CommandOrder::Ban(AskedBan { target: target(text), length: Seconds(30), note: Some("n".into()) })
    };
    site.ask(ask(ATTACKER));
    site.ask(ask("2001:db8::/32"));
    assert_eq!(site.banned().len(), 2);
    for guarded in ["198.51.100.7", "127.0.0.1", "0.0.0.0/0", "198.51.0.0/16"] {
        assert!(matches!(site.ask(ask(guarded)), Reply::Refused(_)), "{guarded}");
    }
    site.requests(&[(ATTACKER, 50)], 0);
    assert_eq!(site.changes(), [], "it is banned already");
    site.advance(31);
    assert_eq!(site.changes().len(), 2, "both are over");
}

#[test]
fn who_comes_on_the_allowlist_is_let_go() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[(ATTACKER, 10), ("198.51.100.7", 50)], 0);
    assert_eq!(site.banned().len(), 1);
    let settings = SETTINGS.replace("198.51.100.0/24", ATTACKER);
    site.settings.store(Settings::parse(settings).unwrap().settings);
    site.advance(1);
    assert!(matches!(&site.changes()[..], [Change::Unbanned { cause: Ended::Guarded, .. }]));
    site.requests(&[(ATTACKER, 50)], 0);
    assert_eq!(site.changes(), []);
}

#[test]
fn a_wrong_threshold_is_held() {
    let json = r#"{"count": 2, "threshold_secound": 1000, "block_second": 60, "max_banned_share": 0.2}"#;
    let mut site = Site::new(r#"{"count": 1000}"#);
    let clients: Vec<String> = (0..250).map(|i| format!("192.0.2.{i}")).collect();
    let visit: Vec<(&str, usize)> = clients.iter().map(|ip| (&**ip, 1)).collect();
    site.requests(&visit, 0).advance(601);
    site.requests(&visit, 0);
    site.settings.store(Settings::parse(json).unwrap().settings);
    // Everybody's windows are filled by the next visit, and a thousand bots come too.
    let bots: Vec<String> = (0..1000).map(|i| format!("10.1.{}.{}", i / 250, i % 250)).collect();
    let mut crowd = visit.clone();
    crowd.extend(bots.iter().map(|ip| (&**ip, 2)));
    site.requests(&crowd, 0).requests(&visit, 0).advance(1);
    let (mut bots, mut visitors, mut held) = (0, 0, 0);
    for change in site.changes() {
        match change {
            Change::Banned(ban) if ban.established => visitors += 1,
            Change::Banned(_) => bots += 1,
            Change::Held { cap: Cap::BannedShare, .. } => held += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((bots, visitors, held), (1000, 50, 200), "a fifth of the established, and all bots");
    assert_eq!(site.seen.alarms.lock().unwrap()[0].kind, "held_bans");

    site.requests(&visit, 0);
    let while_banned = site.seen.status.lock().unwrap().while_banned;
    assert!(while_banned <= 50, "{while_banned}: nobody whose ban is held is while banned");
    site.changes();
    assert!(matches!(site.ask(CommandOrder::Release(Some(target(&clients[249])))), Reply::Done(_)));
    assert!(matches!(&site.changes()[..], [Change::Unheld { released: true, .. }, Change::Banned(_)]));
    assert!(matches!(site.ask(CommandOrder::Release(Some(target(&clients[249])))), Reply::Refused(_)));
    site.advance(61);
    let expired = site.changes().into_iter().filter(|c| matches!(c, Change::Unheld { released: false, .. }));
    assert_eq!(expired.count(), 199, "what nobody released is over by itself");
    assert!(site.seen.alarms.lock().unwrap().last().unwrap().over);
}

#[test]
fn a_restart_knows_bans_and_windows() {
    let mut site = Site::with(SETTINGS, Ledger::default(), 1);
    let other = "192.0.2.50";
    site.requests(&[(ATTACKER, 10), (other, 10)], 0);
    site.ask(CommandOrder::Unban(target(other)));
    let mut ledger = Ledger::default();
    site.changes().iter().for_each(|change| ledger.apply(change));

    let mut again = Site::with(SETTINGS, ledger, 2);
    // The same lines and some of a third, as the spout brings them back.
    again.advance(2);
    again.batch(&[(ATTACKER, 10), (other, 10), ("192.0.2.3", 9)], 2, true);
    assert_eq!(again.changes(), [], "they were decided on");
    again.requests(&[(ATTACKER, 50), (other, 9), ("192.0.2.3", 1)], 1);
    let banned: Vec<Network> = again.banned().iter().map(|ban| ban.target).collect();
    assert_eq!(banned, [target("192.0.2.3")], "one is banned, one was let go, and one goes on where it was");
    again.advance(60);
    let ended = again.changes().into_iter().filter(|c| matches!(c, Change::Unbanned { .. })).count();
    assert_eq!(ended, 2, "the ban of the time before the restart ends too");
}

#[test]
fn with_several_tasks_a_batch_is_kept_as_a_whole() {
    let mut site = Site::with(SETTINGS, Ledger::default(), 4);
    let clients: Vec<String> = (0..40).map(|i| format!("192.0.2.{i}")).collect();
    let flood: Vec<(&str, usize)> = clients.iter().map(|ip| (&**ip, 10)).collect();
    site.requests(&flood, 0);
    assert_eq!(site.banned().len(), 40);
    let entries: Vec<Entry> = site.kept().into_iter().filter(|entry| !entry.events.is_empty()).collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].events.len(), 80);
}

#[test]
fn settings_change_at_the_next_batch_and_windows_stay() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[(ATTACKER, 9)], 0);
    site.settings.store(Settings::parse(SETTINGS.replace("10", "5")).unwrap().settings);
    site.requests(&[(ATTACKER, 1)], 0);
    let [ban] = &site.banned()[..] else { panic!("one ban") };
    assert_eq!(ban.count, 5);
}

#[test]
fn places_in_the_log_are_kept_also_where_nothing_happens() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[("192.0.2.1", 1)], 0).requests(&[("192.0.2.1", 1)], 0);
    site.advance(2);
    let marks: Vec<u64> = site.kept().iter().map(|e| e.mark.as_ref().unwrap().next.offset).collect();
    assert_eq!(marks, [2_000]);
}

#[test]
fn a_ban_that_follows_at_once_ends_the_one_before() {
    let mut site = Site::new(&SETTINGS.replace("60", "0"));
    site.requests(&[(ATTACKER, 25)], 0);
    let changes = site.changes();
    let kinds: Vec<&str> = changes
        .iter()
        .map(|change| match change {
            Change::Banned(_) => "ban",
            Change::Unbanned { .. } => "unban",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["ban"], "the rest of the second is while banned");
    site.driver.advance(Duration::from_millis(1));
    let ask = CommandOrder::Ban(AskedBan { target: target(ATTACKER), length: Seconds(5), note: None });
    site.ask(ask);
    let changes = site.changes();
    assert!(
        matches!(&changes[..], [Change::Unbanned { cause: Ended::Expired, .. }, Change::Banned(_)]),
        "{changes:?}"
    );
}

#[test]
fn what_is_held_stays_held_until_somebody_looks() {
    let settings = SETTINGS.replace("{", r#"{"max_new_bans_per_minute": 1, "#);
    let mut site = Site::new(&settings.replace("60", "600"));
    let others = ["192.0.2.1", "192.0.2.2"];
    site.requests(&[(ATTACKER, 10), (others[0], 10), (others[1], 10)], 0);
    let held = site.changes().into_iter().filter(|change| matches!(change, Change::Held { .. })).count();
    assert_eq!(held, 2);
    site.advance(120);
    site.requests(&[(others[0], 10), (others[1], 10)], 0);
    assert_eq!(site.changes(), [], "room under the cap doesn't mean that somebody has looked");

    let settings = settings.replace("198.51.100.0/24", "192.0.2.1");
    site.settings.store(Settings::parse(settings).unwrap().settings);
    assert!(matches!(site.ask(CommandOrder::Release(None)), Reply::Done(_)));
    let changes = site.changes();
    let banned: Vec<&Ban> = changes
        .iter()
        .filter_map(|change| if let Change::Banned(ban) = change { Some(ban) } else { None })
        .collect();
    assert_eq!(banned.len(), 1, "{changes:?}");
    assert_eq!(banned[0].target, target(others[1]), "the other one came on the allowlist meanwhile");
}

#[test]
fn an_address_of_ipv6_is_unbanned_by_itself() {
    let mut site = Site::new(SETTINGS);
    site.requests(&[("2001:db8:1:2::7", 10)], 0);
    assert_eq!(site.banned()[0].target, target("2001:db8:1:2::/64"));
    let refused = site.ask(CommandOrder::Unban(target("2001:db8::/32")));
    assert!(matches!(refused, Reply::Refused(why) if why.contains("2001:db8:1:2::/64")));
    let reply = site.ask(CommandOrder::Unban(target("2001:db8:1:2::9")));
    assert!(matches!(reply, Reply::Done(changes) if changes.len() == 1));
}

#[test]
fn a_clock_that_is_set_changes_no_bans_length() {
    for millis in [7_200_000, -7_200_000] {
        let mut site = Site::new(SETTINGS);
        site.requests(&[(ATTACKER, 10)], 0);
        let before = site.banned()[0].clone();
        site.ask(CommandOrder::ClockStep { millis });
        let changes = site.changes();
        let [Change::Extended(after)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((after.end.0 - before.end.0, after.length()), (millis, before.length()));
    }
}

#[test]
fn after_a_restart_requests_of_a_bans_time_still_dont_count() {
    let mut site = Site::new(&SETTINGS.replace("60", "3"));
    // The line came late, so the ban lasts longer than event time alone says.
    site.requests(&[(ATTACKER, 10)], 2);
    let mut ledger = Ledger::default();
    site.advance(4);
    site.changes().iter().for_each(|change| ledger.apply(change));
    assert!(ledger.is_empty(), "it is over");

    let mut again = Site::with(&SETTINGS.replace("60", "3"), ledger, 1);
    again.advance(4);
    again.batch(&[(ATTACKER, 10)], 6, true).batch(&[(ATTACKER, 9)], 2, true);
    again.requests(&[(ATTACKER, 1)], 0);
    assert_eq!(again.changes(), [], "nine of them came while it was banned");
    again.requests(&[(ATTACKER, 9)], 0);
    assert_eq!(again.banned().len(), 1);
}
