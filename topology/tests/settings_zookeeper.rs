//! Settings in a real ZooKeeper: what is in order comes into force at once, what isn't changes nothing and is told.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod zookeeper;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bolts::ports::{Alarm, Notifier, SettingsPort};
use model::network::Network;
use model::settings::Document;
use model::units::Moment;
use real_servers::Servers;
use tempfile::TempDir;
use topology::adapters::host::{Guard, HostGuards};
use topology::adapters::settings_file::{ALARM, NoSettings, Origin};
use topology::adapters::settings_watch::{SettingsSource as _, SettingsWatch};
use topology::adapters::settings_zookeeper::{AWAY, LAST_GOOD, SettingsZooKeeper};
use topology::config::Protect;
use zk_config::ZooKeeper;
use zookeeper::{PATIENCE, connect, create, delete, ensemble, place, write_directly};

#[derive(Default)]
struct Told(Mutex<Vec<Alarm>>);

impl Notifier for Told {
    fn notify(&self, alarm: Alarm) {
        self.0.lock().unwrap().push(alarm);
    }
}

/// A state folder, and a clock that the test turns.
struct Bench {
    folder: TempDir,
    told: Arc<Told>,
    now: Moment,
    seed: Option<PathBuf>,
    settings: Option<SettingsZooKeeper>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, told: Arc::default(), now: Moment(1_000_000), seed: None, settings: None }
    }

    fn last_good(&self) -> PathBuf {
        self.folder.path().join(LAST_GOOD)
    }

    fn open(&mut self, zookeeper: &ZooKeeper) -> anyhow::Result<()> {
        self.settings = None;
        let (folder, seed) = (self.folder.path(), self.seed.as_deref());
        let told = self.told.clone();
        self.settings = Some(SettingsZooKeeper::open(zookeeper, folder, seed, told, self.now)?);
        Ok(())
    }

    fn settings(&mut self) -> &mut SettingsZooKeeper {
        self.settings.as_mut().unwrap()
    }

    fn count(&self) -> u32 {
        self.settings.as_ref().unwrap().port().load().settings().count.get()
    }

    fn errors(&self) -> Vec<String> {
        let status = self.settings.as_ref().unwrap().status().load();
        status.errors.iter().map(ToString::to_string).collect()
    }

    fn origin(&self) -> Origin {
        self.settings.as_ref().unwrap().status().load().origin
    }

    /// Steps, 50 ms of the test's clock each, until it is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(
                Instant::now() < end,
                "{what}: not within {PATIENCE:?}; {:?}",
                self.told.0.lock().unwrap()
            );
            let _ = self.settings().news().recv_timeout(Duration::from_millis(20));
            self.now.0 += 50;
            let now = self.now;
            self.settings().step(now);
        }
    }

    /// Takes the alarms of a kind so far.
    fn told(&self, kind: &str) -> Vec<Alarm> {
        self.told.0.lock().unwrap().extract_if(.., |alarm| alarm.kind == kind).collect()
    }
}

fn authors(zookeeper: &ZooKeeper) -> Vec<(i32, String)> {
    zookeeper.history().unwrap().into_iter().map(|entry| (entry.version, entry.who)).collect()
}

