//! ZooKeeper: away, forbidding, without our nodes, and with settings that have errors.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use real_servers::Servers;
use zk_config::{Ensemble, ZooKeeper};

use crate::program::{file, program};
use crate::site::{Nobody, Site, silent};
use crate::zookeeper_common::{connect, create, place, write_directly};

fn config(servers: &str, root: &str) -> String {
    format!(
        "[[source]]\nstdin = true\n[agent]\nenforcer = \"dry-run\"\n[zookeeper]\nservers = \"{servers}\"\nroot = \"{root}\"\n\
         session_timeout = 2\n"
    )
}

fn of(ensemble: &Ensemble) -> String {
    config(&ensemble.servers, &ensemble.root)
}

#[test]
fn away() {
    let (one, other) = (Nobody::new(), Nobody::new());
    let servers = format!("{},{}", one.address(), other.address());
    let said = Site::new().doctor(&config(&servers, "/ccfirewall"));
    assert_eq!(said.code, Some(1));
    said.has("zookeeper", "bad", "ZooKeeper is away", "`servers` in [zookeeper]");
    for address in [one.address(), other.address()] {
        said.has("zookeeper", "bad", &format!("{address} (Connection refused"), "");
    }
    said.has("settings", "skipped", "judged by the defaults", "");
}

#[test]
fn killed_and_paused() {
    let Some(servers) = Servers::own("doctor-zookeeper") else { return };
    let url = servers.up("zookeeper");
    let said = Site::new().doctor(&config(&url, "/ccfirewall"));
    said.has("zookeeper", "skipped", "/ccfirewall isn't there yet", "");
    servers.pause("zookeeper");
    let said = Site::new().doctor(&config(&url, "/ccfirewall"));
    servers.resume("zookeeper");
    said.has("zookeeper", "bad", "gives no session", "Mode:");
    servers.kill("zookeeper");
    let said = Site::new().doctor(&config(&url, "/ccfirewall"));
    said.has("zookeeper", "bad", &format!("{url} (Connection refused"), "see that ZooKeeper runs");
}

#[test]
fn something_else_that_listens() {
    let silent = silent();
    let address = silent.local_addr().unwrap().to_string();
    let said = Site::new().doctor(&config(&address, "/ccfirewall"));
    said.has("zookeeper", "bad", &format!("{address} takes connections, and gives no session"), "wants TLS");
}

#[test]
fn tls_where_none_is_spoken() {
    let Some((_servers, ensemble)) = place() else { return };
    let site = Site::new();
    let authority = rcgen::generate_simple_self_signed(vec!["zk".to_owned()]).unwrap();
    file(&site.folder, "ca.pem", authority.cert.pem());
    let said = site.doctor(&format!("{}ca = \"ca.pem\"\n", of(&ensemble)));
    said.has("zookeeper", "bad", "gives no session", "secureClientPort");
}

#[test]
fn nothing_there_stays_so() {
    let Some((_servers, ensemble)) = place() else { return };
    let said = Site::new().doctor(&of(&ensemble));
    said.has("zookeeper", "skipped", &format!("{} isn't there yet", ensemble.root), "");
    said.has("settings", "skipped", "creates them from the defaults", "");
    assert_eq!(said.complaints(), Vec::<&str>::new());
    let look = zk_config::look(&ensemble, "owner", crate::zookeeper_common::PATIENCE).unwrap();
    assert!(!look.root, "the doctor has made {}", ensemble.root);
}

#[test]
fn forbidden() {
    let Some((_servers, mut ensemble)) = place() else { return };
    ensemble.digest = Some("us:secret".to_owned());
    connect(&ensemble).create_settings_if_absent("{}", "test").unwrap();
    let site = Site::new();
    let said = site.doctor(&of(&ensemble));
    said.has("zookeeper", "bad", "ZooKeeper forbids it", "auth_file");
    file(&site.folder, "auth", "us:wrong\n");
    let said = site.doctor(&format!("{}auth_file = \"auth\"\n", of(&ensemble)));
    said.has("zookeeper", "bad", "ZooKeeper forbids it", "user and password into");
    file(&site.folder, "auth", "us:secret\n");
    let said = site.doctor(&format!("{}auth_file = \"auth\"\n", of(&ensemble)));
    said.has("zookeeper", "ok", "is there", "");
}

