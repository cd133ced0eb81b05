//! The supervisor: one session at a time, and another one when it is gone.
//!
//! The library reconnects a session to other servers for as long as it may live. What it can't do is to outlive the
//! session: then its client is of no use any more, with all its watches and ephemeral nodes. So the supervisor makes
//! another client, and hands it to every [duty](crate::duty).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::units::Moment;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error as Cause, SessionState, TlsOptions};

use crate::{Ensemble, Error, Tls};

/// How it stands with the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is a session, and a server answers.
    Connected {
        /// Since when.
        since: Moment,
    },
    /// There isn't. What was seen last stays in force.
    Away {
        /// Since when.
        since: Moment,
        /// What is known of the reason.
        why: String,
    },
}

impl State {
    pub(crate) fn connected() -> Self {
        Self::Connected { since: now() }
    }

    pub(crate) fn away(why: impl Into<String>) -> Self {
        Self::Away { since: now(), why: why.into() }
    }
}

/// The session that there is.
pub(crate) type Sessions = watch::Receiver<Option<Client>>;

/// Waits that grow from 100 ms to 5 s, each by chance between half and whole, so that a fleet doesn't come back as
/// one.
#[derive(Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(5);

    pub(crate) fn next(&mut self) -> Duration {
        let wait = Duration::from_millis(200).saturating_mul(1 << self.tries.min(5)).min(Self::LONGEST);
        self.tries = self.tries.saturating_add(1);
        wait.mul_f64(0.5 + 0.5 * fastrand::f64())
    }

    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Keeps a session until `stop`; then closes it, so that its nodes go at once.
