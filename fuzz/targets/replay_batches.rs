//! Any bytes as a log: however it is cut into batches and dealt out to tasks, the same comes of it. The first two
//! bytes choose how it is cut.
#![no_main]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bolts::ports::{Nowhere, SettingsPort, SummarySink};
use bolts::tuples::Summary;
use engine::testing::TopologyTestDriver;
use libfuzzer_sys::fuzz_target;
use model::line::LogFormat;
use model::settings::Settings;
use topology::spouts::log_files::Lines;
use topology::wiring::{self, Replay};

const SETTINGS: &str = r#"{
    "count": 2, "threshold_secound": 1, "threshold_w_secound": 5, "block_second": 3, "max_lateness": 20,
    "trusted_proxies": ["10.0.0.0/8"], "special_rule": {"/a*": {"threshold_secound": 0}}
}"#;
const FORMAT: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_x_forwarded_for""#;

struct State {
    folder: tempfile::TempDir,
    settings: Settings,
    log_format: LogFormat,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State {
        folder: tempfile::tempdir().expect("a folder for the log"),
        settings: Settings::parse(SETTINGS).expect("settings").settings,
        log_format: FORMAT.parse().expect("a format"),
    });
}

#[derive(Default)]
struct Kept(Mutex<Option<Summary>>);

impl SummarySink for Kept {
    fn summary(&self, summary: Summary) {
        *self.0.lock().expect("nobody panics with it") = Some(summary);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [cut, tasks, log @ ..] = bytes else {
        return;
    };
    STATE.with_borrow(|state| {
        let path = state.folder.path().join("log");
        std::fs::write(&path, log).expect("the log can be written");
        let whole = replay(state, &path, 1 << 20, 1);
        let cut = replay(state, &path, usize::from(*cut) + 1, usize::from(tasks % 3) + 1);
        assert_eq!(whole, cut);
        assert_eq!(whole.lines.lines, whole.lines.parsed + whole.lines.unparsed.iter().sum::<u64>());
    });
});

fn replay(state: &State, path: &Path, batch_bytes: usize, tasks: usize) -> Summary {
    let kept = Arc::<Kept>::default();
    let topology = wiring::replay(Replay {
        lines: Lines {
            inputs: vec![PathBuf::from(path)],
            batch_bytes,
            progress: Arc::new(|_| {}),
            failures: Arc::default(),
        },
        log_format: state.log_format.clone(),
        settings: SettingsPort::new(state.settings.clone()),
        places: Arc::new(Nowhere),
        summary: kept.clone(),
        survey: false,
        tasks,
        window_memory: 1 << 30,
    })
    .expect("the wiring is right");
    let drained = TopologyTestDriver::over_the_wire(topology).finish();
    assert!(drained.is_clean(), "{drained}");
    let mut summary = kept.0.lock().expect("nobody panics with it").take().expect("a summary");
    // How many samples are kept goes by the batch.
    summary.lines.samples.clear();
    summary
}