/// Lines as they come through a proxy.
fn proxied(site: &Site) -> String {
    let time = model::time::Civil::of(model::units::Second(crate::kafka_common::now())).time_local();
    let line =
        |n| format!("10.0.0.5 - - [{time}] \"GET /{n} HTTP/1.1\" 200 1 \"-\" \"-\" \"198.51.100.{n}\"\n");
    file(&site.folder, "access.log", (0..100).map(line).collect::<String>());
    let format = "$remote_addr - $remote_user [$time_local] \\\"$request\\\" $status $body_bytes_sent \
                  \\\"$http_referer\\\" \\\"$http_user_agent\\\" \\\"$http_x_forwarded_for\\\"";
    format!("[[source]]\nlog = \"access.log\"\nformat = \"{format}\"\n")
}

#[test]
fn the_settings_that_hold_are_those_there() {
    let Some((_servers, ensemble)) = place() else { return };
    let site = Site::new();
    // The file says otherwise, and doesn't count once there are some in ZooKeeper.
    file(&site.folder, "settings.json", "{}");
    let config = of(&ensemble).replace("[[source]]\nstdin = true\n", &proxied(&site));
    let config = format!("settings = \"settings.json\"\n{config}");
    let said = site.doctor(&config);
    said.has("settings", "skipped", "creates them from", "");
    said.has("reach", "bad", "behind a proxy", "trusted_proxies");

    connect(&ensemble).create_settings_if_absent(r#"{"trusted_proxies": ["10.0.0.0/8"]}"#, "test").unwrap();
    let said = site.doctor(&config);
    said.has("settings", "ok", &format!("version 0 of {}/config in ZooKeeper", ensemble.root), "");
    said.has("reach", "warn", "decisions are right", "");

    // Broken ones aren't used, whoever writes them: what was kept holds on.
    write_directly(&ensemble, br#"{"count": 0}"#);
    fs::create_dir_all(site.path("state")).unwrap();
    let kept = site.path("state").join("settings.zookeeper.last-good.json");
    fs::write(kept, r#"{"trusted_proxies": ["10.0.0.0/8"]}"#).unwrap();
    let said = site.doctor(&config);
    assert_eq!(said.code, Some(1));
    said.has("settings", "bad", "version 1 of", "rollback");
    said.has("settings", "bad", "what held before", "settings edit");
    said.has("reach", "warn", "decisions are right", "");
}

#[test]
fn a_run_says_what_holds_and_judges_by_it() {
    let Some((_servers, ensemble)) = place() else { return };
    let site = Site::new();
    connect(&ensemble).create_settings_if_absent(r#"{"trusted_proxies": ["10.0.0.0/8"]}"#, "test").unwrap();
    file(&site.folder, "settings.json", "{}");
    let config = of(&ensemble).replace("[[source]]\nstdin = true\n", &proxied(&site));
    let config = format!(
        "settings = \"settings.json\"\nstate = \"state\"\n{config}[http]\nlisten = \"127.0.0.1:0\"\n"
    );
    let config = file(&site.folder, "run.toml", config);
    let mut run = program();
    run.args(["run", "--dry-run", "--config"]).arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let mut told = String::new();
    for line in BufReader::new(run.stderr.take().unwrap()).lines().map_while(Result::ok) {
        told.push_str(&line);
        told.push('\n');
        if line.contains("pages ") {
            break;
        }
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(told.contains(&format!("rules    {}/config in ZooKeeper", ensemble.root)), "{told}");
    assert!(told.contains("decisions are right, but"), "{told}");
}

#[test]
fn who_owns_the_bans() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper: ZooKeeper = connect(&ensemble);
    create(&ensemble, b"{}");
    let (tell, won) = std::sync::mpsc::channel();
    let campaign = zookeeper.campaign("owner", "worker-7", move |event| drop(tell.send(event))).unwrap();
    won.recv_timeout(crate::zookeeper_common::PATIENCE).unwrap();
    let said = Site::new().doctor(&of(&ensemble));
    said.has("zookeeper", "ok", "worker-7 owns the bans", "");
    campaign.resign().unwrap();
}
