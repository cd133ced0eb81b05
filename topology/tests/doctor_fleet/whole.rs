//! A fleet in which everything is in order.

use topology::config::Database;

use crate::agents::an_agent;
use crate::kafka_common::{Topic, now};
use crate::site::{KEY, Site};
use crate::store_common::Db;
use crate::zookeeper_common::{connect, place};
use zk_config::AgentNode;

#[test]
fn everything_in_order_is_nothing_to_complain_of() {
    let Some((servers, ensemble)) = place() else { return };
    let topic = Topic::shared("doctor-whole", 4).unwrap();
    let db = Db::mysql(&servers, "doctor_whole");
    let Database::Mysql(server) = &db.place else { panic!("no server") };
    let zookeeper = connect(&ensemble);
    zookeeper.create_settings_if_absent(r#"{"count": 100}"#, "test").unwrap();
    let (named, registered) = (an_agent(KEY), an_agent(KEY));
    let node = AgentNode {
        address: registered.address(),
        version: String::new(),
        enforcer: "nftables".to_owned(),
        tls: false,
        ready: true,
    };
    let _node = zookeeper.register_agent("10.0.0.1", &node).unwrap();
    let listed =
        || zk_config::look(&ensemble, "owner", crate::zookeeper_common::PATIENCE).unwrap().agents.unwrap();
    crate::kafka_common::until("it is listed", || listed().len() == 1);
    let Some(topology::config::MkeySource::File(password)) = &server.password else { panic!("no password") };
    let config = format!(
        "[worker]\nrole = \"ROLE\"\n[[source]]\nkafka = \"{}\"\n[kafka]\nbrokers = \"{}\"\nhits_topic = \"{0}.hits\"\n\
         findings_topic = \"{0}.findings\"\nkey_bans_topic = \"{0}.bans\"\n[zookeeper]\nservers = \"{}\"\nroot = \"{}\"\n\
         [store]\nurl = \"{}\"\npassword_file = \"{}\"\n[registered_agents]\nmkey_file = \"mkey\"\n\
         [[agents]]\naddress = \"{}\"\nmkey_file = \"mkey\"\n",
        topic.name,
        topic.brokers,
        ensemble.servers,
        ensemble.root,
        server.url,
        password.display(),
        named.address(),
    );
    for role in ["all", "match", "analyse"] {
        for n in 0..100 {
            let line =
                crate::kafka_common::line(n, now()).replace("198.51.100.7", &format!("198.51.100.{n}"));
            topic.send(i32::try_from(n).unwrap() % 4, &line);
        }
        topic.flush();
        let said = Site::new().doctor(&config.replace("ROLE", role));
        assert_eq!(said.complaints(), Vec::<&str>::new(), "{role}: {said:?}");
        assert_eq!(said.code, Some(0), "{role}: {said:?}");
        for check in ["kafka", "topic", "lines", "clock", "reach", "zookeeper", "settings", "state", "agent"]
        {
            said.has(check, "ok", "", "");
        }
    }
}

#[test]
fn a_database_that_is_away_or_does_not_let_us_in() {
    let Some(servers) = real_servers::Servers::shared() else { return };
    let db = Db::mysql(&servers, "doctor_database");
    let Database::Mysql(server) = &db.place else { panic!("no server") };
    let site = Site::new();
    let config = |url: &str| {
        let file = "password_file = \"mkey\"";
        format!(
            "[[source]]\nstdin = true\n[agent]\nenforcer = \"dry-run\"\n[store]\nurl = \"{url}\"\n{file}\n"
        )
    };
    let said = site.doctor(&config(&server.url));
    said.has("database", "bad", "Access denied", "user and password");
    let nobody = crate::site::Nobody::new();
    let said = site.doctor(&config(&format!("mysql://u@{}/d", nobody.address())));
    said.has("database", "bad", "takes no connections: Connection refused", "see that the server runs");
}
