//! Operators' tools: a Python client made of the interface by the Thrift compiler, in Python's default pairing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use agent::Choice;

use crate::help::{MKEY, Refusing, ban, config, connect};

/// Why this can't be tested here, where it can't.
fn missing() -> Option<String> {
    for (tool, args) in [("thrift", ["--version", ""]), ("python3", ["-c", "import thrift"])] {
        match Command::new(tool).args(args.iter().filter(|arg| !arg.is_empty())).output() {
            Err(error) => return Some(format!("{tool}: {error}")),
            Ok(output) if !output.status.success() => {
                return Some(format!("{tool}: {}", String::from_utf8_lossy(&output.stderr)));
            }
            Ok(_) => {}
        }
    }
    None
}

/// What each step of `e2e/agent/calls.py` returns.
fn call(address: SocketAddr, mkey: &str, steps: &[&str]) -> Vec<String> {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new("python3")
        .arg(house.join("e2e/agent/calls.py"))
        .arg(house.join("thrift/ccfirewall.thrift"))
        .args([address.ip().to_string(), address.port().to_string(), mkey.to_owned()])
        .args(steps)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn flags(texts: &[String]) -> Vec<i32> {
    texts.iter().map(|text| ccfirewall_thrift::flag::from_text(text).unwrap().0).collect()
}

#[test]
fn a_client_of_2016_gets_its_flags() {
    if let Some(reason) = missing() {
        return real_servers::skip(&reason);
    }
    let agent = agent::start(config()).unwrap();
    let steps = [
        "block:203.0.113.9",
        "block:203.0.113.9",
        "unblock:203.0.113.9",
        "unblock:203.0.113.9",
        "block:2001:db8::1",
        "block:203.0.113.0/24",
        "block:nonsense",
        "status",
    ];
    let texts = call(agent.address(), MKEY, &steps);
    assert_eq!(texts[0], r#"{"flag":1,"result":"203.0.113.9 is banned for 86400 s"}"#);
    assert_eq!(flags(&texts), [1, -1, 1, -1, 1, -2, -2, 1]);
    let texts = call(agent.address(), "wrong", &["block:203.0.113.9", "unblock:203.0.113.9", "status"]);
    assert_eq!(flags(&texts), [-3, -3, -3]);
    // In the oldest spelling, too.
    let texts =
        call(agent.address(), MKEY, &["--old-style", "block:203.0.113.7", "unblock:203.0.113.7", "status"]);
    assert_eq!(flags(&texts), [1, 1, 1]);

    let mut config = config();
    config.enforcer = Choice::Own(Box::new(Refusing));
    let agent = agent::start(config).unwrap();
    assert_eq!(flags(&call(agent.address(), MKEY, &["block:203.0.113.9", "unblock:203.0.113.9"])), [-4, -4]);
}

/// What both want holds; where they differ the owner of epochs wins, with its next full state.
#[test]
fn an_owner_of_epochs_wins_over_one_of_2016() {
    if let Some(reason) = missing() {
        return real_servers::skip(&reason);
    }
    let agent = agent::start(config()).unwrap();
    let mut owner = connect(agent.address());
    owner.sync(MKEY, 5, vec![ban("203.0.113.1", 60_000)], true, true).unwrap();
    let texts =
        call(agent.address(), MKEY, &["block:203.0.113.2", "block:203.0.113.1", "unblock:203.0.113.1"]);
    assert_eq!(flags(&texts), [1, -1, 1], "its calls are served");
    let held = |owner: &mut ccfirewall_thrift::Client| -> Vec<String> {
        let bans = owner.held(MKEY, 0, 10).unwrap().bans.unwrap();
        bans.into_iter().map(|ban| ban.target.unwrap()).collect()
    };
    assert_eq!(held(&mut owner), ["203.0.113.2"]);
    let answer = owner.sync(MKEY, 5, vec![ban("203.0.113.1", 60_000)], true, true).unwrap();
    assert!(answer.result.unwrap().starts_with("2 differences"));
    assert_eq!(held(&mut owner), ["203.0.113.1"]);
    assert_eq!(owner.status(MKEY).unwrap().epoch, Some(5));
}
