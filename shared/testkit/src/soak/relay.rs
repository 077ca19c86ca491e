//! A way to a server whose connections can be made half open: both ends keep theirs, and nothing moves any more.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long a half-open connection stays so. Both kernels acknowledge what is sent into it meanwhile, so no keepalive helps.
const FORGOTTEN: Duration = Duration::from_secs(90);

/// Listens on loopback. Dropped, it ends with all its connections.
#[derive(Debug)]
pub(crate) struct Relay {
    /// The server's URL by way of this relay.
    pub(crate) url: String,
    halving: watch::Sender<()>,
    _accepting: JoinSet<()>,
}

impl Relay {
    /// Before the server of a URL that names host and port.
    pub(crate) async fn before(url: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").context("a URL has a scheme")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, server) = authority.rsplit_once('@').context("the URL names a user")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("{scheme}://{user}@{}{path}", listener.local_addr()?);
        let halving = watch::Sender::new(());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server.to_owned(), halving.subscribe()));
        Ok(Self { url, halving, _accepting: accepting })
    }

    /// The connections that are open carry nothing more; new ones work.
    pub(crate) fn halve(&self) {
        self.halving.send_replace(());
    }
}

async fn accept(listener: TcpListener, server: String, halving: watch::Receiver<()>) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else { continue };
        let mut halving = halving.clone();
        halving.mark_unchanged();
        carried.spawn(carry(client, server.clone(), halving));
    }
}

async fn carry(mut client: TcpStream, server: String, mut halving: watch::Receiver<()>) {
    // A server that is away closes the client's connection, as its absence would.
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // Or small packets would wait for each other, which they do not without the relay.
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    tokio::select! {
        biased;
        _ = halving.changed() => sleep(FORGOTTEN).await,
        _ = copy_bidirectional(&mut client, &mut server) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_halved_connection_stays_open_and_carries_nothing_and_a_new_one_works() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = echo.local_addr().unwrap();
        let mut echoes = JoinSet::new();
        echoes.spawn(async move {
            loop {
                let (mut stream, _) = echo.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        let relay = Relay::before(&format!("any://user:secret@{address}/path?x=1")).await.unwrap();
        let (place, path) = relay.url.strip_prefix("any://user:secret@").unwrap().split_once('/').unwrap();
        assert_eq!(path, "path?x=1");
        let mut halved = TcpStream::connect(place).await.unwrap();
        let mut answer = [0; 4];
        halved.write_all(b"ping").await.unwrap();
        halved.read_exact(&mut answer).await.unwrap();
        relay.halve();
        let mut fresh = TcpStream::connect(place).await.unwrap();
        fresh.write_all(b"ping").await.unwrap();
        fresh.read_exact(&mut answer).await.unwrap();
        halved.write_all(b"ping").await.unwrap();
        let nothing = timeout(Duration::from_millis(100), halved.read(&mut answer)).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }
}
