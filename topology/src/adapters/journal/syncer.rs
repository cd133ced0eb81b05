//! The journal's own thread: flushes what was written to the disk, in groups; asks a disk again that refused; and
//! tells alarms, so that nobody who appends waits for any of it.

use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bolts::ports::Notifier;

use super::writer::Flushed;
use super::{Fold, Shared};

pub(super) fn run<S: Fold>(shared: &Shared<S>, notifier: &Arc<dyn Notifier>) {
    let mut writer = shared.lock();
    loop {
        let now = Instant::now();
        let due = writer.due();
        if writer.alarms.is_empty() && !writer.stop && due.is_none_or(|due| due > now) {
            writer = match due {
                None => shared.work.wait(writer).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let waited = shared.work.wait_timeout(writer, due - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            continue;
        }
        let flushed =
            if writer.retry_is_due(now) || writer.stop { writer.flush_backlog() } else { Flushed::All };
        let job = writer.sync_job(now);
        let alarms = mem::take(&mut writer.alarms);
        let done = writer.stop && flushed != Flushed::Some && job.is_none() && alarms.is_empty();
        drop(writer);
        for alarm in alarms {
            notifier.notify(alarm);
        }
        let result = job.map(|job| (job.run(), job));
        writer = shared.lock();
        if let Some((result, job)) = result {
            writer.synced(&job, result);
            shared.readable.notify_all();
        }
        if done {
            return;
        }
    }
}
