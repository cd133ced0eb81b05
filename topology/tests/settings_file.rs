//! Settings in a file: what is in order comes into force, what isn't changes nothing and is told.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bolts::ports::{Alarm, Notifier, SettingsPort};
use model::network::Network;
use model::units::Moment;
use proptest::prelude::*;
use tempfile::TempDir;
use topology::adapters::host::{Guard, HostGuards};
use topology::adapters::settings_file::{ALARM, LAST_GOOD, LONGEST, Origin, SettingsFile};
use topology::adapters::settings_watch::{SettingsSource as _, SettingsWatch};
use topology::config::Protect;

#[derive(Default)]
struct Told(Mutex<Vec<(String, bool)>>);

impl Notifier for Told {
    fn notify(&self, alarm: Alarm) {
        assert_eq!(alarm.kind, ALARM);
        self.0.lock().unwrap().push((alarm.text, alarm.over));
    }
}

/// A folder with a settings file, and a clock that the test turns.
struct Bench {
    folder: TempDir,
    told: Arc<Told>,
    now: Moment,
    file: Option<SettingsFile>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, told: Arc::default(), now: Moment(1_000_000), file: None }
    }

    fn with(json: &str) -> Self {
        let mut bench = Self::new();
        bench.write(json);
        bench.open().unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("settings.json")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn last_good(&self) -> PathBuf {
        self.state().join(LAST_GOOD)
    }

    fn write(&self, json: &str) {
        fs::write(self.path(), json).unwrap();
    }

    fn open(&mut self) -> Result<(), String> {
        let file = SettingsFile::open(Some(self.path()), &self.state(), self.told.clone(), self.now);
        self.file = Some(file.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn file(&mut self) -> &mut SettingsFile {
        self.file.as_mut().unwrap()
    }

    /// One look, 50 ms later.
    fn step(&mut self) {
        self.now.0 += 50;
        let now = self.now;
        self.file().step(now);
    }

    fn steps(&mut self, n: usize) {
        (0..n).for_each(|_| self.step());
    }

    fn count(&mut self) -> u32 {
        self.file().port().load().settings().count.get()
    }

    fn version(&mut self) -> u32 {
        let version = self.file().port().load().version().number;
        assert_eq!(self.file().status().load().version, version);
        version
    }

    fn told(&self) -> Vec<(String, bool)> {
        std::mem::take(&mut *self.told.0.lock().unwrap())
    }
}

#[test]
fn a_change_is_in_force_at_the_next_look() {
    let mut bench = Bench::with("{\"count\": 1}");
    assert_eq!((bench.count(), bench.version()), (1, 1));
    bench.steps(30);
    assert_eq!(bench.version(), 1);
    bench.write("{\"count\": 22}");
    bench.step();
    assert_eq!((bench.count(), bench.version()), (22, 2));
    let status = bench.file().status().load();
    assert_eq!((status.origin, status.loaded_at, status.errors.len()), (Origin::File, bench.now, 0));
    assert!(status.document.contains("\"count\": 22"), "{}", status.document);
    assert_eq!(fs::read_to_string(bench.last_good()).unwrap(), "{\"count\": 22}");
    assert_eq!(bench.told(), []);
}

#[test]
fn the_same_bytes_again_are_no_change() {
    let mut bench = Bench::with("{\"count\": 1}");
    bench.steps(30);
    bench.write("{\"count\": 1}");
    bench.steps(30);
    assert_eq!(bench.version(), 1);
}

#[test]
fn warnings_are_told_in_the_status() {
    let mut bench = Bench::with("{\"if_block\": false, \"if_warning\": false}");
    assert_eq!(bench.file().status().load().warnings[0].path, "if_block");
    bench.write("{}");
    bench.step();
    assert_eq!(bench.file().status().load().warnings.len(), 0);
}

#[test]
fn a_broken_edit_changes_nothing_and_is_told_with_all_errors_until_it_is_mended() {
    let mut bench = Bench::with("{\"count\": 1}");
    bench.write("{\"count\": 0, \"blok_second\": 7}");
    bench.steps(6);
    assert_eq!(bench.told(), [], "it might heal");
    bench.steps(20);
    assert_eq!((bench.count(), bench.version()), (1, 1));
    let told = bench.told();
    assert_eq!(told.len(), 1, "{told:#?}");
    let (text, over) = &told[0];
    assert!(!over && text.contains("2 errors\ncount: ") && text.contains("`block_second`?"), "{text}");
    assert_eq!(bench.file().status().load().errors.len(), 2);

    bench.write("{\"count\": 0}");
    bench.steps(20);
    let told = bench.told();
    assert!(told.len() == 1 && told[0].0.contains("1 error\n") && !told[0].1, "{told:#?}");

    bench.write("{\"count\": 333}");
    bench.step();
    assert_eq!((bench.count(), bench.version()), (333, 2));
    let told = bench.told();
    assert!(told.len() == 1 && told[0].1, "{told:#?}");
    assert_eq!(bench.file().status().load().errors.len(), 0);
}

#[test]
fn a_file_that_is_written_in_steps_is_no_alarm() {
    let mut bench = Bench::with("{\"count\": 1}");
    for part in ["", "{", "{\"count\": ", "{\"count\": 4444"] {
        bench.write(part);
        bench.step();
        assert_eq!(bench.count(), 1);
    }
    fs::remove_file(bench.path()).unwrap();
    bench.step();
    bench.write("{\"count\": 4444}");
    bench.step();
    bench.steps(20);
    assert_eq!((bench.count(), bench.version()), (4444, 2));
    assert_eq!(bench.told(), []);
}

#[test]
fn a_file_that_never_comes_to_rest_is_told_once_and_again_when_it_rests() {
    let mut bench = Bench::with("{\"count\": 1}");
    for n in 0..40 {
        bench.write(&"x".repeat(n));
        bench.step();
    }
    assert_eq!(bench.told().len(), 1);
    bench.write("{\"count\": false}");
    bench.steps(10);
    let told = bench.told();
    assert!(told.len() == 1 && told[0].0.contains("count: "), "{told:#?}");
}

#[test]
fn a_clock_that_is_set_back_delays_no_alarm_for_long() {
    let mut bench = Bench::with("{\"count\": 1}");
    bench.write("{");
    bench.step();
    bench.now = Moment(0);
    bench.steps(8);
    assert_eq!(bench.told().len(), 1);
    bench.write("{\"count\": 22}");
    bench.step();
    assert_eq!(bench.count(), 22);
}

#[test]
fn a_rename_over_it_and_a_symlink_that_is_swapped() {
    let mut bench = Bench::with("{\"count\": 1}");
    let folder = bench.folder.path().to_owned();
    fs::write(folder.join("new"), "{\"count\": 22}").unwrap();
    fs::rename(folder.join("new"), bench.path()).unwrap();
    bench.step();
    assert_eq!(bench.count(), 22);

    // As Kubernetes does it: settings.json -> ..data/settings.json, ..data -> a folder; ..data is replaced.
    for (name, count) in [("one", 333), ("two", 4444)] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("settings.json"), format!("{{\"count\": {count}}}")).unwrap();
    }
    symlink("one", folder.join("..data")).unwrap();
    fs::remove_file(bench.path()).unwrap();
    symlink("..data/settings.json", bench.path()).unwrap();
    bench.step();
    assert_eq!(bench.count(), 333);
    bench.steps(30);
    symlink("two", folder.join("..tmp")).unwrap();
    fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
    bench.step();
    assert_eq!(bench.count(), 4444);
    assert_eq!(bench.told(), []);
}

