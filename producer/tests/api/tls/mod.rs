//! HTTPS with real handshakes. The certificates and keys beside this file are for tests alone: made once by an authority whose key
//! was thrown away (ca.pem), one for `localhost` and 127.0.0.1, one for another name.

use std::path::PathBuf;
use std::time::Duration;

use muster_producer::ProducerOptions;
use muster_producer::api::{HttpOptions, TlsFiles};
use muster_testkit::TestDatabase;
use reqwest::Certificate;

use crate::harness::{Server, until};

const AUTHORITY: &[u8] = include_bytes!("ca.pem");

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/tls")).join(name)
}

fn options(certificate: PathBuf, key: PathBuf, client_authority: Option<PathBuf>) -> ProducerOptions {
    let tls = TlsFiles { certificate, key, client_authority };
    ProducerOptions {
        http: HttpOptions { tls: Some(tls), ..HttpOptions::default() },
        ..ProducerOptions::default()
    }
}

/// A client that trusts the tests' authority and knows no connection of before.
fn client() -> reqwest::Client {
    let authority = Certificate::from_pem(AUTHORITY).unwrap();
    reqwest::Client::builder().tls_certs_only([authority]).timeout(Duration::from_secs(20)).build().unwrap()
}

#[tokio::test]
async fn requests_are_encrypted_and_a_wrong_name_is_refused() {
    let server = Server::start_with(options(file("server.pem"), file("server.key"), None)).await;
    let url = server.url.replace("http://127.0.0.1", "https://localhost");
    let answer = client().get(format!("{url}/v1/imports")).bearer_auth(&server.token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("strict-transport-security"));
    // Plain HTTP gets no answer, and a name that the certificate does not have is the client's to refuse.
    assert!(server.client.get(format!("{}/healthz", server.url)).send().await.is_err());
    let stranger = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    assert!(
        stranger.get(format!("{url}/healthz")).send().await.is_err(),
        "nobody trusts the tests' authority"
    );
    assert_eq!(client().get(format!("{url}/healthz")).send().await.unwrap().status(), 200, "others go on");
}

#[tokio::test]
async fn a_certificate_that_changes_is_read_anew_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    let put = |name: &str| {
        std::fs::copy(file(&format!("{name}.pem")), &certificate).unwrap();
        std::fs::copy(file(&format!("{name}.key")), &key).unwrap();
        // Later than anything before, whatever the file system's clock.
        let later = std::time::SystemTime::from(muster_runtime::clock::now()) + Duration::from_secs(5);
        std::fs::File::options().append(true).open(&certificate).unwrap().set_modified(later).unwrap();
    };
    put("other");
    let server = Server::start_with(options(certificate.clone(), key.clone(), None)).await;
    let url = server.url.replace("http://127.0.0.1", "https://localhost");
    assert!(
        client().get(format!("{url}/healthz")).send().await.is_err(),
        "the certificate is for another name"
    );
    put("server");
    until("the new certificate is used", async || {
        client().get(format!("{url}/healthz")).send().await.is_ok()
    })
    .await;
    std::fs::write(&certificate, "no certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(client().get(format!("{url}/healthz")).send().await.is_ok());
}

#[tokio::test]
async fn clients_without_a_certificate_are_not_let_in_where_one_is_wanted() {
    let server =
        Server::start_with(options(file("server.pem"), file("server.key"), Some(file("ca.pem")))).await;
    let url = server.url.replace("http://127.0.0.1", "https://localhost");
    assert!(client().get(format!("{url}/healthz")).send().await.is_err());
    let pem = [include_bytes!("client.pem").as_slice(), include_bytes!("client.key")].concat();
    let known = reqwest::Client::builder()
        .tls_certs_only([Certificate::from_pem(AUTHORITY).unwrap()])
        .identity(reqwest::Identity::from_pem(&pem).unwrap())
        .build()
        .unwrap();
    assert_eq!(known.get(format!("{url}/healthz")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_at_the_start() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let topology = muster_queue::Topology::new("muster").unwrap();
    let queue = muster_queue::Queue::postgres(store.pool().clone(), topology, Default::default());
    let options = options(file("server.pem"), file("other.key"), None);
    let error = muster_producer::Producer::start(store, queue, options).await.unwrap_err();
    assert!(error.to_string().contains("server.pem"), "{error}");
}
