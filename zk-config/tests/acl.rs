//! Access lists: with a digest, nodes are for those who have it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{PATIENCE, place, start, told};
use zk_config::{Election, Ensemble, Error, Held, SettingsSeen};

#[test]
fn without_the_digest_nothing_can_be_read_or_written() {
    let Some((_servers, open)) = place() else { return };
    let ours = Ensemble { digest: Some("ccfirewall:secret".to_owned()), ..open.clone() };
    let zookeeper = start(&ours);
    let node = zookeeper.create_settings_if_absent("{}", "test").unwrap();
    let node = zookeeper.write_settings("{\"a\":1}", node.expected(), "test").unwrap();
    let worker = zookeeper.keep_ephemeral("workers/one", Vec::new()).unwrap();
    worker.wait_held(PATIENCE).unwrap();
    let (callback, events) = told();
    let _campaign = zookeeper.campaign("owner", Vec::new(), callback).unwrap();
    assert!(matches!(events.next(), Election::Won { .. }));

    let wrong = Ensemble { digest: Some("ccfirewall:guessed".to_owned()), ..open.clone() };
    for stranger in [open, wrong] {
        let stranger = start(&stranger);
        let denied = |error: Error| {
            assert!(matches!(error, Error::Denied { .. }), "{error}");
            assert!(error.to_string().contains("digest") && !error.to_string().contains("secret"));
        };
        denied(stranger.read_settings().unwrap_err());
        denied(stranger.write_settings("{}", node.expected(), "stranger").unwrap_err());
        denied(stranger.create_settings_if_absent("{}", "stranger").unwrap_err());
        denied(stranger.history().unwrap_err());
        denied(stranger.holder("owner").unwrap_err());
        let (callback, seen) = told();
        let _watch = stranger.watch_settings(callback).unwrap();
        assert!(matches!(seen.next(), SettingsSeen::Unreadable(why) if why.contains("digest")));
        let intruder = stranger.keep_ephemeral("workers/two", Vec::new()).unwrap();
        common::until(
            "it is refused",
            || matches!(intruder.held(), Held::No(why) if why.contains("authorized")),
        );
    }
    let other = start(&ours);
    assert_eq!(other.read_settings().unwrap(), Some(node));
    assert_eq!(other.history().unwrap().len(), 2);
}
