//! The fleet and agents by TLS: who shows what, and who believes whom.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

#[path = "fleet_common/certificates.rs"]
mod certificates;
mod fleet_common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::key::Key;
use agent::{Choice, Config, Running, TlsFiles};
use ccfirewall_thrift::tls::ClientTls;
use certificates::Authority;
use fleet_common::{KEY, Setup, an_agent, fleet, hanging, listed, options, until};
use model::ledger::Ledger;
use topology::adapters::fleet::{AgentConfig, AgentState, AgentTls};

const LOCAL: &str = "127.0.0.1";
/// Far away.
const LATER: i32 = 2200;

fn agent_with(tls: TlsFiles) -> Running {
    let mut config = Config::new(Key::new(KEY).unwrap());
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.enforcer = Choice::DryRun;
    config.tls = Some(tls);
    agent::start(config).unwrap()
}

fn by_tls(address: SocketAddr, files: TlsFiles, name: Option<&str>) -> Vec<AgentConfig> {
    let tls = AgentTls { files: Arc::new(ClientTls::new(files).unwrap()), name: name.map(str::to_owned) };
    let mut list = listed(&[("a", address)]);
    list[0].tls = Some(tls);
    list
}

fn fleet_of(list: Vec<AgentConfig>) -> Setup {
    let setup = fleet(&[], Ledger::default(), 1, options());
    setup.fleet.set_agents(list).unwrap();
    setup
}

/// Asserts that there is no way, and that what is said of it has this in it.
fn check_refused(what: &str, list: Vec<AgentConfig>, says: &str) {
    let setup = fleet_of(list);
    let mut error = String::new();
    until(what, || {
        error = setup.fleet.agents()[0].last_error.clone().unwrap_or_default();
        !error.is_empty()
    });
    assert!(error.contains(says), "{what}: {error}");
    assert!(!matches!(setup.state(0), AgentState::InSync), "{what}");
    until(what, || setup.heard.open("agent_unreachable"));
}

#[test]
fn who_shows_what_is_believed_is_served() {
    let authority = Authority::new();
    let agent = agent_with(authority.issue("agent", LOCAL, LATER));
    let mut setup = fleet_of(by_tls(agent.address(), authority.issue("owner", "owner", LATER), None));
    setup.in_sync(0);
    let changes = (0..20_000).map(|number| setup.decided(number, 600)).collect();
    setup.changes(changes);
    until("banned", || setup.fleet.agents()[0].held == 20_000);
    assert!(setup.stop().2);

    // By another name than the address.
    let named = agent_with(authority.issue("named", "web1.example.com", LATER));
    let owner = authority.issue("owner", "owner", LATER);
    let setup = fleet_of(by_tls(named.address(), owner.clone(), Some("web1.example.com")));
    setup.in_sync(0);
    check_refused("not its name", by_tls(named.address(), owner, None), "not valid for name");
}

#[test]
fn who_isnt_believed_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let owner = authority.issue("owner", "owner", LATER);
    let agent = agent_with(authority.issue("agent", LOCAL, LATER));
    let address = agent.address();

    let foreign = agent_with(other.issue("agent", LOCAL, LATER));
    check_refused(
        "an agent of another authority",
        by_tls(foreign.address(), owner.clone(), None),
        "UnknownIssuer",
    );
    let expired = agent_with(authority.issue("expired", LOCAL, 2020));
    check_refused(
        "an agent's certificate is over",
        by_tls(expired.address(), owner.clone(), None),
        "expired",
    );
    let nobody = TlsFiles { ca: owner.ca.clone(), ..TlsFiles::default() };
    check_refused("no certificate of ours", by_tls(address, nobody, None), "CertificateRequired");
    let stranger = TlsFiles { ca: owner.ca.clone(), ..other.issue("stranger", "owner", LATER) };
    check_refused("ours of another authority", by_tls(address, stranger, None), "UnknownCA");
    let over = authority.issue("over", "owner", 2020);
    check_refused("ours is over", by_tls(address, over, None), "CertificateExpired");
    check_refused("no TLS with an agent that wants it", listed(&[("a", address)]), "");
    check_refused(
        "TLS with an agent that has none",
        by_tls(an_agent().address(), owner.clone(), None),
        "TLS",
    );

    // None of it keeps others out.
    let setup = fleet_of(by_tls(address, owner, None));
    setup.in_sync(0);
}

#[test]
fn one_that_hangs_in_the_handshake_is_noticed() {
    let authority = Authority::new();
    let silent = hanging();
    let list = by_tls(silent.local_addr().unwrap(), authority.issue("owner", "owner", LATER), None);
    let began = Instant::now();
    let setup = fleet_of(list);
    until("noticed", || matches!(setup.state(0), AgentState::Hanging { .. }));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn renewed_certificates_hold_from_the_next_connection_on() {
    let authority = Authority::new();
    let files = authority.issue("agent", LOCAL, 2020);
    let agent = agent_with(files);
    let setup = fleet_of(by_tls(agent.address(), authority.issue("owner", "owner", LATER), None));
    until("it is over", || {
        setup.fleet.agents()[0].last_error.as_ref().is_some_and(|error| error.contains("expired"))
    });
    authority.issue("agent", LOCAL, LATER);
    setup.in_sync(0);
    // A half-written renewal changes nothing.
    std::fs::write(authority.ca().with_file_name("agent.key"), "-----BEGIN").unwrap();
    let again = fleet_of(by_tls(agent.address(), authority.issue("owner", "owner", LATER), None));
    until("its own way", || !matches!(again.state(0), AgentState::Connecting));
    assert_eq!(again.state(0), AgentState::InSync);
}
