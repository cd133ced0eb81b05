//! Can ZooKeeper be reached, does it let us in, and is what we need there?

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use model::text::shown;
use zk_config::{Error, Look};

use super::finding::{Finding, Report, plain};
use crate::app::ownership;
use crate::config::ZooKeeperPlace;

const CHECK: &str = "zookeeper";

/// So long a server may take to accept a connection, and the ensemble to open a session.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a server says to a connection.
type Server = (String, Result<(), String>);

/// Looks at ZooKeeper; `None` where it can't be looked at.
pub(super) fn examine(place: &ZooKeeperPlace, report: &mut Report) -> Option<Look> {
    let ensemble = match place.ensemble() {
        Ok(ensemble) => ensemble,
        Err(error) => {
            let mend = "it is `auth_file` in [zookeeper]: one line `user:password`, which this user may read";
            report.add(Finding::bad(CHECK, error.to_string(), mend));
            return None;
        }
    };
    let servers: Vec<Server> =
        place.servers.split(',').map(|server| (server.to_owned(), connect(server))).collect();
    if !servers.iter().any(|(_, answer)| answer.is_ok()) {
        report.add(away(&servers));
        return None;
    }
    match zk_config::look(&ensemble, ownership::NODE, PATIENCE) {
        Ok(look) => {
            judge(place, &servers, &look, report);
            Some(look)
        }
        Err(error) => {
            report.add(no_session(&servers, place.tls.is_some(), &error));
            None
        }
    }
}

fn connect(server: &str) -> Result<(), String> {
    let addresses: Vec<_> = server.to_socket_addrs().map_err(|error| plain(&error.to_string()))?.collect();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(plain(&last.to_string()))
}

/// Those that take no connections, with the reasons.
fn refusing(servers: &[Server]) -> String {
    let of = |(server, answer): &Server| Some(format!("{server} ({})", answer.as_ref().err()?));
    servers.iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

fn away(servers: &[Server]) -> Finding {
    Finding::bad(
        CHECK,
        format!("ZooKeeper is away: no server takes connections: {}", refusing(servers)),
        "see that ZooKeeper runs there, that `servers` in [zookeeper] names its hosts and ports, and that no firewall \
         between keeps this machine out; until it is back a ccfirewall that runs goes on with the settings that it has, \
         and none starts that has nothing kept",
    )
}

fn no_session(servers: &[Server], tls: bool, error: &Error) -> Finding {
    let why = match error {
        Error::Away { why, .. } => why.clone(),
        other => other.to_string(),
    };
    let taking: Vec<&str> =
        servers.iter().filter(|(_, answer)| answer.is_ok()).map(|(server, _)| server.as_str()).collect();
    let mend = if tls {
        "is that the port for TLS (`secureClientPort`), is its certificate of the authority in `ca` and for that name, and \
         does it want one of ours (`cert`, `key`)? Else see whether most servers of the ensemble run"
    } else {
        "see whether most servers of the ensemble run (`echo srvr | nc HOST PORT` must show `Mode:`), and whether that \
         port wants TLS (`ca` in [zookeeper])"
    };
    let found = format!(
        "{} takes connections, and gives no session: {}",
        taking.join(", "),
        shown(why.as_bytes(), 300)
    );
    Finding::bad(CHECK, found, mend)
}

fn judge(place: &ZooKeeperPlace, servers: &[Server], look: &Look, report: &mut Report) {
    let refusing = refusing(servers);
    if !refusing.is_empty() {
        let found = format!("of {} servers these take no connections: {refusing}", servers.len());
        let mend = "start them: a majority must run, and every further loss may be one too many";
        report.add(Finding::warn(CHECK, found, mend));
    }
    let denied = [look.settings.as_ref().err(), look.agents.as_ref().err(), look.holder.as_ref().err()];
    if let Some(error) = denied.into_iter().flatten().next() {
        let mend = match &place.auth_file {
            Some(file) => format!("put the user and password into {} that the nodes were created with", file.display()),
            None => "the nodes were created with a user and password: name the file with them (`auth_file` in [zookeeper])"
                .to_owned(),
        };
        return report.add(Finding::bad(CHECK, error.to_string(), mend));
    }
    if !look.root {
        let found = format!("ZooKeeper answers; {} isn't there yet: the first start makes it", place.root);
        return report.add(Finding::skipped(CHECK, found));
    }
    let owner = match &look.holder {
        Ok(Some(holder)) => format!("{} owns the bans", shown(&holder.data, 100)),
        _ => "nobody owns the bans now".to_owned(),
    };
    report.add(Finding::ok(
        CHECK,
        format!("ZooKeeper answers at {}, {} is there; {owner}", place.servers, place.root),
    ));
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use zk_config::Holder;

    fn server(name: &str, answer: Result<(), &str>) -> Server {
        (name.to_owned(), answer.map_err(str::to_owned))
    }

    #[test]
    fn away_in_many_ways() {
        let all = [server("a:1", Err("refused")), server("b:2", Err("timed out"))];
        let finding = away(&all);
        assert_eq!(finding.level, Level::Bad);
        assert!(finding.found.contains("a:1 (refused), b:2 (timed out)"), "{finding:?}");
        let error = || Error::Away {
            servers: String::new(),
            waited: PATIENCE,
            why: "none takes a session".to_owned(),
        };
        let one = [server("a:1", Ok(())), server("b:2", Err("refused"))];
        for (tls, part) in [(false, "srvr"), (true, "secureClientPort")] {
            let finding = no_session(&one, tls, &error());
            assert!(finding.found.starts_with("a:1 takes"), "{finding:?}");
            assert!(finding.mend.unwrap().contains(part));
        }
    }

    #[test]
    fn what_is_there_and_not() {
        let place = ZooKeeperPlace::new("a:1".to_owned());
        let check = |servers: &[Server], change: fn(&mut Look), level, part: &str| {
            let mut look = Look {
                root: true,
                settings: Ok(None),
                agents: Ok(Vec::new()),
                holder: Ok(Some(Holder { epoch: 7, data: b"web1".to_vec() })),
            };
            change(&mut look);
            let mut report = Report::default();
            judge(&place, servers, &look, &mut report);
            assert_eq!(report.worst(), level, "{report:?}");
            assert!(format!("{report:?}").contains(part), "{report:?}");
        };
        let well = [server("a:1", Ok(()))];
        check(&well, |_| {}, Level::Ok, "web1 owns the bans");
        check(&well, |look| look.holder = Ok(None), Level::Ok, "nobody owns");
        check(&well, |look| look.root = false, Level::Skipped, "isn't there yet");
        let denied =
            |look: &mut Look| look.settings = Err(Error::Denied { path: "/ccfirewall/config".to_owned() });
        check(&well, denied, Level::Bad, "auth_file");
        let one_away = [server("a:1", Ok(())), server("b:2", Err("refused"))];
        check(&one_away, |_| {}, Level::Warn, "b:2 (refused)");
    }
}
