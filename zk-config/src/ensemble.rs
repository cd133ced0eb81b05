//! What one needs to connect.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// An ensemble of ZooKeeper servers, and our place in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ensemble {
    /// The servers, as `host:port,host:port`.
    pub servers: String,
    /// The node below which everything of ours is: `/ccfirewall`. It is created where it is missing.
    pub root: String,
    /// How long a session outlives a silent client; 6 s. The servers may only grant another one (by default, from 2
    /// to 20 of their ticks).
    pub session_timeout: Duration,
    /// `user:password`. With it, nodes that we create may be read and changed by whoever has the same one, and by
    /// nobody else; so agents of 2016, which have none, can't register below a list that was created with it. Nodes
    /// that are there already keep their ACL.
    pub digest: Option<String>,
    /// Speak TLS.
    pub tls: Option<Tls>,
}

/// The files for TLS, in PEM. They are read at each new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Whose certificates are believed.
    pub ca: PathBuf,
    /// Our certificate and its key, where the servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Ensemble {
    /// The ensemble at `servers`, with everything else as it usually is.
    #[must_use]
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            root: "/ccfirewall".to_owned(),
            session_timeout: Duration::from_secs(6),
            digest: None,
            tls: None,
        }
    }

    /// Looks over what can be wrong before anything is connected.
    ///
    /// # Errors
    /// [`Error::Invalid`] says which part, and how it should look.
    pub fn check(&self) -> Result<(), Error> {
        for server in self.servers.split(',') {
            let port = server
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty())
                .map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) || server.contains(['/', ' ']) {
                return Err(Error::Invalid(format!(
                    "`{server}` is no server of ZooKeeper: write servers as \"host:port,host:port\", and the root on \
                     its own"
                )));
            }
        }
        if !self.root.starts_with('/') || check_path(&self.root[1..]).is_err() {
            return Err(Error::Invalid(format!(
                "`{}` can't be the root: write it like /ccfirewall",
                self.root
            )));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(120)).contains(&self.session_timeout) {
            return Err(Error::Invalid("the session timeout must be from 1 s to 120 s".to_owned()));
        }
        if let Some(digest) = &self.digest
            && digest.split_once(':').is_none_or(|(user, password)| user.is_empty() || password.is_empty())
        {
            return Err(Error::Invalid("the digest must be \"user:password\"".to_owned()));
        }
        Ok(())
    }

    /// The whole path of a node below the root.
    pub(crate) fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.root)
    }
}

/// Whether it can name a node below the root.
pub(crate) fn check_path(below: &str) -> Result<(), Error> {
    let is_name =
        |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains(char::is_control);
    if below.split('/').all(is_name) && below != "zookeeper" && below.len() < 1000 {
        Ok(())
    } else {
        Err(Error::Invalid(format!(
            "`{}` can't name a node: write it like workers/one",
            below.escape_debug()
        )))
    }
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensemble")
            .field("servers", &self.servers)
            .field("root", &self.root)
            .field("session_timeout", &self.session_timeout)
            .field("digest", &self.digest.as_ref().map(|_| "(secret)"))
            .field("tls", &self.tls)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Ensemble)) -> bool {
        let mut ensemble = Ensemble::new("127.0.0.1:2181,[::1]:2182");
        change(&mut ensemble);
        ensemble.check().is_ok()
    }

    #[test]
    fn what_cannot_be_is_said_before_connecting() {
        assert!(check(|_| ()));
        for servers in
            ["", ",", "host", "host:", ":2181", "host:0", "host:99999", "a:1,,b:1", "a:1/root", "a:1, b:1"]
        {
            assert!(!check(|ensemble| servers.clone_into(&mut ensemble.servers)), "{servers}");
        }
        for root in ["", "/", "ccfirewall", "/a/", "/a//b", "/a/../b", "/\u{0}", "/zookeeper"] {
            assert!(!check(|ensemble| root.clone_into(&mut ensemble.root)), "{root}");
        }
        assert!(check(|ensemble| "/site/ccfirewall".clone_into(&mut ensemble.root)));
        assert!(!check(|ensemble| ensemble.session_timeout = Duration::ZERO));
        for digest in ["", "user", ":", "user:", ":password"] {
            assert!(!check(|ensemble| ensemble.digest = Some(digest.to_owned())), "{digest}");
        }
    }

    #[test]
    fn the_digest_is_kept_out_of_logs() {
        let mut ensemble = Ensemble::new("a:1");
        ensemble.digest = Some("user:hush".to_owned());
        assert!(!format!("{ensemble:?}").contains("hush"));
    }
}
