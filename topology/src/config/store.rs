//! Where things are kept: `[store]`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::MkeySource;

/// Where records, bans and answers of agents are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which database.
    pub database: Database,
    /// The IANA name of the zone of the times in it; `None` for the system's.
    pub time_zone: Option<String>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// On a server.
    Mysql(Mysql),
}

/// A database of a MySQL or MariaDB server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mysql {
    /// `mysql://user@host:port/database`, without a password.
    pub url: String,
    /// Where the password is; `None` where none is asked for.
    pub password: Option<MkeySource>,
    /// How the connection is kept secret.
    pub tls: Tls,
    /// The certificates of trusted authorities; `None` for the system's.
    pub ca: Option<PathBuf>,
}

/// How a connection is kept secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Off,
    /// By TLS where the server has it.
    #[default]
    Preferred,
    /// By TLS, whoever the server is.
    Required,
    /// By TLS, with a certificate that is trusted and has the server's name.
    Verified,
}

impl Store {
    /// The database's name in the state folder.
    pub(crate) const DATABASE: &str = "ccfirewall.db";

    /// The SQLite database in the state folder.
    #[must_use]
    pub fn in_state(state: &Path) -> Self {
        Self { database: Database::Sqlite(state.join(Self::DATABASE)), time_zone: None }
    }
}

impl Database {
    /// The SQLite database's path.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Mysql(_) => None,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Mysql(Mysql { url, .. }) => f.write_str(url),
        }
    }
}

/// What is wrong with a URL, if anything is. The password that may stand in it is in no message.
pub(super) fn fault(url: &str) -> Option<&'static str> {
    const SHAPE: &str = "must be a MySQL URL such as \"mysql://ccfirewall@10.0.0.5:3306/ccfirewall\"";
    let Some(rest) = url.strip_prefix("mysql://").or_else(|| url.strip_prefix("mariadb://")) else {
        return Some(SHAPE);
    };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    if let Some((user, _)) = authority.rsplit_once('@')
        && user.contains(':')
    {
        return Some("must not have a password in it: put that into `password_file` or `password_env`");
    }
    if query.is_some_and(|query| !query.starts_with("socket=/") || query.contains('&')) {
        return Some("may only have `?socket=/path` behind it; the rest has keys of its own");
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '#';
    if database.is_empty() || database.contains('/') || authority.is_empty() || url.contains(odd) {
        return Some(SHAPE);
    }
    use sqlx::mysql::MySqlConnectOptions;
    url.parse::<MySqlConnectOptions>().is_err().then_some(SHAPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "mysql://ccfirewall@10.0.0.5:3306/ccfirewall",
            "mysql://localhost/db",
            "mariadb://u@[::1]/db",
            "mysql://u@localhost/db?socket=/run/mysqld/mysqld.sock",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "",
            "mysql://",
            "postgres://u@h/d",
            "mysql://u@h",
            "mysql://u@h/",
            "mysql:///d",
            "mysql://u@h:x/d",
            "mysql://u@h/a/b",
            "mysql://u@h/d#f",
            "mysql://u@h/d e",
        ] {
            assert!(fault(bad).is_some_and(|fault| fault.starts_with("must be")), "{bad}");
        }
        assert!(fault("mysql://u:secret@h/d").is_some_and(|fault| fault.contains("password_file")));
        assert!(fault("mysql://u@h/d?ssl-mode=off").is_some_and(|fault| fault.contains("socket")));
    }
}
