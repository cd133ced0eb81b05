//! A secret, such as the one that is shared with an agent: where it is. It is read when it is needed and printed
//! nowhere.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

/// Where the secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MkeySource {
    /// In a file; line feeds at its end don't belong to it.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum MkeyError {
    /// The file can't be read.
    #[error("can't read the {what} in {}: {reason}", .path.display())]
    File {
        /// Which secret it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The variable isn't set.
    #[error("the environment variable `{variable}`, which should hold the {what}, isn't set")]
    Unset {
        /// Which secret it is.
        what: &'static str,
        /// The variable.
        variable: String,
    },
    /// There is nothing in it, or something else.
    #[error("{place} holds no {what}: it must be one line of UTF-8 text, 1 to 1024 bytes")]
    Unfit {
        /// Which secret it is.
        what: &'static str,
        /// The file or variable.
        place: String,
    },
}

const LONGEST: usize = 1024;

/// Where it is, never what it is.
impl fmt::Display for MkeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "${name}"),
        }
    }
}

impl MkeySource {
    /// Reads the secret of an agent.
    ///
    /// # Errors
    /// Where it isn't there or can't be one. The secret is in no message.
    pub fn read(&self) -> Result<String, MkeyError> {
        self.read_as("mkey")
    }

    /// Reads a secret; messages call it `what`.
    ///
    /// # Errors
    /// Where it isn't there or can't be one. The secret is in no message.
    pub fn read_as(&self, what: &'static str) -> Result<String, MkeyError> {
        let value = match self {
            Self::File(path) => {
                let mut bytes = Vec::new();
                let limit = LONGEST as u64 + 3;
                File::open(path)
                    .and_then(|file| file.take(limit).read_to_end(&mut bytes))
                    .map_err(|reason| MkeyError::File { what, path: path.clone(), reason })?;
                String::from_utf8(bytes).ok()
            }
            Self::Env(name) => match std::env::var_os(name) {
                None => return Err(MkeyError::Unset { what, variable: name.clone() }),
                Some(value) => value.into_string().ok(),
            },
        };
        let value = value.as_deref().map(|value| value.trim_end_matches(['\r', '\n']));
        let fits =
            |value: &&str| !value.is_empty() && value.len() <= LONGEST && !value.contains(['\0', '\r', '\n']);
        value
            .filter(fits)
            .map(str::to_owned)
            .ok_or_else(|| MkeyError::Unfit { what, place: self.to_string() })
    }
}
