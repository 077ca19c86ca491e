//! HTTPS: the certificate and its key are read from files, and read again when they change.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// How often to look whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files that HTTPS needs, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead from it to an authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Authorities of clients: where set, only clients with a certificate of theirs are let in.
    pub client_authority: Option<PathBuf>,
}

/// Makes encrypted connections of plain ones, with the certificate as the files have it now.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    changed: Option<SystemTime>,
    looked: Instant,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("changed", &self.changed).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files; fails where they are no certificate and its key.
    pub(super) fn open(files: TlsFiles) -> io::Result<Self> {
        let changed = files.changed();
        let current = Current { acceptor: files.read()?, changed, looked: Instant::now() };
        Ok(Self { files, current: Mutex::new(current) })
    }

    /// For the next connection. Changed files that cannot be used are reported, and the previous ones stay in use.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            let changed = self.files.changed();
            if changed != current.changed {
                match self.files.read() {
                    Ok(acceptor) => {
                        current.acceptor = acceptor;
                        current.changed = changed;
                        tracing::info!("the certificate was read again");
                    }
                    // Perhaps one of the two files is not written yet: the next check will show.
                    Err(error) => tracing::warn!(%error, "the certificate has changed and cannot be used"),
                }
            }
        }
        current.acceptor.clone()
    }
}

impl TlsFiles {
    /// When the files were changed last.
    fn changed(&self) -> Option<SystemTime> {
        let files = [Some(&self.certificate), Some(&self.key), self.client_authority.as_ref()];
        files.into_iter().flatten().filter_map(|file| std::fs::metadata(file).ok()?.modified().ok()).max()
    }

    fn read(&self) -> io::Result<TlsAcceptor> {
        let wrong = |file: &PathBuf, why: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {why}", file.display()))
        };
        let certificates = |file: &PathBuf| -> io::Result<Vec<CertificateDer<'static>>> {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            match read {
                Ok(certificates) if certificates.is_empty() => Err(wrong(file, &"has no certificate")),
                Ok(certificates) => Ok(certificates),
                Err(error) => Err(wrong(file, &error)),
            }
        };
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, &error))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| wrong(file, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| wrong(file, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| wrong(&self.certificate, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
