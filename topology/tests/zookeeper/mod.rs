//! A place of one's own in a real ZooKeeper.
#![allow(dead_code, reason = "each test file uses its part")]

use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use real_servers::Servers;
use zk_config::{Ensemble, ZooKeeper};
use zookeeper_client::{Acls, Client, CreateMode};

/// How long anything may take; far more than it does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The session timeout in tests.
const SESSION: Duration = Duration::from_secs(2);

/// The shared ZooKeeper, and an empty place in it.
pub(crate) fn place() -> Option<(Servers, Ensemble)> {
    let servers = Servers::shared()?;
    let url = servers.up("zookeeper");
    Some((servers, ensemble(&url)))
}

/// A place of its own at `url`.
pub(crate) fn ensemble(url: &str) -> Ensemble {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let root = format!("/settings-tests/{}-{since:x}-{number}", process::id());
    Ensemble { root, session_timeout: SESSION, ..Ensemble::new(url) }
}

pub(crate) fn connect(ensemble: &Ensemble) -> ZooKeeper {
    let zookeeper = ZooKeeper::start(ensemble.clone()).unwrap();
    zookeeper.wait_connected(PATIENCE).unwrap();
    zookeeper
}

/// Writes the node, with nothing looked at, as any client of ZooKeeper can.
pub(crate) fn write_directly(ensemble: &Ensemble, bytes: &[u8]) {
    let path = format!("{}/config", ensemble.root);
    somebody_else(ensemble, async |client| client.set_data(&path, bytes, None).await.map(|_| ()).unwrap());
}

pub(crate) fn delete(ensemble: &Ensemble) {
    let path = format!("{}/config", ensemble.root);
    somebody_else(ensemble, async |client| client.delete(&path, None).await.unwrap());
}

pub(crate) fn create(ensemble: &Ensemble, bytes: &[u8]) {
    let path = format!("{}/config", ensemble.root);
    let mode = CreateMode::Persistent.with_acls(Acls::anyone_all());
    somebody_else(ensemble, async |client| client.create(&path, bytes, &mode).await.map(|_| ()).unwrap());
}

fn somebody_else(ensemble: &Ensemble, work: impl AsyncFnOnce(Client)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client =
            Client::connector().with_session_timeout(SESSION).connect(&ensemble.servers).await.unwrap();
        work(client).await;
    });
}