#[test]
fn what_is_no_file_to_read() {
    let check = |break_it: &dyn Fn(&Path), expect: &str| {
        let mut bench = Bench::with("{\"count\": 1}");
        fs::remove_file(bench.path()).unwrap();
        break_it(&bench.path());
        bench.steps(20);
        let told = bench.told();
        assert!(told.len() == 1 && told[0].0.contains(expect), "{told:#?}");
        assert_eq!(bench.count(), 1);
        assert_eq!(bench.file().status().load().errors.len(), 1);
        if bench.path().is_dir() { fs::remove_dir(bench.path()) } else { fs::remove_file(bench.path()) }
            .unwrap_or_default();
        bench.write("{\"count\": 1}");
        bench.step();
        assert!(bench.told()[0].1, "it is over");
    };
    check(&|_| {}, "the file isn't there");
    check(&|path| fs::create_dir(path).unwrap(), "it is no plain file");
    check(&|path| symlink(path, path).unwrap(), "they can't be read");
    check(&|path| fs::File::create(path).unwrap().set_len(LONGEST + 1).unwrap(), "longer than 16 MiB");
    // Whoever opens a pipe in the usual way waits for a writer.
    let pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    check(&pipe, "it is no plain file");
}

#[test]
fn many_errors_are_told_in_part() {
    let mut bench = Bench::with("{}");
    let keys: Vec<String> = (0..200).map(|n| format!("\"key{n}\": 1")).collect();
    bench.write(&format!("{{{}}}", keys.join(",")));
    bench.steps(10);
    let told = bench.told();
    assert!(told[0].0.contains("200 errors\nkey0: ") && told[0].0.ends_with("… and 150 more"), "{told:#?}");
    assert_eq!(bench.file().status().load().errors.len(), 200);
}

