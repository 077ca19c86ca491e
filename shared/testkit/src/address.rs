//! Addresses for servers that a test starts, and starts again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::TcpListener;

/// The ports to choose from. Those from 32768 on are given to whoever asks for any port, and to connections
/// (`net.ipv4.ip_local_port_range`): one of these would have the port while the server is down.
const PORTS: std::ops::Range<u64> = 10_000..32_000;

/// An address of this machine at which nobody listens now, as `127.0.0.1:12345`.
///
/// # Panics
///
/// If none is found.
pub fn free_address() -> String {
    let random = RandomState::new();
    let free = |attempt: u64| {
        let port = PORTS.start + random.hash_one(attempt) % (PORTS.end - PORTS.start);
        let address = format!("127.0.0.1:{port}");
        TcpListener::bind(&address).is_ok().then_some(address)
    };
    (0..1_000).find_map(free).expect("a free port")
}