#[test]
fn created_from_the_defaults_and_every_change_holds_at_once() {
    let Some((_servers, place)) = place() else { return };
    let zookeeper = connect(&place);
    let mut bench = Bench::new();
    bench.open(&zookeeper).unwrap();
    assert_eq!((bench.count(), bench.origin()), (200, Origin::ZooKeeper));
    let mut node = zookeeper.read_settings().unwrap().unwrap();
    assert_eq!(node.text, Document::default().to_json().as_bytes());
    assert!(authors(&zookeeper)[0].1.ends_with("from the defaults"), "{:?}", authors(&zookeeper));

    let (port, status) = (bench.settings().port(), bench.settings().status());
    let guards = HostGuards::new(bench.folder.path().join("root"), Protect::default(), &[])
        .with_own_addresses(Box::new(|| Ok(vec!["192.0.2.1".parse().unwrap()])));
    let watch = SettingsWatch::start(bench.settings.take().unwrap(), guards).unwrap();
    assert!(port.load().settings().guards(&"192.0.2.1".parse().unwrap()));
    let mut fastest = Duration::MAX;
    for count in 1..=20 {
        node = zookeeper.write_settings(&format!("{{\"count\": {count}}}"), node.expected(), "ann").unwrap();
        fastest = fastest.min(until(&port, |port| port.load().settings().count.get() == count));
    }
    // Each write follows the one before at once, so looking every second would take nearly a second each
    // time. A busy machine may take longer now and then.
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
    assert!(port.load().settings().guards(&"192.0.2.1".parse().unwrap()), "what the machine needs stays");
    drop(watch);
    assert_eq!(status.load().errors.len(), 0);
    assert_eq!(fs::read_to_string(bench.last_good()).unwrap(), "{\"count\": 20}");
    assert_eq!(bench.told.0.lock().unwrap().as_slice(), []);
}

