//! A way to a server that can be cut and frozen. On loopback only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

/// What becomes of the connections that are open.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Flow,
    /// Stays open, carries nothing more.
    Freeze,
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    // One channel for the connections of one time: a fate holds for those that are open, not for those to come.
    fate: Arc<std::sync::Mutex<watch::Sender<Fate>>>,
    deaf: Arc<AtomicBool>,
    says: broadcast::Sender<&'static [u8]>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(server: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fate = Arc::new(std::sync::Mutex::new(watch::Sender::new(Fate::Flow)));
        let deaf = Arc::new(AtomicBool::new(false));
        let says = broadcast::Sender::new(16);
        let mut accepting = JoinSet::new();
        let (fates, is_deaf, to_say) = (Arc::clone(&fate), Arc::clone(&deaf), says.clone());
        accepting.spawn(async move {
            let mut flows = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let fate = if is_deaf.load(Ordering::SeqCst) {
                    watch::Sender::new(Fate::Freeze).subscribe()
                } else {
                    fates.lock().unwrap().subscribe()
                };
                let server = TcpStream::connect((server.0.as_str(), server.1)).await.unwrap();
                let (client_reads, client_writes) = client.into_split();
                let (server_reads, server_writes) = server.into_split();
                // Nobody ever says anything to the server.
                let silence = broadcast::Sender::new(1);
                let unsaid = silence.subscribe();
                let same_fate = fate.clone();
                flows.spawn(async move {
                    flow(client_reads, server_writes, same_fate, unsaid).await;
                    drop(silence);
                });
                flows.spawn(flow(server_reads, client_writes, fate, to_say.subscribe()));
            }
        });
        Self { address, fate, deaf, says, _accepting: accepting }
    }

    /// Closes the connections that are open; new ones work.
    pub(crate) fn cut(&self) {
        self.decide(Fate::Cut);
    }

    /// The connections that are open carry nothing more and stay open; new ones work.
    pub(crate) fn freeze(&self) {
        self.decide(Fate::Freeze);
    }

    /// The connections that are open carry nothing more, and neither do new ones.
    pub(crate) fn freeze_for_good(&self) {
        self.deaf.store(true, Ordering::SeqCst);
        self.freeze();
    }

    /// Puts bytes of its own into what the server says, on every open connection. Those must be silent meanwhile.
    pub(crate) fn say(&self, bytes: &'static [u8]) {
        self.says.send(bytes).unwrap();
    }

    fn decide(&self, fate: Fate) {
        let mut current = self.fate.lock().unwrap();
        current.send_replace(fate);
        let next = watch::Sender::new(Fate::Flow);
        // Kept by the flows that watch it.
        let _ = std::mem::replace(&mut *current, next);
    }
}

async fn flow(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut fate: watch::Receiver<Fate>,
    mut says: broadcast::Receiver<&'static [u8]>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = *fate.borrow_and_update();
        match now {
            Fate::Cut => return,
            // Never ends: the sockets stay open until the proxy goes.
            Fate::Freeze => std::future::pending().await,
            Fate::Flow => {}
        }
        tokio::select! {
            biased;
            changed = fate.changed() => if changed.is_err() {
                // Decided: the value stays what it was last.
                if *fate.borrow() == Fate::Flow { return; }
            },
            Ok(bytes) = says.recv() => if to.write_all(bytes).await.is_err() { return },
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) => if to.write_all(&buffer[..length]).await.is_err() { return },
            },
        }
    }
}
