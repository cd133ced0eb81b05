//! The key (`mkey`) that owner and agent share.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;

/// The longest key, in bytes.
const MAX_LENGTH: usize = 256;
/// Shorter ones are guessed too soon.
const MIN_LENGTH: usize = 8;
/// Those that are tried first.
const WELL_KNOWN: &[&str] = &[
    "12345678",
    "123456789",
    "1234567890",
    "87654321",
    "11111111",
    "00000000",
    "password",
    "password1",
    "passw0rd",
    "qwertyui",
    "qwerty123",
    "secretkey",
    "topsecret",
    "changeme",
    "changeit",
    "changethis",
    "letmein1",
    "iloveyou",
    "administrator",
    "adminadmin",
    "testtest",
    "testing123",
    "firewall",
    "ccfirewall",
    "ccfirewall-agent",
    "iptables",
    "nftables",
    "blockipbyiptables",
    "mkeymkey",
    "your-key",
    "yourmkey",
    "your_mkey",
    "replace-me",
    "replaceme",
];

/// A shared secret. Its text is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read.
    #[error("the key can't be read from {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Nothing is in the file.
    #[error("{0} holds no key: write one there (for instance with: openssl rand -hex 24)")]
    Empty(PathBuf),
    /// Too long.
    #[error("the key is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Control characters, which hardly anybody means.
    #[error("the key has control characters or line breaks in it: it must be one line of text")]
    NotALine,
    /// Other machines can connect, and would soon guess it.
    #[error(
        "{address} can be reached from other machines, and the key {why}: give a key of at least {MIN_LENGTH} bytes \
         that nobody guesses (--mkey-file, made for instance with: openssl rand -hex 24), or listen on 127.0.0.1"
    )]
    Weak {
        /// Where the agent would listen.
        address: IpAddr,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Key {
    /// A key; the empty one is allowed here.
    ///
    /// # Errors
    /// Where it is too long or no line of text.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_LENGTH {
            return Err(KeyError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(KeyError::NotALine);
        }
        Ok(Self(text.to_owned()))
    }

    /// The key in the first line of a file, and what is doubtful about the file.
    ///
    /// # Errors
    /// Where it can't be read or holds no key.
    pub fn from_file(path: &Path) -> Result<(Self, Option<String>), KeyError> {
        let unreadable = |cause| KeyError::Unreadable { path: path.to_owned(), cause };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode();
        let mut text = String::new();
        file.take(2 * MAX_LENGTH as u64).read_to_string(&mut text).map_err(unreadable)?;
        let line = text.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Err(KeyError::Empty(path.to_owned()));
        }
        let doubt = (mode & 0o004 != 0)
            .then(|| format!("{} can be read by everybody on this machine: chmod 600 {0}", path.display()));
        Ok((Self::new(line)?, doubt))
    }

    /// Whether somebody knows it. Takes the same time whatever was given, and so tells nothing of the key or its
    /// length.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        let mut both = [[0u8; MAX_LENGTH]; 2];
        both[0][..self.0.len()].copy_from_slice(self.0.as_bytes());
        let fits = given.len().min(MAX_LENGTH);
        both[1][..fits].copy_from_slice(&given[..fits]);
        let same_length = (self.0.len() as u64).ct_eq(&(given.len() as u64));
        (both[0].ct_eq(&both[1]) & same_length).into()
    }

    /// Why it would be guessed, where it would.
    #[must_use]
    pub fn weakness(&self) -> Option<&'static str> {
        let lower = self.0.to_lowercase();
        let mut bytes = lower.bytes();
        let first = bytes.next();
        if first.is_none() {
            Some("is empty")
        } else if self.0.len() < MIN_LENGTH {
            Some("is shorter than 8 bytes")
        } else if bytes.all(|byte| Some(byte) == first) {
            Some("is one character again and again")
        } else if WELL_KNOWN.contains(&lower.as_str()) {
            Some("is one of those that everybody tries first")
        } else {
            None
        }
    }

    /// Checks that it is good enough for an address.
    ///
    /// # Errors
    /// Where others can reach the address and the key is weak.
    pub fn suits(&self, address: IpAddr) -> Result<(), KeyError> {
        match self.weakness() {
            Some(why) if !address.to_canonical().is_loopback() => Err(KeyError::Weak { address, why }),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_key_is_the_key() {
        let key = Key::new("correct horse").unwrap();
        assert!(key.is(b"correct horse"));
        for wrong in ["", "correct hors", "correct horse ", "Correct horse", "correct horse\0"] {
            assert!(!key.is(wrong.as_bytes()), "{wrong:?}");
        }
        let longest = "x".repeat(MAX_LENGTH);
        assert!(Key::new(&longest).unwrap().is(longest.as_bytes()));
        assert!(!Key::new(&longest).unwrap().is(format!("{longest}x").as_bytes()));
        assert!(matches!(Key::new(&format!("{longest}x")), Err(KeyError::TooLong)));
        let none = Key::new("").unwrap();
        assert!(none.is(b"") && !none.is(b"\0") && !none.is(&[0; 300]));
        assert_eq!(format!("{key:?}"), "Key(…)");
    }

    #[test]
    fn weak_keys_are_for_this_machine_only() {
        for weak in [
            "",
            "123456",
            "password",
            "secret",
            "mkey",
            "changeme",
            "test",
            "admin",
            "CCfirewall",
            "zzzzzzzzz",
        ] {
            let key = Key::new(weak).unwrap();
            for local in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
                assert!(key.suits(local.parse().unwrap()).is_ok(), "{weak} {local}");
            }
            for open in ["0.0.0.0", "::", "10.0.0.1", "2001:db8::1"] {
                let error = key.suits(open.parse().unwrap()).unwrap_err().to_string();
                assert!(error.contains("--mkey-file"), "{error}");
                assert!(weak.is_empty() || weak == "mkey" || !error.contains(weak), "{error}");
            }
        }
        assert!(Key::new("k3J9-vv2e").unwrap().suits("0.0.0.0".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_file_holds_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mkey");
        let write = |bytes: &[u8], mode: u32| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Key::from_file(&path)
        };
        let (key, doubt) = write(b"a good key\r\n", 0o640).unwrap();
        assert!(key.is(b"a good key") && doubt.is_none());
        let (_, doubt) = write(b"a good key", 0o644).unwrap();
        assert!(doubt.unwrap().contains("chmod 600"));
        assert!(matches!(write(b"\n", 0o600), Err(KeyError::Empty(_))));
        assert!(matches!(write(b"two\nlines\n", 0o600), Err(KeyError::NotALine)));
        assert!(matches!(write(b"\xff\xfe", 0o600), Err(KeyError::Unreadable { .. })));
        assert!(matches!(write(&[b'x'; 100_000], 0o600), Err(KeyError::TooLong)));
        assert!(matches!(Key::from_file(&folder.path().join("none")), Err(KeyError::Unreadable { .. })));
    }
}
