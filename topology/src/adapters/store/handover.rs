//! From one owner of a shared database to the next: which journal goes on.
//!
//! The database remembers which journal its shared state comes from. A worker that becomes the owner and has that
//! very journal was the owner last (others may have claimed and ended again before they did anything): its journal
//! knows all that is shared and perhaps more, which wasn't sent yet, so it goes on. Any other journal was followed:
//! what was decided since stands in the database. It begins anew with that, and of the old one only what agents
//! answered is still sent, for nobody else was told; the rest was done again by those who came later.
//!
//! Where nobody shared anything yet, the worker's own journal is what sharing begins with, once all of it is in the
//! tables.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bolts::ports::Notifier;
use uuid::Uuid;

use super::{ClaimError, Fence, SharedLedger, Store, StoreError, StoreOptions, Takes};
use crate::adapters::journal::{Fold, Journal, JournalError, JournalOptions, Recovered};
use crate::config::{Database as Place, Mysql};

/// The journal of a new owner.
pub struct Handover<S: Fold> {
    /// It is open, and what it takes from now on is shared by the store that is started with the same epoch.
    pub journal: Arc<Journal<S>>,
    /// What is in it: the desired state of bans to go on from.
    pub recovered: Recovered<S>,
    /// Whether it is this worker's own, or began anew with what is shared.
    pub own: bool,
    /// The epoch of the owner before, if ever there was one.
    pub previous_epoch: Option<i64>,
}

/// Who wants to become the owner, and with what.
#[derive(Clone, Copy, Debug)]
pub struct TakeOver<'a> {
    /// The database.
    pub server: &'a Mysql,
    /// Greater than that of every owner before.
    pub epoch: i64,
    /// The worker.
    pub name: &'a str,
    /// The folder of its journal.
    pub dir: &'a Path,
    /// How that works.
    pub options: JournalOptions,
    /// The time zone of the tables, as in [`StoreOptions`].
    pub time_zone: Option<&'a str>,
}

/// Why a worker can't become the owner.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The database can't be claimed.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What is left of the journal can't be sent.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There was more to send than time.
    #[error("{0} entries of this worker's journal aren't in the database yet: try again")]
    Behind(u64),
}

/// So long sending what is left may take. The database was there just now.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a worker the owner of the database, and opens its journal or begins that anew. Nothing may be decided or sent
/// to agents before.
///
/// # Errors
///
/// Where somebody has a newer epoch, the database can't be used, or the journal can't be opened. It can be called again
/// with the same epoch.
pub fn take_over<S: Fold>(
    who: TakeOver<'_>,
    notifier: &Arc<dyn Notifier>,
) -> Result<Handover<S>, HandoverError> {
    let TakeOver { server, epoch, name, dir, options, .. } = who;
    let ledger = SharedLedger::new(server.clone());
    let (journal, recovered) = Journal::<S>::open(dir, options, Arc::clone(notifier))?;
    let claim = ledger.claim::<S>(epoch, name)?;
    let goes_on = goes_on(journal.id(), recovered.complete, claim.journal);
    let begin = |journal: &Journal<S>, state| ledger.begin(epoch, journal.id(), state);
    let (journal, recovered) = match goes_on {
        GoesOn::Shared => (Arc::new(journal), recovered),
        GoesOn::Own => {
            let journal = Arc::new(journal);
            let behind = send(who, &journal, Takes::Rows, notifier)?;
            if behind > 0 {
                return Err(HandoverError::Behind(behind));
            }
            begin(&journal, &recovered.state)?;
            (journal, recovered)
        }
        GoesOn::Not => {
            tracing::info!(
                epoch,
                previous = claim.previous_epoch,
                "the bans of another owner are taken over"
            );
            let journal = Arc::new(journal);
            let behind = send(who, &journal, Takes::Answers, notifier)?;
            // Nobody else has these answers; but bans mustn't wait for them for long.
            let tried = claim.previous_epoch == Some(epoch);
            if behind > 0 && !tried {
                return Err(HandoverError::Behind(behind));
            }
            if behind > 0 {
                tracing::warn!(
                    entries = behind,
                    "of this worker's old journal not all that agents answered could be sent"
                );
            }
            // It lets go of its folder.
            drop(journal);
            let (journal, recovered) = Journal::open_seeded(dir, options, claim.kept, Arc::clone(notifier))?;
            // From here on it's this journal that who comes later must have, or follows.
            begin(&journal, &recovered.state)?;
            (Arc::new(journal), recovered)
        }
    };
    let own = goes_on != GoesOn::Not;
    Ok(Handover { journal, recovered, own, previous_epoch: claim.previous_epoch })
}

/// Whether a journal goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GoesOn {
    /// It does, for what is shared comes from it.
    Shared,
    /// It does, for nothing was ever shared.
    Own,
    /// It was followed.
    Not,
}

/// Whether the journal `own` goes on, where the shared state comes from the journal `shared`, if it was shared at all.
fn goes_on(own: Uuid, complete: bool, shared: Option<Uuid>) -> GoesOn {
    match shared {
        None => GoesOn::Own,
        // What isn't whole any more is worth less than what is shared.
        Some(shared) if shared == own && complete => GoesOn::Shared,
        Some(_) => GoesOn::Not,
    }
}

/// Sends what is left of a journal. Returns how much still is.
fn send<S: Fold>(
    who: TakeOver<'_>,
    journal: &Arc<Journal<S>>,
    takes: Takes,
    notifier: &Arc<dyn Notifier>,
) -> Result<u64, HandoverError> {
    let TakeOver { server, epoch, time_zone, .. } = who;
    let fence = Some(Fence { epoch, on_lost: Arc::new(|| {}) });
    let time_zone = time_zone.map(str::to_owned);
    let options = StoreOptions { fence, time_zone, ..StoreOptions::default() };
    let place = Place::Mysql(server.clone());
    let left = Store::start_with(&place, journal, options, takes, Arc::clone(notifier))?.stop(PATIENCE);
    match left.fenced_by {
        Some(name) => Err(ClaimError::Newer { epoch, name }.into()),
        None => Ok(left.entries_behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_journal_that_was_shared_last_goes_on() {
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(goes_on(own, true, None), GoesOn::Own);
        assert_eq!(goes_on(own, false, None), GoesOn::Own);
        assert_eq!(goes_on(own, true, Some(own)), GoesOn::Shared);
        assert_eq!(goes_on(own, true, Some(other)), GoesOn::Not);
        assert_eq!(goes_on(own, false, Some(own)), GoesOn::Not, "what is shared is more");
    }
}