#[test]
fn a_restart_with_a_broken_file_starts_with_the_last_good_one() {
    let mut bench = Bench::with("{\"count\": 22}");
    bench.write("{\"count\": 0}");
    bench.open().unwrap();
    assert_eq!(bench.count(), 22);
    let status = bench.file().status().load();
    assert_eq!((status.origin, status.errors.len()), (Origin::LastGood, 1));
    bench.steps(10);
    let told = bench.told();
    assert!(told.len() == 1 && told[0].0.contains("before the restart"), "{told:#?}");
    bench.write("{\"count\": 333}");
    bench.step();
    assert_eq!((bench.count(), bench.file().status().load().origin), (333, Origin::File));
    assert!(bench.told()[0].1);
}

#[test]
fn without_a_last_good_one_a_broken_file_is_an_error_with_everything() {
    let mut bench = Bench::new();
    bench.write("{\"count\": 0, \"if_block\": 7}");
    let error = bench.open().unwrap_err();
    assert!(error.contains("2 errors\ncount: ") && error.contains("if_block: "), "{error}");
    fs::create_dir(bench.state()).unwrap();
    fs::write(bench.last_good(), "{\"count\": -1}").unwrap();
    assert!(bench.open().is_err());
}

#[test]
fn without_a_file_the_defaults_hold_until_it_comes() {
    let mut bench = Bench::new();
    bench.open().unwrap();
    assert_eq!((bench.count(), bench.file().status().load().origin), (200, Origin::Defaults));
    bench.steps(10);
    assert!(bench.told()[0].0.contains("the defaults hold"));
    bench.write("{\"count\": 1}");
    bench.step();
    assert_eq!(bench.count(), 1);

    let mut none = Bench::new();
    let file = SettingsFile::open(None, &none.state(), none.told.clone(), none.now).unwrap();
    none.file = Some(file);
    none.steps(20);
    assert_eq!((none.count(), none.told()), (200, vec![]));
}

#[test]
fn what_could_not_be_kept_is_kept_later() {
    let mut bench = Bench::new();
    bench.write("{\"count\": 1}");
    fs::write(bench.state(), "no folder").unwrap();
    bench.open().unwrap();
    assert_eq!(bench.count(), 1);
    fs::remove_file(bench.state()).unwrap();
    bench.steps(100);
    assert!(!bench.last_good().exists(), "it isn't tried all the time");
    bench.steps(110);
    assert_eq!(fs::read_to_string(bench.last_good()).unwrap(), "{\"count\": 1}");
}

#[test]
fn what_the_machine_needs_is_protected_whatever_the_file_says() {
    let mut bench = Bench::with("{\"protected\": [\"10.0.0.0/8\"]}");
    let guard = |text: &str| (text.parse::<Network>().unwrap(), Guard::Gateway);
    let check = |bench: &mut Bench, expect: &[(&str, bool)]| {
        let held = bench.file().port().load();
        for (text, guarded) in expect {
            assert_eq!(held.settings().guards(&text.parse().unwrap()), *guarded, "{text}");
        }
    };
    bench.file().protect(vec![guard("192.0.2.1")]);
    assert_eq!(bench.version(), 2);
    check(&mut bench, &[("10.1.1.1", true), ("192.0.2.1", true), ("192.0.2.2", false), ("127.0.0.9", true)]);
    bench.file().protect(vec![guard("192.0.2.1")]);
    assert_eq!(bench.version(), 2, "nothing changed");
    bench.file().protect(vec![guard("192.0.2.1"), ("192.0.2.1".parse().unwrap(), Guard::Resolver)]);
    assert_eq!(bench.version(), 2, "another reason is no other address");
    assert_eq!(bench.file().status().load().guards.len(), 2);

    bench.write("{\"protected\": []}");
    bench.step();
    check(&mut bench, &[("10.1.1.1", false), ("192.0.2.1", true)]);
    bench.file().protect(vec![guard("192.0.2.2")]);
    check(&mut bench, &[("192.0.2.1", false), ("192.0.2.2", true)]);
    let status = bench.file().status().load();
    assert_eq!(serde_json::to_value(&*status).unwrap()["guards"][0][1], "gateway");
}

/// Waits until something holds; gives up after 10 s.
fn until(port: &SettingsPort, holds: impl Fn(&SettingsPort) -> bool) -> Duration {
    let began = Instant::now();
    while !holds(port) {
        assert!(began.elapsed() < Duration::from_secs(10), "it never came");
        std::thread::sleep(Duration::from_millis(2));
    }
    began.elapsed()
}

