//! The ensemble of ZooKeeper. The secret for its nodes is read when it is needed and printed nowhere.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zk_config::{Ensemble, Tls};

/// Where the ensemble is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperPlace {
    /// The servers, as `host:port,host:port`.
    pub servers: String,
    /// The node below which everything of ours is.
    pub root: String,
    /// How long a session outlives a silent client; 1 s to 120 s.
    pub session_timeout: Duration,
    /// The file with `user:password`.
    pub auth_file: Option<PathBuf>,
    /// Speak TLS.
    pub tls: Option<Tls>,
}

/// Why there is no `user:password`.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file can't be read.
    #[error("can't read the user and password for ZooKeeper in {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// There is something else in it.
    #[error("{} must hold one line `user:password` in UTF-8, at most 1024 bytes", .0.display())]
    Unfit(PathBuf),
}

const LONGEST: usize = 1024;

impl ZooKeeperPlace {
    /// The ensemble at `servers`, everything else as by default.
    #[must_use]
    pub fn new(servers: String) -> Self {
        let Ensemble { servers, root, session_timeout, .. } = Ensemble::new(servers);
        Self { servers, root, session_timeout, auth_file: None, tls: None }
    }

    /// What one connects with.
    ///
    /// # Errors
    /// Where the file of the secret isn't there or can't be one. The secret is in no message.
    pub fn ensemble(&self) -> Result<Ensemble, AuthError> {
        Ok(Ensemble {
            root: self.root.clone(),
            session_timeout: self.session_timeout,
            digest: self.auth_file.as_deref().map(read_auth).transpose()?,
            tls: self.tls.clone(),
            ..Ensemble::new(self.servers.clone())
        })
    }

    /// `servers`, where they can be right.
    pub(super) fn read_servers(servers: &str) -> Option<String> {
        Ensemble::new(servers).check().ok().map(|()| servers.to_owned())
    }

    /// `root`, where it can be one.
    pub(super) fn read_root(root: &str) -> Option<String> {
        let ensemble = Ensemble { root: root.to_owned(), ..Ensemble::new("localhost:2181") };
        ensemble.check().ok().map(|()| ensemble.root)
    }
}

fn read_auth(path: &Path) -> Result<String, AuthError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST as u64 + 3).read_to_end(&mut bytes))
        .map_err(|reason| AuthError::File { path: path.to_owned(), reason })?;
    let text = String::from_utf8(bytes).ok();
    let text = text.as_deref().map(|text| text.trim_end_matches(['\r', '\n']));
    let fits = |text: &&str| {
        let parts = text.split_once(':');
        text.len() <= LONGEST
            && !text.contains(['\0', '\r', '\n'])
            && parts.is_some_and(|(user, password)| !user.is_empty() && !password.is_empty())
    };
    text.filter(fits).map(str::to_owned).ok_or_else(|| AuthError::Unfit(path.to_owned()))
}
