//! Webhooks: the producer dies, fails and stalls around a delivery, and everything that happened is told all the same.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use muster_store::webhooks::{self, Created, NewWebhook};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Carrier, Rig, Role};

/// The numbers of the events that came, as often as they came.
type Told = Arc<Mutex<Vec<i64>>>;

/// A server that takes every request.
async fn receiver() -> (String, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let told = Told::default();
    let noted = told.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // What a dying client breaks off was not told.
            if let Ok(number) = take(stream).await {
                noted.lock().unwrap().push(number);
            }
        }
    });
    (url, told)
}

async fn take(stream: TcpStream) -> std::io::Result<i64> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while !matches!(line.as_str(), "\r\n") {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    stream.write_all(b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n").await?;
    let told: Value = serde_json::from_slice(&body)?;
    Ok(told["data"]["event"].as_i64().unwrap())
}

async fn survive(point: &str) {
    let mut rig = Rig::new(Carrier::Rows).await;
    let (url, told) = receiver().await;
    let new =
        NewWebhook { url, description: String::new(), events: Vec::new(), failed_above: None, enabled: true };
    let created = webhooks::create(&rig.store, rig.tenant, &new, 1).await.unwrap();
    assert!(matches!(created, Created::New(..)));
    rig.start(Role::Worker, "");
    for action in ["kill", "error", "delay"] {
        rig.start(Role::Producer, &format!("{point}=1*return({action})"));
        let import = rig.upload(action, action, "").await;
        rig.ended(&import).await;
        until_all_told(&rig, &told).await;
        assert_eq!(rig.acted(), [point], "{action}");
        let signals: Vec<Option<i32>> =
            rig.take_deaths(Role::Producer).iter().map(ExitStatusExt::signal).collect();
        assert_eq!(signals, vec![Some(9); usize::from(action == "kill")]);
    }
    rig.start(Role::Producer, "");
    rig.finish().await;
}

/// Everything that happened was told, and nothing is left to be told.
async fn until_all_told(rig: &Rig, told: &Told) {
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let mut connection = rig.store.connection().await.unwrap();
        let numbers: Vec<Option<i64>> =
            sqlx::query_scalar("select number from events").fetch_all(&mut connection).await.unwrap();
        let pending: i64 =
            sqlx::query_scalar("select count(*) from webhook_deliveries where state = 'pending'")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        let happened: BTreeSet<Option<i64>> = numbers.into_iter().collect();
        let told: BTreeSet<Option<i64>> = told.lock().unwrap().iter().copied().map(Some).collect();
        if happened == told && pending == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "happened {happened:?}, told {told:?}, {pending} pending");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_claimed_and_not_sent_is_made() {
    survive("webhook_claimed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_sent_and_not_noted_is_made_again() {
    survive("webhook_sent").await;
}
