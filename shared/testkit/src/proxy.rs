//! A proxy that can fail: pass, delay, freeze, cut, refuse, and cut at an exact position of the stream.
//! It knows no protocol, so it works for PostgreSQL and RabbitMQ. On loopback only.
//!
//! [`Proxy::cut`] and [`Proxy::freeze`] affect the open connections; new ones pass, until
//! [`Proxy::freeze_for_good`] or [`Proxy::refuse`]. A [`Rule`] waits for bytes that a client sends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

/// What becomes of a connection that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Flow,
    /// What the server says is read and dropped; the first of it cuts the connection.
    SwallowReply,
    /// Stays open, carries nothing more.
    Freeze,
    Cut,
}

/// What happens to a connection on which a client sent the bytes of a [`Rule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They do not reach the server, and the connection is cut.
    CutBefore,
    /// They reach the server, and the connection is cut before the answer.
    CutAfter,
    /// They reach the server, its answer is awaited and swallowed, and the connection is cut: the server has done what the
    /// client never hears of.
    SwallowReply,
    /// They reach the server, and the connection carries nothing more in either direction.
    FreezeAfter,
    /// They do not reach the server, and the connection carries nothing more in either direction.
    FreezeBefore,
}

/// Bytes that are waited for in what clients send, and what happens then.
#[derive(Debug)]
pub struct Rule {
    bytes: Vec<u8>,
    then: Then,
    left: AtomicU32,
    hits: watch::Sender<u32>,
}

impl Rule {
    /// How often it was applied so far.
    pub fn hits(&self) -> u32 {
        *self.hits.borrow()
    }

    /// Waits until it was applied so many times.
    pub async fn applied(&self, times: u32) {
        // The sender is this rule's own, so it is never gone.
        let _ = self.hits.subscribe().wait_for(|hits| *hits >= times).await;
    }

    /// Takes one of the times that are left.
    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// One connection: both directions watch and may decide its fate.
#[derive(Debug, Clone)]
struct Fates(Arc<watch::Sender<Fate>>);

impl Fates {
    fn new(fate: Fate) -> Self {
        Self(Arc::new(watch::Sender::new(fate)))
    }

    fn decide(&self, fate: Fate) {
        self.0.send_replace(fate);
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// The connections that are open.
    open: Mutex<Vec<Fates>>,
    rules: Mutex<Vec<Arc<Rule>>>,
    deaf: AtomicBool,
    refusing: AtomicBool,
    /// Milliseconds by which each piece comes later.
    late: AtomicU64,
    connected: watch::Sender<u32>,
    refused: watch::Sender<u32>,
}

/// The proxy. Dropped, it ends with all its connections.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    says: broadcast::Sender<&'static [u8]>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// A proxy before this host and port.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn to(server: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let says = broadcast::Sender::new(16);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server, Arc::clone(&shared), says.clone()));
        Self { address, shared, says, _accepting: accepting }
    }

