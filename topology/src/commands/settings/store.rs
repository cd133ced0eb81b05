//! Where the settings are that hold: in ZooKeeper, or in the file that the configuration names. Either is written
//! only over what was read before.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use model::settings::{Parsed, Settings};
use model::text::shown;
use model::units::Moment;
use rustix::fs::FlockOperation;
use zk_config::{ConfigNode, Error, Expected, ZooKeeper};

use crate::adapters::whole_file;
use crate::commands::Failure;
use crate::config::{Config, ZooKeeperPlace};

/// Which settings are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The configuration, which says where the settings are; without it, /etc/ccfirewall/ccfirewall.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Servers of ZooKeeper, instead of those of the configuration; with --config, its auth and TLS hold for them
    #[arg(long, value_name = "HOST:PORT,…")]
    zookeeper: Option<String>,
    /// The node below which everything is, where that isn't /ccfirewall
    #[arg(long, value_name = "NODE", requires = "zookeeper")]
    root: Option<String>,
}

/// The place of the settings.
pub(super) enum Store {
    ZooKeeper(ZooKeeper),
    File(PathBuf),
}

/// Settings as they are stored, in order or not.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// `None` where there are none.
    pub(super) bytes: Option<Vec<u8>>,
    node: Option<Expected>,
}

/// Somebody else wrote in the meantime.
#[derive(Debug, thiserror::Error)]
#[error("{0}; nothing was written")]
pub(super) struct Conflict(String);

/// How long ZooKeeper is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The mode of a new file: the firewall may run as another user of the same group.
const MODE: u32 = 0o640;

impl Where {
    pub(super) fn open(&self) -> anyhow::Result<Store> {
        let (zookeeper, file) = match (&self.zookeeper, &self.config) {
            (Some(servers), None) => (Some(ZooKeeperPlace::new(servers.clone())), None),
            (Some(servers), Some(config)) => {
                let configured = load(config)?.zookeeper;
                let place = configured.unwrap_or_else(|| ZooKeeperPlace::new(servers.clone()));
                (Some(ZooKeeperPlace { servers: servers.clone(), ..place }), None)
            }
            (None, config) => {
                let config = load(config.as_deref().unwrap_or(Path::new(Config::PATH)))?;
                (config.zookeeper, config.settings)
            }
        };
        if let Some(mut place) = zookeeper {
            place.root = self.root.clone().unwrap_or(place.root);
            let ensemble = place.ensemble()?;
            ensemble.check().map_err(|error| Failure::usage(error.to_string()))?;
            let zookeeper = ZooKeeper::start(ensemble)?;
            zookeeper.wait_connected(PATIENCE)?;
            return Ok(Store::ZooKeeper(zookeeper));
        }
        file.map(Store::File).ok_or_else(|| {
            Failure::usage(
                "the configuration names neither `[zookeeper]` nor a file with `settings`, so the defaults hold",
            )
        })
    }

    /// The place of settings that have a history.
    pub(super) fn open_with_history(&self) -> anyhow::Result<(Store, ZooKeeper)> {
        match self.open()? {
            Store::ZooKeeper(zookeeper) => Ok((Store::ZooKeeper(zookeeper.clone()), zookeeper)),
            Store::File(path) => Err(Failure::usage(format!(
                "the settings are in {}, and only ZooKeeper keeps older versions: write `[zookeeper]` in the \
                 configuration, or give --zookeeper",
                path.display()
            ))),
        }
    }
}

fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load(path).map_err(|error| match error {
        crate::config::ConfigError::Unreadable { .. } => Failure::usage(format!(
            "{error}\nname a configuration with --config, or the servers with --zookeeper (see --help)"
        )),
        crate::config::ConfigError::Invalid { .. } => Failure::settings(error.to_string()),
    })
}

impl Store {
    /// What is stored now.
    pub(super) fn read(&self) -> anyhow::Result<Stored> {
        match self {
            Self::ZooKeeper(zookeeper) => {
                let node = zookeeper.read_settings()?;
                let expected = node.as_ref().map(ConfigNode::expected);
                Ok(Stored { bytes: node.map(|node| node.text), node: expected })
            }
            Self::File(path) => Ok(Stored { bytes: read_file(path)?, node: None }),
        }
    }