/// Waits until something holds.
fn until(port: &SettingsPort, holds: impl Fn(&SettingsPort) -> bool) -> Duration {
    let began = Instant::now();
    while !holds(port) {
        assert!(began.elapsed() < PATIENCE, "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

#[test]
fn the_file_is_what_they_are_created_from_and_no_more() {
    let Some((_servers, place)) = place() else { return };
    let zookeeper = connect(&place);
    let mut bench = Bench::new();
    let seed = bench.folder.path().join("settings.json");
    bench.seed = Some(seed.clone());
    let error = bench.open(&zookeeper).unwrap_err();
    assert!(
        error.downcast_ref::<NoSettings>().is_some() && format!("{error:#}").contains("settings.json"),
        "{error:#}"
    );
    fs::write(&seed, "{\"count\": 0, \"if_block\": 7}").unwrap();
    let error = bench.open(&zookeeper).unwrap_err();
    assert_eq!(error.downcast_ref::<NoSettings>().unwrap().errors.len(), 2, "{error:#}");
    assert_eq!(zookeeper.read_settings().unwrap(), None, "nothing is created of errors");

    fs::write(&seed, "\u{feff}{\"count\": 33}").unwrap();
    bench.open(&zookeeper).unwrap();
    assert_eq!(bench.count(), 33);
    let node = zookeeper.read_settings().unwrap().unwrap();
    zookeeper.write_settings("{\"count\": 44}", node.expected(), "ann").unwrap();
    fs::write(&seed, "{\"count\": 55}").unwrap();
    bench.open(&zookeeper).unwrap();
    assert_eq!(bench.count(), 44);
    // The file is used by nobody any more, so errors in it don't matter.
    fs::write(&seed, "{").unwrap();
    Bench { seed: Some(seed), ..Bench::new() }.open(&zookeeper).unwrap();
}

#[test]
fn what_is_not_in_order_never_holds_and_is_told_with_every_error() {
    let Some((_servers, place)) = place() else { return };
    let zookeeper = connect(&place);
    let mut bench = Bench::new();
    // The first write makes the root.
    zookeeper.create_settings_if_absent("{}", "test").unwrap();
    delete(&place);
    create(&place, b"{\"count\": 1}");
    bench.open(&zookeeper).unwrap();
    assert_eq!(bench.count(), 1);
    let huge = vec![b'x'; 1_040_000];
    let many = format!("{{{}}}", (0..10_000).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(","));
    let deep = b"[".repeat(500_000);
    for (bad, expect) in [
        (
            &b"{\"count\": 0, \"special_rule\": {\"/a\": {\"blok_second\": 7}}}"[..],
            "special_rule[\"/a\"].blok_second: ",
        ),
        (b"", "there is nothing in it"),
        (b"{\"count\": 5", "not JSON"),
        (b"\x00\x01\x02\xff\xfe", "not JSON"),
        (b"{\"default_host\": \"\xff\"}", "invalid unicode"),
        (&huge, "not JSON"),
        (many.as_bytes(), "k9999: unknown key"),
        (&deep, "recursion limit"),
        (b"{\"count\": \"1e9\"}", "count: must be"),
        (b"{\"count\": 2, \"count\": 3}", "count: given more than once"),
    ] {
        write_directly(&place, bad);
        bench.until(expect, |bench| bench.errors().iter().any(|error| error.contains(expect)));
        bench.until("the alarm", |bench| bench.told(ALARM).iter().any(|alarm| !alarm.over));
        assert_eq!((bench.count(), bench.origin()), (1, Origin::ZooKeeper));
        assert_eq!(fs::read(bench.last_good()).unwrap(), b"{\"count\": 1}");
    }
    delete(&place);
    bench.until("told that it's gone", |bench| {
        bench.told(ALARM).iter().any(|alarm| !alarm.over && alarm.text.contains("there is no node"))
    });
    assert_eq!(bench.count(), 1);
    create(&place, b"{\"count\": 22}");
    bench.until("in order again", |bench| bench.count() == 22);
    assert!(bench.errors().is_empty());
    assert!(bench.told(ALARM).iter().any(|alarm| alarm.over));
    let accepted =
        |authors: Vec<(i32, String)>| authors.iter().all(|(version, _)| *version == 0) && authors.len() == 3;
    bench.until("recorded, and nothing else", |_| accepted(authors(&zookeeper)));
    assert_eq!(bench.told(AWAY), []);
}

#[test]
fn an_edit_by_zookeepers_own_shell_holds_and_is_recorded_once() {
    let Some((servers, place)) = place() else { return };
    let (one, other) = (connect(&place), connect(&place));
    let (mut first, mut second) = (Bench::new(), Bench::new());
    first.open(&one).unwrap();
    second.open(&other).unwrap();
    servers.zkcli(&["set", &format!("{}/config", place.root), "{\"count\":7}"]);
    for bench in [&mut first, &mut second] {
        bench.until("in force", |bench| bench.count() == 7);
    }
    first.until("recorded", |_| authors(&one).len() == 2);
    assert_eq!(authors(&one)[0], (1, "unknown (written directly)".to_owned()));
    servers.zkcli(&["set", &format!("{}/config", place.root), "{\"count\":0}"]);
    first.until("refused", |bench| !bench.errors().is_empty());
    assert_eq!((first.count(), authors(&one).len()), (7, 2));
}

#[test]
fn what_was_written_while_nobody_ran_is_recorded_too() {
    let Some((_servers, place)) = place() else { return };
    let zookeeper = connect(&place);
    zookeeper.create_settings_if_absent("{}", "test").unwrap();
    write_directly(&place, b"{\"count\": 3}");
    let mut bench = Bench::new();
    bench.open(&zookeeper).unwrap();
    let version = bench.settings().status().load().version;
    bench.until("recorded", |_| authors(&zookeeper).len() == 2);
    assert_eq!(bench.settings().status().load().version, version, "it isn't put in force twice");
}

#[test]
fn rules_keep_their_numbers() {
    let Some((_servers, place)) = place() else { return };
    let zookeeper = connect(&place);
    let mut bench = Bench::new();
    bench.open(&zookeeper).unwrap();
    let mut numbers = Vec::new();
    for (rules, count) in [
        ("\"/a\": {}, \"/b\": {}", 1),
        ("\"/b\": {}, \"/c\": {}", 2),
        ("\"/c\": {}, \"/b\": {}, \"/a\": {}", 3),
    ] {
        let node = zookeeper.read_settings().unwrap().unwrap();
        let text = format!("{{\"count\": {count}, \"special_rule\": {{{rules}}}}}");
        zookeeper.write_settings(&text, node.expected(), "ann").unwrap();
        bench.until("in force", |bench| bench.count() == count);
        let held = bench.settings().port().load();
        let number = held.settings().rules.iter().find(|(_, rule)| &*rule.name == "/b").map(|(id, _)| id);
        numbers.push(number.unwrap());
    }
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
    let guard: (Network, Guard) = ("192.0.2.1".parse().unwrap(), Guard::Gateway);
    bench.settings().protect(vec![guard]);
    let held = bench.settings().port().load();
    assert!(held.settings().rules.iter().any(|(id, rule)| id == numbers[0] && &*rule.name == "/b"));
}

#[test]
fn a_restart_while_zookeeper_is_away_starts_with_what_held() {
    let Some(servers) = Servers::own("settings") else { return };
    let place = ensemble(&servers.up("zookeeper"));
    let mut bench = Bench::new();
    {
        let zookeeper = connect(&place);
        zookeeper.create_settings_if_absent("{\"count\": 21}", "test").unwrap();
        bench.open(&zookeeper).unwrap();
        // Away while it runs.
        servers.kill("zookeeper");
        bench.until("told that it's away", |bench| bench.told(AWAY).iter().any(|alarm| !alarm.over));
        assert_eq!((bench.count(), bench.errors().len()), (21, 0));
        assert_eq!(bench.told(ALARM), []);
    }
    let zookeeper = ZooKeeper::start(place.clone()).unwrap();
    bench.open(&zookeeper).unwrap();
    assert_eq!((bench.count(), bench.origin()), (21, Origin::LastGood));
    bench.until("told", |bench| {
        bench
            .told(ALARM)
            .iter()
            .any(|alarm| alarm.text.contains("before the restart") && alarm.text.contains("hasn't answered"))
    });
    bench.until("told that it's away", |bench| bench.told(AWAY).iter().any(|alarm| !alarm.over));

    servers.up("zookeeper");
    bench.until("back", |bench| bench.origin() == Origin::ZooKeeper);
    bench.until("told that it's back", |bench| bench.told(AWAY).iter().any(|alarm| alarm.over));
    assert!(bench.told(ALARM).iter().any(|alarm| alarm.over));
    write_directly(&place, b"{\"count\": 22}");
    bench.until("in force", |bench| bench.count() == 22);
    bench.until("recorded", |_| authors(&zookeeper).len() == 2);

    // What is wrong at a start doesn't hold either, and somebody who knows of nothing better doesn't start.
    write_directly(&place, b"{\"count\": 0}");
    bench.until("refused", |bench| !bench.errors().is_empty());
    bench.open(&zookeeper).unwrap();
    assert_eq!((bench.count(), bench.origin(), bench.errors().len()), (22, Origin::LastGood, 1));
    let error = Bench::new().open(&zookeeper).unwrap_err();
    assert_eq!(error.downcast_ref::<NoSettings>().unwrap().errors[0].path, "count");

    // Deleted while nobody looked: what held before is more than the defaults.
    bench.settings = None;
    delete(&place);
    bench.open(&zookeeper).unwrap();
    assert_eq!((bench.count(), bench.origin()), (22, Origin::ZooKeeper));
    assert!(authors(&zookeeper)[0].1.ends_with("from what held before"), "{:?}", authors(&zookeeper));
}

#[test]
fn without_zookeeper_and_without_anything_kept_there_is_no_start() {
    // Nobody listens on port 1.
    let zookeeper = ZooKeeper::start(ensemble("127.0.0.1:1")).unwrap();
    let mut bench = Bench::new();
    fs::write(bench.last_good(), "{\"count\": 0}").unwrap();
    let began = Instant::now();
    let error = bench.open(&zookeeper).unwrap_err();
    let took = began.elapsed();
    assert!((Duration::from_secs(14)..Duration::from_secs(25)).contains(&took), "{took:?}");
    assert!(error.downcast_ref::<NoSettings>().is_none(), "it isn't the settings that have errors");
    let error = format!("{error:#}");
    assert!(error.contains("there are no settings") && error.contains("127.0.0.1:1"), "{error}");
}
