//! The way from callers, which are plain threads, to the supervisor's thread and back.

use std::fmt;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zookeeper_client::{Client, Error as Cause};

use crate::duty::{Duty, perform};
use crate::session::{Sessions, supervise};
use crate::tell::Teller;
use crate::{Ensemble, Error, State};

/// The supervisor's thread, and what is needed to ask it for something.
pub(crate) struct Inner {
    pub(crate) ensemble: Arc<Ensemble>,
    runtime: Handle,
    sessions: Sessions,
    pub(crate) state: watch::Receiver<State>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may have been in a callback that ends with the thread itself.
        if let Some(thread) = thread.filter(|own| own.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the supervisor of the session with ZooKeeper had panicked");
        }
    }
}

/// A duty that goes on until this is dropped.
pub(crate) struct Running {
    inner: Arc<Inner>,
    end: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.send_replace(true);
    }
}

impl Running {
    /// Ends it, and waits until it has cleaned up.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        self.end.send_replace(true);
        let patience = self.inner.ensemble.session_timeout;
        match self.ended.recv_timeout(patience) {
            Err(mpsc::RecvTimeoutError::Timeout) => Err(self.away(patience, String::new())),
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    /// What comes of `future`, unless it takes longer than `patience`.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        patience: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.inner.wait(patience, future)
    }

    /// That something hasn't come about; by `why`, unless all of ZooKeeper is away.
    pub(crate) fn away(&self, waited: Duration, why: String) -> Error {
        self.inner.away(waited, why)
    }
}

impl Inner {
    pub(crate) fn start(ensemble: Ensemble) -> Result<Self, Error> {
        let ensemble = Arc::new(ensemble);
        let no_thread = |error: std::io::Error| Error::Closed(format!("no thread for it: {error}"));
        let runtime = Builder::new_current_thread().enable_time().build().map_err(no_thread)?;
        let handle = runtime.handle().clone();
        let (session, sessions) = watch::channel(None);
        let (state, states) = watch::channel(State::away("not connected yet"));
        let (stop, stopped) = watch::channel(false);
        let supervisor = supervise(Arc::clone(&ensemble), session, state, stopped);
        let run = move || runtime.block_on(supervisor);
        let thread = thread::Builder::new().name("zookeeper".to_owned()).spawn(run).map_err(no_thread)?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { ensemble, runtime: handle, sessions, state: states, stop, thread })
    }

    /// What comes of `future`, unless it takes longer than `patience`.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        patience: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, wait) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            if let Ok(result) = timeout(patience, future).await {
                // Nobody waits any more where the process ends.
                let _ = done.send(result);
            }
        });
        // The other end is dropped with the task, so this ends when the task does.
        wait.recv().ok()
    }

    pub(crate) fn away(&self, waited: Duration, why: String) -> Error {
        let why = match &*self.state.borrow() {
            State::Away { why, .. } => why.clone(),
            State::Connected { .. } if why.is_empty() => "it is connected, but slow".to_owned(),
            State::Connected { .. } => why,
        };
        Error::Away { servers: self.ensemble.servers.clone(), waited, why }
    }

    /// Does `work`, in another session or over another connection where one is lost, and so at least once: work is
    /// such that doing it again changes nothing.
    pub(crate) fn call<T, F>(
        &self,
        work: impl Fn(Client, Arc<Ensemble>) -> F + Send + Sync + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let patience = self.ensemble.session_timeout * 3 / 2;
        let (ensemble, mut sessions) = (Arc::clone(&self.ensemble), self.sessions.clone());
        let result = self.wait(patience, async move {
            loop {
                let client = match sessions.wait_for(Option::is_some).await.as_deref() {
                    Ok(Some(client)) => client.clone(),
                    _ => return Err(Error::Closed("it was closed meanwhile".to_owned())),
                };
                match work(client, Arc::clone(&ensemble)).await {
                    Err(Error::Refused { cause, .. }) if is_of_the_connection(&cause) => {
                        sleep(Duration::from_millis(100)).await;
                    }
                    result => return result,
                }
            }
        });
        result.unwrap_or_else(|| Err(self.away(patience, String::new())))
    }

    /// Has `duty` done until what is returned is dropped.
    pub(crate) fn perform(self: &Arc<Self>, duty: impl Duty + 'static) -> Running {
        let (end, ends) = watch::channel(false);
        let (sender, ended) = mpsc::channel();
        let (sessions, mut stop) = (self.sessions.clone(), self.stop.subscribe());
        self.runtime.spawn(async move {
            tokio::select! {
                () = perform(duty, sessions, ends) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            drop(sender);
        });
        Running { inner: Arc::clone(self), end, ended }
    }

    /// Tells how it stands, now and at each change, until what is returned is dropped.
    pub(crate) fn tell_state(self: &Arc<Self>, teller: Teller<State>) -> Running {
        let (end, mut ends) = watch::channel(false);
        let (sender, ended) = mpsc::channel();
        let mut states = self.state.clone();
        self.runtime.spawn(async move {
            loop {
                teller.tell(states.borrow_and_update().clone());
                tokio::select! {
                    _ = ends.changed() => break,
                    changed = states.changed() => if changed.is_err() { break },
                }
            }
            drop(sender);
        });
        Running { inner: Arc::clone(self), end, ended }
    }
}

/// Whether it says nothing of what was asked for, only of the way there.
fn is_of_the_connection(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::ConnectionLoss
            | Cause::SessionExpired
            | Cause::SessionMoved
            | Cause::ClientClosed
            | Cause::Timeout
            | Cause::NoHosts
            | Cause::Custom(_)
    )
}