    /// A proxy before the server of a URL (`postgres://`, `amqp://`), and the same URL by way of the proxy.
    ///
    /// # Panics
    /// When the URL names no host and port, or the proxy cannot listen.
    pub async fn before(url: &str) -> (Self, String) {
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, place) = authority.rsplit_once('@').map_or(("", authority), |(user, place)| (user, place));
        let (host, port) = place.rsplit_once(':').expect("the URL names a port");
        let proxy = Self::to((host.to_owned(), port.parse().expect("a port is a number"))).await;
        let at = if user.is_empty() { "" } else { "@" };
        let through = format!("{scheme}://{user}{at}{}{path}", proxy.address);
        (proxy, through)
    }

    /// The same for the driver's options.
    ///
    /// # Panics
    /// As [`before`](Self::before).
    pub async fn before_database(target: &PgConnectOptions) -> (Self, PgConnectOptions) {
        let proxy = Self::to((target.get_host().to_owned(), target.get_port())).await;
        let through = target.clone().host(&proxy.address.ip().to_string()).port(proxy.address.port());
        (proxy, through)
    }

    /// Closes the connections that are open; new ones work.
    pub fn cut(&self) {
        self.decide(Fate::Cut);
    }

    /// The connections that are open carry nothing more and stay open; new ones work.
    pub fn freeze(&self) {
        self.decide(Fate::Freeze);
    }

    /// The connections that are open carry nothing more, and neither do new ones.
    pub fn freeze_for_good(&self) {
        self.shared.deaf.store(true, Ordering::SeqCst);
        self.freeze();
    }

    /// Closes new connections as soon as they are made. Those that are open go on.
    pub fn refuse(&self) {
        self.shared.refusing.store(true, Ordering::SeqCst);
    }

    /// New connections work again, after [`refuse`](Self::refuse) or [`freeze_for_good`](Self::freeze_for_good).
    pub fn pass(&self) {
        self.shared.refusing.store(false, Ordering::SeqCst);
        self.shared.deaf.store(false, Ordering::SeqCst);
    }

    /// Every piece comes so much later from now on, in either direction and one after the other: a slow link. A piece is 64 KiB at
    /// most.
    pub fn delay(&self, late: Duration) {
        self.shared.late.store(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// How many connections were made through it so far.
    pub fn connected(&self) -> u32 {
        *self.shared.connected.borrow()
    }

    /// How many were refused so far.
    pub fn refused(&self) -> u32 {
        *self.shared.refused.borrow()
    }

    /// Waits until so many were refused.
    pub async fn until_refused(&self, times: u32) {
        let mut refused = self.shared.refused.subscribe();
        // The sender is this proxy's own, so it is never gone.
        let _ = refused.wait_for(|refused| *refused >= times).await;
    }

    /// Puts bytes of its own into what the server says, on every open connection. Those must be silent meanwhile.
    pub fn say(&self, bytes: &'static [u8]) {
        self.says.send(bytes).unwrap();
    }

    /// Waits for bytes that a client sends, on any connection, and applies `then` to that connection, `times` times in all.
    /// Capital and small letters are told apart; what is split over two packets is found too.
    pub fn when(&self, bytes: impl Into<Vec<u8>>, times: u32, then: Then) -> Arc<Rule> {
        let hits = watch::Sender::new(0);
        let rule = Arc::new(Rule { bytes: bytes.into(), then, left: AtomicU32::new(times), hits });
        lock(&self.shared.rules).push(Arc::clone(&rule));
        rule
    }

    fn decide(&self, fate: Fate) {
        for fates in lock(&self.shared.open).drain(..) {
            fates.decide(fate);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    server: (String, u16),
    shared: Arc<Shared>,
    says: broadcast::Sender<&'static [u8]>,
) {
    let mut flows = JoinSet::new();
    loop {
        while flows.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else { continue };
        if shared.refusing.load(Ordering::SeqCst) {
            shared.refused.send_modify(|refused| *refused += 1);
            continue;
        }
        shared.connected.send_modify(|connected| *connected += 1);
        // A server that is away closes the client's connection, as its absence would.
        let Ok(upstream) = TcpStream::connect((server.0.as_str(), server.1)).await else { continue };
        // Or small packets would wait for each other, which they do not without the proxy.
        let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
        let deaf = shared.deaf.load(Ordering::SeqCst);
        let fates = Fates::new(if deaf { Fate::Freeze } else { Fate::Flow });
        if !deaf {
            let mut open = lock(&shared.open);
            // Those that only this list still knows are over.
            open.retain(|fates| Arc::strong_count(&fates.0) > 1);
            open.push(fates.clone());
        }
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = upstream.into_split();
        flows.spawn(carry_client(client_reads, server_writes, fates.clone(), Arc::clone(&shared)));
        flows.spawn(carry_server(server_reads, client_writes, fates, says.subscribe(), Arc::clone(&shared)));
    }
}

/// Returns when the connection is cut; one that is frozen never returns.
async fn ended(fate: &mut watch::Receiver<Fate>) {
    loop {
        let now = *fate.borrow_and_update();
        match now {
            Fate::Cut => return,
            // Never ends: the sockets stay open until the proxy goes.
            Fate::Freeze => std::future::pending().await,
            Fate::Flow | Fate::SwallowReply => {}
        }
        if fate.changed().await.is_err() {
            return;
        }
    }
}

/// A slow link takes its time.
async fn travel(shared: &Shared) {
    match shared.late.load(Ordering::SeqCst) {
        0 => {}
        late => tokio::time::sleep(Duration::from_millis(late)).await,
    }
}

/// What was read of a connection that is frozen goes nowhere.
async fn held_back(fates: &Fates) {
    if *fates.0.borrow() == Fate::Freeze {
        std::future::pending().await
    }
}

async fn carry_client(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    fates: Fates,
    shared: Arc<Shared>,
) {
    let mut fate = fates.0.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    let mut tail = Vec::new();
    loop {
        let length = tokio::select! {
            biased;
            () = ended(&mut fate) => break,
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            },
        };
        travel(&shared).await;
        held_back(&fates).await;
        let piece = &buffer[..length];
        let rule = matched(&shared, &mut tail, piece);
        let then = rule.as_ref().map(|rule| rule.then);
        // Before the server can answer.
        if then == Some(Then::SwallowReply) {
            fates.decide(Fate::SwallowReply);
        }
        if then == Some(Then::FreezeAfter) || then == Some(Then::FreezeBefore) {
            fates.decide(Fate::Freeze);
        }
        if then == Some(Then::CutAfter) {
            fates.decide(Fate::SwallowReply);
        }
        let sent = !matches!(then, Some(Then::CutBefore | Then::FreezeBefore));
        if sent && to.write_all(piece).await.is_err() {
            break;
        }
        if matches!(then, Some(Then::CutBefore | Then::CutAfter)) {
            fates.decide(Fate::Cut);
        }
        if let Some(rule) = rule {
            rule.hits.send_modify(|hits| *hits += 1);
        }
    }
    fates.decide(Fate::Cut);
}

async fn carry_server(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    fates: Fates,
    mut says: broadcast::Receiver<&'static [u8]>,
    shared: Arc<Shared>,
) {
    let mut fate = fates.0.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let sent = tokio::select! {
            biased;
            () = ended(&mut fate) => break,
            Ok(bytes) = says.recv() => to.write_all(bytes).await,
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    travel(&shared).await;
                    held_back(&fates).await;
                    if *fates.0.borrow() == Fate::SwallowReply {
                        break;
                    }
                    to.write_all(&buffer[..length]).await
                }
            },
        };
        if sent.is_err() {
            break;
        }
    }
    fates.decide(Fate::Cut);
}

/// The rule whose bytes are complete with this piece, if there is one that is to be applied.
fn matched(shared: &Shared, tail: &mut Vec<u8>, piece: &[u8]) -> Option<Arc<Rule>> {
    let rules = lock(&shared.rules);
    let longest = rules.iter().map(|rule| rule.bytes.len()).max()?;
    tail.extend_from_slice(piece);
    let found = rules
        .iter()
        .find(|rule| memchr::memmem::find(tail, &rule.bytes).is_some() && rule.take())
        .map(Arc::clone);
    if found.is_some() {
        tail.clear();
    } else {
        let keep = tail.len().saturating_sub(longest.saturating_sub(1));
        tail.drain(..keep);
    }
    found
}
