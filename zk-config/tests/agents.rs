//! Agents that appear and vanish, those of 2016 and ours.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{PATIENCE, SESSION, Told, place, somebody_else, start, told};
use zk_config::{AgentData, AgentNode, Held, ListedAgent};
use zookeeper_client::{Acls, Client, CreateMode};

fn agent(address: &str) -> AgentNode {
    AgentNode {
        address: address.parse().unwrap(),
        version: "0.1.0".to_owned(),
        enforcer: "nftables".to_owned(),
        tls: false,
        ready: false,
    }
}

/// Waits until exactly these nodes are listed.
fn listed(seen: &Told<Vec<ListedAgent>>, nodes: &[&str]) -> Vec<ListedAgent> {
    seen.until(|agents| agents.iter().map(|agent| agent.node.as_str()).eq(nodes.iter().copied()))
}

#[test]
fn both_kinds_appear_change_and_vanish() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    let (callback, seen) = told();
    let _watch = zookeeper.watch_agents(callback).unwrap();
    listed(&seen, &[]);

    let ours = start(&ensemble);
    let mut node = agent("10.0.0.1:9090");
    let registered = ours.register_agent("10.0.0.1", &node).unwrap();
    assert_eq!(listed(&seen, &["10.0.0.1"])[0].data, AgentData::Ours(node.clone()));
    registered.wait_held(PATIENCE).unwrap();

    node.ready = true;
    registered.update(serde_json::to_vec(&node).unwrap());
    let ready = AgentData::Ours(node.clone());
    seen.until(|agents| agents.len() == 1 && agents[0].data == ready);

    // Agents of 2016, one that registered by IPv6, and what else may stand there.
    let folder = format!("{}/agent_list/iptables", ensemble.root);
    somebody_else(&ensemble.servers, async |client: Client| {
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        for (name, data) in
            [("10.0.0.9", &b""[..]), ("2001:db8::1", b""), ("not an ip", b""), ("10.0.0.8", b"\xff\0")]
        {
            client.create(&format!("{folder}/{name}"), data, &options).await.unwrap();
        }
        let agents = listed(&seen, &["10.0.0.1", "10.0.0.8", "10.0.0.9", "2001:db8::1", "not an ip"]);
        let addresses: Vec<Option<String>> =
            agents.iter().map(|agent| agent.address().map(|address| address.to_string())).collect();
        let expected = [Some("10.0.0.1:9090"), None, Some("10.0.0.9:9090"), Some("[2001:db8::1]:9090"), None];
        assert_eq!(addresses, expected.map(|address| address.map(str::to_owned)));
    });
    listed(&seen, &["10.0.0.1"]);
    registered.remove().unwrap();
    listed(&seen, &[]);

    let dropped = ours.register_agent("10.0.0.1", &node).unwrap();
    listed(&seen, &["10.0.0.1"]);
    drop(dropped);
    listed(&seen, &[]);
    assert!(ours.register_agent("host", &node).is_err());
    assert!(ours.register_agent("10.0.0.1/config", &node).is_err());
}

#[test]
fn an_agent_that_was_killed_finds_its_place_again() {
    let Some((_servers, ensemble)) = place() else { return };
    let path = format!("{}/agent_list/iptables/10.0.0.1", ensemble.root);
    let node = agent("10.0.0.1:9090");
    let left_behind = serde_json::to_vec(&node).unwrap();
    let zookeeper = start(&ensemble);
    // The nodes of processes that are gone, whose sessions will live for a while; the first one at our address.
    for (data, at_once) in [(&*left_behind, true), (b"", false)] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let timeout = if at_once { PATIENCE } else { SESSION };
            let connector = Client::connector().with_session_timeout(timeout).with_detached();
            let client = connector.connect(&ensemble.servers).await.unwrap();
            let acls = Acls::anyone_all();
            let parent = path.rsplit_once('/').unwrap().0;
            client.mkdir(parent, &CreateMode::Persistent.with_acls(acls)).await.unwrap();
            client.create(&path, data, &CreateMode::Ephemeral.with_acls(acls)).await.unwrap();
        });
        drop(runtime);
        let began = std::time::Instant::now();
        let registered = zookeeper.register_agent("10.0.0.1", &node).unwrap();
        registered.wait_held(PATIENCE).unwrap();
        let took = began.elapsed();
        assert!(took < PATIENCE / 2, "{took:?}");
        assert_eq!(registered.held(), Held::Yes);
        registered.remove().unwrap();
    }
}

#[test]
fn two_agents_of_one_address_do_not_fight() {
    let Some((_servers, ensemble)) = place() else { return };
    let node = agent("10.0.0.1:9090");
    let [first, second] = [start(&ensemble), start(&ensemble)];
    let old = first.register_agent("10.0.0.1", &node).unwrap();
    old.wait_held(PATIENCE).unwrap();
    // The newer one takes the place, for it can't know that the older one isn't a dead one's.
    let new = second.register_agent("10.0.0.1", &node).unwrap();
    new.wait_held(PATIENCE).unwrap();
    common::until(
        "the older one waits",
        || matches!(old.held(), Held::No(why) if why.contains("another session")),
    );
    let zookeeper = start(&ensemble);
    let (callback, seen) = told();
    let _watch = zookeeper.watch_children("agent_list/iptables", callback).unwrap();
    let place = seen.next();
    new.update(&b"{\"address\":\"10.0.0.1:9090\",\"ready\":true}"[..]);
    let changed = seen.next();
    assert_eq!((place.len(), changed.len()), (1, 1));
    assert_eq!(place[0].czxid, changed[0].czxid, "it is the same node still");
    // And when it goes, the older one has it again.
    new.remove().unwrap();
    old.wait_held(PATIENCE).unwrap();
}
