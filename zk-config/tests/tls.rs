//! TLS: only with servers whose certificate we believe, and with our own certificate where they ask for it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{place, start};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use zk_config::{Ensemble, State, Tls, ZooKeeper};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed(
    authority: &Authority,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}

/// A server that speaks TLS, asks for a certificate, and has a real ZooKeeper behind it.
fn serve(runtime: &Runtime, authority: &Authority, upstream: &str) -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (certificate, key) = signed(authority, "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der().to_vec())).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = listener.local_addr().unwrap().to_string();
    let upstream = upstream.to_owned();
    runtime.spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(upstream).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    url
}

#[test]
fn both_sides_show_who_they_are() {
    let Some((_servers, plain)) = place() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ours, theirs) = (authority(), authority());
    let url = serve(&runtime, &ours, &plain.servers);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let (certificate, key) = signed(&ours, "ccfirewall", ExtendedKeyUsagePurpose::ClientAuth);
    let identity = Some((write("our.pem", certificate.pem()), write("our.key", key.serialize_pem())));
    let ca = write("ca.pem", ours.pem());
    let with = |tls: Tls| Ensemble { servers: url.clone(), tls: Some(tls), ..plain.clone() };
    let right = Tls { ca: ca.clone(), identity: identity.clone() };
    let node = start(&with(right.clone())).create_settings_if_absent("{}", "test").unwrap();
    assert_eq!(start(&plain).read_settings().unwrap(), Some(node));

    let wrong_ca = Tls { ca: write("other.pem", theirs.pem()), ..right.clone() };
    let no_identity = Tls { identity: None, ..right.clone() };
    let no_file = Tls { ca: Path::new("/nonexistent/ca.pem").to_owned(), ..right.clone() };
    let no_pem = Tls { ca: write("no.pem", "\0no certificate".to_owned()), ..right };
    let no_tls = Ensemble { tls: None, ..with(no_identity.clone()) };
    for (wrong, says) in [
        (with(wrong_ca), "takes a session"),
        (with(no_identity), "takes a session"),
        (with(no_file), "/nonexistent/ca.pem: No such file"),
        (with(no_pem), "no.pem: bad arguments: no valid tls trust anchor"),
        (no_tls, "takes a session"),
    ] {
        let zookeeper = ZooKeeper::start(wrong).unwrap();
        common::until(
            "it says why",
            || matches!(zookeeper.state(), State::Away { why, .. } if why.contains(says)),
        );
        assert!(zookeeper.wait_connected(Duration::from_millis(100)).is_err());
    }
}