pub(crate) async fn supervise(
    ensemble: Arc<Ensemble>,
    sessions: watch::Sender<Option<Client>>,
    state: watch::Sender<State>,
    mut stop: watch::Receiver<bool>,
) {
    let keep = async {
        let mut backoff = Backoff::default();
        loop {
            match establish(&ensemble).await {
                Ok(client) => {
                    tracing::info!(servers = ensemble.servers, session = %client.session_id(), "ZooKeeper is connected");
                    let began = Instant::now();
                    sessions.send_replace(Some(client.clone()));
                    let why = attend(&client, &state).await;
                    tracing::warn!(why, "the session with ZooKeeper has ended");
                    sessions.send_replace(None);
                    state.send_replace(State::away(why));
                    if began.elapsed() > ensemble.session_timeout {
                        backoff.reset();
                    }
                }
                Err(why) => {
                    tracing::debug!(why, "ZooKeeper can't be reached");
                    state.send_if_modified(|state| match state {
                        State::Away { why: known, .. } if *known == why => false,
                        State::Away { since, .. } => {
                            *state = State::Away { since: *since, why: why.clone() };
                            true
                        }
                        State::Connected { .. } => {
                            *state = State::away(why.clone());
                            true
                        }
                    });
                }
            }
            sleep(backoff.next()).await;
        }
    };
    tokio::select! {
        () = keep => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    if let Some(client) = sessions.send_replace(None) {
        let mut states = client.state_watcher();
        drop(client);
        let closed = async { while !states.changed().await.is_terminated() {} };
        // Where the server doesn't answer, the session ends by its timeout.
        let _ = timeout(Duration::from_secs(1), closed).await;
    }
}

/// A new session that has seen everything that was committed before it, and our root.
async fn establish(ensemble: &Ensemble) -> Result<Client, String> {
    let connect = async {
        let client = connect(ensemble).await?;
        ensure(&client, ensemble, &ensemble.root).await.map_err(|cause| refused(ensemble, cause))?;
        Ok(client)
    };
    within(ensemble.session_timeout, connect).await
}

/// A new session that has seen everything that was committed before it; or why there is none.
pub(crate) async fn connect(ensemble: &Ensemble) -> Result<Client, String> {
    let mut connector =
        Client::connector().with_session_timeout(ensemble.session_timeout).with_fail_eagerly();
    if let Some(digest) = &ensemble.digest {
        connector = connector.with_auth("digest", digest.as_bytes());
    }
    let secure = match &ensemble.tls {
        Some(tls) => {
            connector = connector.with_tls(tls_options(tls).map_err(|error| error.to_string())?);
            true
        }
        None => false,
    };
    let connect = async {
        let client = if secure {
            connector.secure_connect(&ensemble.servers).await?
        } else {
            connector.connect(&ensemble.servers).await?
        };
        // A new client may meet a server that lags behind what our last session saw.
        client.sync("/").await?;
        Ok(client)
    };
    connect.await.map_err(|cause| refused(ensemble, cause))
}

/// What comes of it, or that it took too long.
pub(crate) async fn within<T>(
    patience: Duration,
    session: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let too_long = || Err(format!("no session within {:.1} s", patience.as_secs_f64()));
    timeout(patience, session).await.unwrap_or_else(|_| too_long())
}

fn refused(ensemble: &Ensemble, cause: Cause) -> String {
    match cause {
        Cause::NoHosts => "none of its servers takes a session".to_owned(),
        Cause::NoAuth => format!("its ACL forbids to look at or create {}", ensemble.root),
        cause => cause.to_string(),
    }
}

/// Watches over a session until it is gone, and says why it is.
async fn attend(client: &Client, state: &watch::Sender<State>) -> String {
    let mut states = client.state_watcher();
    let look_after = client.session_timeout();
    let mut seen = states.state();
    loop {
        match seen {
            SessionState::SyncConnected | SessionState::ConnectedReadOnly => {
                state.send_replace(State::connected());
            }
            SessionState::Disconnected => {
                state.send_replace(State::away("the connection is lost; the session may still live"));
            }
            SessionState::Expired => return "the session has expired".to_owned(),
            SessionState::AuthFailed => return "the servers don't accept our digest".to_owned(),
            SessionState::Closed => return "the session was closed".to_owned(),
        }
        seen = loop {
            tokio::select! {
                state = states.changed() => break state,
                () = sleep(look_after) => {
                    // The library would say when a session ends; this is for the case that it doesn't any more.
                    match timeout(look_after * 2, client.check_stat("/")).await {
                        Err(_) => return "nothing was heard for too long".to_owned(),
                        Ok(Err(cause @ (Cause::SessionExpired | Cause::ClientClosed))) => return cause.to_string(),
                        Ok(_) => {}
                    }
                }
            }
        };
    }
}

/// Creates a persistent node and its parents where they are missing.
pub(crate) async fn ensure(client: &Client, ensemble: &Ensemble, path: &str) -> Result<(), Cause> {
    // Looked for first: creating needs a permission on the parent even where there is nothing to create. What may not
    // even be looked at is taken for there; what is done with it next says so if not.
    match client.check_stat(path).await {
        Ok(None) => client.mkdir(path, &persistent(ensemble)).await,
        Ok(Some(_)) | Err(Cause::NoAuth) => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// Creates the parents of a node.
pub(crate) async fn ensure_parent(client: &Client, ensemble: &Ensemble, path: &str) -> Result<(), Cause> {
    match path.rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => ensure(client, ensemble, parent).await,
        _ => Ok(()),
    }
}

/// Whom the nodes that we create belong to.
fn acls(ensemble: &Ensemble) -> Acls<'static> {
    if ensemble.digest.is_some() { Acls::creator_all() } else { Acls::anyone_all() }
}

pub(crate) fn persistent(ensemble: &Ensemble) -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(acls(ensemble))
}

pub(crate) fn ephemeral(ensemble: &Ensemble) -> CreateOptions<'static> {
    CreateMode::Ephemeral.with_acls(acls(ensemble))
}

fn tls_options(tls: &Tls) -> Result<TlsOptions, Error> {
    // The library asks for the process's default; where another part of the program chose one, that stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let problem = |file: &Path| {
        let file = file.display().to_string();
        move |problem: String| Error::Tls { file, problem }
    };
    let read = |file: &Path| fs::read_to_string(file).map_err(|error| problem(file)(error.to_string()));
    let options = TlsOptions::new()
        .with_pem_ca(&read(&tls.ca)?)
        .map_err(|cause| problem(&tls.ca)(cause.to_string()))?;
    match &tls.identity {
        Some((certificate, key)) => options
            .with_pem_identity(&read(certificate)?, &read(key)?)
            .map_err(|cause| problem(certificate)(cause.to_string())),
        None => Ok(options),
    }
}

pub(crate) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_differ() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..100).map(|_| backoff.next()).collect();
        assert!((100..=200).contains(&waits[0].as_millis()), "{:?}", waits[0]);
        assert!(waits.iter().all(|wait| *wait <= Backoff::LONGEST));
        assert!(waits[10..].iter().all(|wait| *wait >= Backoff::LONGEST / 2));
        assert!(waits[10..].iter().any(|wait| *wait != waits[10]));
        backoff.reset();
        assert!(backoff.next().as_millis() <= 200);
    }
}
