//! The whole of `replay`, file to summary, beside reading the file and counting its line feeds.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use benches::log;
use bolts::ports::{Nowhere, SettingsPort};
use bolts::tuples::Summary;
use criterion::{Criterion, Throughput};
use model::line::LogFormat;
use model::settings::Settings;
use topology::app::{self, KeptSummary};
use topology::spouts::log_files::{BATCH_BYTES, Lines};
use topology::wiring::Replay;

const LINES: usize = 500_000;

fn replay(log: &Path, tasks: usize) -> Summary {
    let kept = Arc::<KeptSummary>::default();
    let replay = Replay {
        lines: Lines {
            inputs: vec![log.to_owned()],
            batch_bytes: BATCH_BYTES,
            progress: Arc::new(|_| {}),
            failures: Arc::default(),
        },
        log_format: LogFormat::combined(),
        settings: SettingsPort::new(Settings::default()),
        places: Arc::new(Nowhere),
        summary: kept.clone(),
        survey: false,
        tasks,
        window_memory: 1 << 30,
    };
    app::replay(&kept, replay).expect("the replay runs to its end")
}

fn count_lines(log: &Path) -> usize {
    let mut file = File::open(log).expect("the log is there");
    let mut buffer = vec![0; BATCH_BYTES];
    let mut lines = 0;
    loop {
        match file.read(&mut buffer).expect("the log can be read") {
            0 => return lines,
            read => lines += memchr::memchr_iter(b'\n', &buffer[..read]).count(),
        }
    }
}

fn benches(c: &mut Criterion) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    file.write_all(&log(LINES)).expect("the log can be written");
    let path = file.path();
    assert_eq!(replay(path, 1).lines.parsed, LINES as u64);

    let mut group = c.benchmark_group("replay");
    group.throughput(Throughput::Elements(LINES as u64));
    for tasks in [1, 2] {
        group.bench_function(format!("tasks-{tasks}"), |bench| {
            bench.iter(|| replay(black_box(path), tasks));
        });
    }
    group.bench_function("count-lines", |bench| bench.iter(|| count_lines(black_box(path))));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
