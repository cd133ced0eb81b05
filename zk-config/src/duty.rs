//! Duties: what goes on from session to session until it is ended.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use zookeeper_client::{Client, Error as Cause};

use crate::session::{Backoff, Sessions};

/// What is done in each session.
pub(crate) trait Duty: Send {
    /// Does it, until the session is of no use any more or something fails. It is called again then.
    fn serve(&mut self, client: &Client) -> impl Future<Output = Result<(), Cause>> + Send;

    /// Cleans up, when it is ended while there is a session. It is called again where it fails.
    fn finish(&mut self, client: &Client) -> impl Future<Output = Result<(), Cause>> + Send {
        let _ = client;
        async { Ok(()) }
    }

    /// Hears why it can't be served at the moment.
    fn interrupted(&mut self, why: &str) {
        let _ = why;
    }
}

/// Does `duty` in each session until `end` changes or its sender is dropped.
pub(crate) async fn perform(mut duty: impl Duty, mut sessions: Sessions, mut end: watch::Receiver<bool>) {
    let mut backoff = Backoff::default();
    loop {
        let client = tokio::select! {
            _ = end.changed() => return,
            session = sessions.wait_for(Option::is_some) => match session.as_deref() {
                Ok(Some(client)) => client.clone(),
                _ => return,
            },
        };
        let began = Instant::now();
        tokio::select! {
            _ = end.changed() => return finish(duty, &client, &mut backoff).await,
            served = duty.serve(&client) => {
                let why = served.err().map_or_else(|| "it ended".to_owned(), |cause| cause.to_string());
                tracing::debug!(why, "begun again");
                duty.interrupted(&why);
            }
        }
        if began.elapsed() > Duration::from_secs(5) {
            backoff.reset();
        }
        tokio::select! {
            _ = end.changed() => return finish(duty, &client, &mut backoff).await,
            () = sleep(backoff.next()) => {}
        }
    }
}

/// Has it cleaned up, however long the connection may be lost, unless the session ends: nothing is left of it then.
async fn finish(mut duty: impl Duty, client: &Client, backoff: &mut Backoff) {
    while let Err(cause) = duty.finish(client).await {
        if matches!(cause, Cause::SessionExpired | Cause::ClientClosed | Cause::AuthFailed) {
            return;
        }
        sleep(backoff.next()).await;
    }
}