    /// Replaces `stored` by `text`, and gives the number of the new version. Whether `text` is in order was looked at
    /// before.
    pub(super) fn write(&self, text: &str, stored: &Stored) -> anyhow::Result<Option<i32>> {
        match (self, stored.node) {
            (Self::ZooKeeper(zookeeper), Some(expected)) => {
                match zookeeper.write_settings(text, expected, &who()) {
                    Ok(node) => Ok(Some(node.version)),
                    Err(Error::Conflict { .. }) => Err(conflict(zookeeper)?.into()),
                    Err(error) => Err(error.into()),
                }
            }
            (Self::ZooKeeper(zookeeper), None) => {
                let node = zookeeper.create_settings_if_absent(text, &who())?;
                let ours = node.version == 0 && node.text == text.as_bytes();
                if ours { Ok(Some(node.version)) } else { Err(conflict(zookeeper)?.into()) }
            }
            (Self::File(path), _) => write_file(path, text, stored).map(|()| None),
        }
    }

    /// Where they are, for messages.
    pub(super) fn place(&self) -> String {
        match self {
            Self::ZooKeeper(_) => "ZooKeeper".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// That the version that `stored` is isn't the one that was meant.
    pub(super) fn expect(&self, stored: &Stored, version: i32) -> anyhow::Result<()> {
        match (self, stored.node) {
            (Self::File(_), _) => Err(Failure::usage("--expect needs ZooKeeper: a file has no versions")),
            (Self::ZooKeeper(_), Some(node)) if node.version == version => Ok(()),
            (Self::ZooKeeper(zookeeper), _) => Err(conflict(zookeeper)?.into()),
        }
    }
}

impl Stored {
    /// The text; of what isn't UTF-8 what there is of it.
    pub(super) fn text(&self) -> String {
        let bytes = self.bytes.as_deref().unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        text.strip_prefix('\u{feff}').map_or_else(|| text.to_string(), str::to_owned)
    }

    /// The settings; every error where they have some, and how to get some where there are none.
    pub(super) fn parse(&self, place: &str) -> anyhow::Result<Parsed> {
        parse(self.bytes(place)?, place)
    }

    /// What is stored, and how to get some where there is nothing.
    pub(super) fn bytes(&self, place: &str) -> anyhow::Result<&[u8]> {
        self.bytes.as_deref().with_context(|| {
            format!(
                "there are no settings in {place}; write some with `ccfirewall settings set --file FILE` (the \
                 defaults: `ccfirewall settings show | ccfirewall settings set --file -`)"
            )
        })
    }

    /// The number of the version, where there is one.
    pub(super) fn version(&self) -> Option<i32> {
        self.node.map(|node| node.version)
    }
}

/// Settings, or every error in them.
pub(super) fn parse(bytes: &[u8], place: &str) -> anyhow::Result<Parsed> {
    Settings::parse(bytes).map_err(|errors| {
        let count = errors.findings().len();
        let noun = if count == 1 { "error" } else { "errors" };
        Failure::settings(format!("{place}: {count} {noun}\n{errors}"))
    })
}

/// A moment as people and programs read it.
pub(super) fn time(at: Moment) -> String {
    let time =
        Timestamp::from_millisecond(at.0).unwrap_or(if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX });
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Who changed them, as far as that is known.
fn conflict(zookeeper: &ZooKeeper) -> anyhow::Result<Conflict> {
    let Some(node) = zookeeper.read_settings()? else {
        return Ok(Conflict("the settings were deleted in between".to_owned()));
    };
    let (version, at) = (node.version, time(node.modified_at));
    let entries = zookeeper.history()?;
    let entry = entries.iter().find(|entry| (entry.version, entry.czxid) == (version, node.czxid));
    let by = entry.map_or_else(|| "somebody".to_owned(), |entry| shown(entry.who.as_bytes(), 200));
    Ok(Conflict(format!(
        "the settings were changed in between by {by}, at {at} (version {version}); look at them with `ccfirewall \
         settings get` and decide anew"
    )))
}

/// The user behind this process, and the host.
fn who() -> String {
    let variable = |name: &&str| std::env::var(name).ok().filter(|user| !user.is_empty());
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(variable);
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname();
    format!("{}@{}", shown(user.as_bytes(), 100), host.nodename().to_string_lossy())
}

fn read_file(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match whole_file::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("can't read the settings in {}", path.display())),
    }
}

fn write_file(path: &Path, text: &str, stored: &Stored) -> anyhow::Result<()> {
    // A link stays one, and what it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let cannot = || format!("can't write the settings to {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).with_context(cannot)?;
    // Whoever else changes them by this program waits; editors and scripts don't know of it.
    let lock = File::open(folder).with_context(cannot)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from).with_context(cannot)?;
    if read_file(&path)? != stored.bytes {
        return Err(Conflict(format!("{} was changed in between", path.display())).into());
    }
    whole_file::replace(&path, text.as_bytes(), MODE).with_context(cannot)
}
