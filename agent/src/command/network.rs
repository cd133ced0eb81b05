//! The options that say how owners find the agent, and how they speak to it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zk_config::{Ensemble, Tls};

use super::read_address;
use crate::{Registration, TlsFiles};

/// Longer files hold no digest.
const LONGEST_DIGEST: u64 = 1024;

#[derive(Debug, clap::Args)]
pub(super) struct NetworkArgs {
    /// Where owners reach this agent, where that isn't where it listens (several addresses, NAT)
    #[arg(long, value_name = "ADDRESS", value_parser = read_address, requires = "zookeeper")]
    advertise: Option<SocketAddr>,
    /// Register in ZooKeeper, so that topologies find this agent: host:port,host:port
    #[arg(long, value_name = "SERVERS")]
    zookeeper: Option<String>,
    /// The node in ZooKeeper below which everything of ccfirewall is
    #[arg(long, value_name = "PATH", default_value = "/ccfirewall", requires = "zookeeper")]
    zookeeper_root: String,
    /// A file with user:password, by which ZooKeeper knows us
    #[arg(long, value_name = "PATH", requires = "zookeeper")]
    zookeeper_digest_file: Option<PathBuf>,
    /// Speak TLS with ZooKeeper, and believe the certificates of this authority (PEM)
    #[arg(long, value_name = "PATH", requires = "zookeeper")]
    zookeeper_ca: Option<PathBuf>,
    /// The certificate that ZooKeeper is shown (PEM)
    #[arg(long, value_name = "PATH", requires_all = ["zookeeper_ca", "zookeeper_key"])]
    zookeeper_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "PATH", requires = "zookeeper_cert")]
    zookeeper_key: Option<PathBuf>,
    /// Speak TLS with owners, and nothing else: the certificate that they are shown (PEM)
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Owners must show a certificate of this authority (PEM)
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

impl NetworkArgs {
    /// The files for TLS with owners.
    pub(super) fn tls(&self) -> Option<TlsFiles> {
        let Self { tls_cert, tls_key, tls_client_ca, .. } = self;
        let files = TlsFiles { cert: tls_cert.clone(), key: tls_key.clone(), ca: tls_client_ca.clone() };
        files.cert.is_some().then_some(files)
    }

    /// Where to register.
    pub(super) fn registration(&self) -> anyhow::Result<Option<Registration>> {
        let Some(servers) = &self.zookeeper else { return Ok(None) };
        let mut ensemble = Ensemble::new(servers);
        ensemble.root.clone_from(&self.zookeeper_root);
        ensemble.digest = self.zookeeper_digest_file.as_deref().map(read_digest).transpose()?;
        ensemble.tls = self.zookeeper_ca.as_ref().map(|ca| Tls {
            ca: ca.clone(),
            identity: self.zookeeper_cert.clone().zip(self.zookeeper_key.clone()),
        });
        ensemble.check().context("--zookeeper")?;
        Ok(Some(Registration { ensemble, advertise: self.advertise }))
    }
}

fn read_digest(path: &Path) -> anyhow::Result<String> {
    let said = || format!("the digest can't be read from {}", path.display());
    let length = fs::metadata(path).with_context(said)?.len();
    anyhow::ensure!(length <= LONGEST_DIGEST, "{} is too long for user:password", path.display());
    let text = fs::read_to_string(path).with_context(said)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