#[test]
fn the_thread_puts_changes_in_force_and_ends() {
    let mut bench = Bench::with("{\"count\": 1}");
    let port = bench.file().port();
    let guards = HostGuards::new(bench.folder.path().join("root"), Protect::default(), &[])
        .with_own_addresses(Box::new(|| Ok(vec!["192.0.2.1".parse().unwrap()])));
    let watch = SettingsWatch::start(bench.file.take().unwrap(), guards).unwrap();
    assert!(port.load().settings().guards(&"192.0.2.1".parse().unwrap()));
    let mut fastest = Duration::MAX;
    for count in [22, 333, 4444] {
        bench.write(&format!("{{\"count\": {count}}}"));
        let took = until(&port, |port| port.load().settings().count.get() == count);
        fastest = fastest.min(took);
    }
    // A busy machine may take longer now and then.
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
    drop(watch);
    let version = port.load().version().number;
    bench.write("{\"count\": 55555}");
    assert_eq!(port.load().version().number, version);
}

#[derive(Clone, Debug)]
enum Edit {
    Write(usize),
    Replace(usize),
    Link(usize),
    Remove,
    Folder,
    Look(usize),
    Restart,
}

/// Contents of different lengths, each with the count that it says where it is in order.
const CONTENTS: [(&str, Option<u32>); 7] = [
    ("{\"count\": 1}", Some(1)),
    ("{\"count\": 22}", Some(22)),
    ("{\"count\": \"333\"}", Some(333)),
    ("{}", Some(200)),
    ("", None),
    ("{\"count\": ", None),
    ("{\"count\": 1, \"if_block\": 7}", None),
];

fn edit() -> impl Strategy<Value = Edit> {
    let content = 0..CONTENTS.len();
    prop_oneof![
        4 => content.clone().prop_map(Edit::Write),
        2 => content.clone().prop_map(Edit::Replace),
        2 => content.prop_map(Edit::Link),
        1 => Just(Edit::Remove),
        1 => Just(Edit::Folder),
        3 => (1usize..30).prop_map(Edit::Look),
        1 => Just(Edit::Restart),
    ]
}

fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir(path).unwrap();
    } else {
        fs::remove_file(path).unwrap_or_default();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The port always holds the last content that was in order when it was looked at, across restarts, and an
    /// alarm that was begun is over exactly when the file is in order.
    #[test]
    fn the_last_content_in_order_holds(edits in prop::collection::vec(edit(), 1..30)) {
        let mut bench = Bench::with(CONTENTS[0].0);
        let (mut expect, mut in_order, mut alarmed) = (1, true, false);
        for (n, edit) in edits.into_iter().enumerate() {
            let folder = bench.folder.path().to_owned();
            let path = bench.path();
            let mut content = None;
            match edit {
                Edit::Write(index) => {
                    if path.is_symlink() || path.is_dir() {
                        remove(&path);
                    }
                    fs::write(&path, CONTENTS[index].0).unwrap();
                    content = Some(index);
                }
                Edit::Replace(index) => {
                    if path.is_dir() {
                        remove(&path);
                    }
                    fs::write(folder.join("new"), CONTENTS[index].0).unwrap();
                    fs::rename(folder.join("new"), &path).unwrap();
                    content = Some(index);
                }
                Edit::Link(index) => {
                    fs::write(folder.join(format!("v{n}")), CONTENTS[index].0).unwrap();
                    remove(&path);
                    symlink(format!("v{n}"), &path).unwrap();
                    content = Some(index);
                }
                Edit::Remove => {
                    remove(&path);
                    in_order = false;
                }
                Edit::Folder => {
                    remove(&path);
                    fs::create_dir(&path).unwrap();
                    in_order = false;
                }
                Edit::Look(looks) => bench.steps(looks),
                Edit::Restart => {
                    bench.open().unwrap();
                    // The new process has told nobody yet.
                    bench.told();
                    alarmed = false;
                }
            }
            if let Some(index) = content {
                in_order = CONTENTS[index].1.is_some();
                expect = CONTENTS[index].1.unwrap_or(expect);
            }
            bench.step();
            prop_assert_eq!(bench.count(), expect);
            let status = bench.file().status().load();
            prop_assert_eq!(status.errors.is_empty(), in_order);
            for (text, over) in bench.told() {
                prop_assert!(!over || alarmed, "over before it began: {}", text);
                alarmed = !over;
            }
            prop_assert!(!alarmed || !in_order);
        }
        bench.steps(10);
        let began = bench.told().last().is_some_and(|(_, over)| !over);
        prop_assert_eq!(alarmed || began, !in_order);
    }
}
