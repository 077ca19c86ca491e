//! Options of the sockets that lead to PostgreSQL: the driver opens the socket of a connection itself and sets none of its options.
//! They are set here afterwards, for every connection that this program opens.
//!
//! - Small packets are sent at once. Otherwise the end of a COPY waits 40 ms for the server's delayed
//!   acknowledgement.
//! - A server that vanished is detected in 30 seconds instead of hours. The server is told to do the same for
//!   our side, by settings of the session (`tcp_keepalives_idle` and its like, where the store connects).
//!
//! An option belongs to the socket, not to the number under which this program knows it. So each TCP socket of this process
//! whose peer has the database's port is duplicated by the kernel, set, and the duplicate closed. Linux only; where the
//! kernel refuses (a container that forbids `pidfd_getfd`), connections work as before.
//!
//! This module depends on ports and on no driver, so store and queue can both use it.

use muster_domain::fault::{self, Mutant};

/// Sets the options of every TCP socket to a server with this port that has not got them. Cheap beside connecting.
pub fn tune(port: u16) {
    static REFUSED: std::sync::Once = std::sync::Once::new();
    if fault::mutant(Mutant::SocketsUntuned) {
        return;
    }
    if let Err(error) = tune_all(port) {
        REFUSED.call_once(|| {
            tracing::info!(%error, "sockets to the database keep the system's options: small chunks take longer");
        });
    }
}

#[cfg(target_os = "linux")]
fn tune_all(port: u16) -> std::io::Result<()> {
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let is_socket =
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let (Some(number), true) = (number, is_socket) else { continue };
        match pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) {
            Ok(socket) => set_options(&socket, port)?,
            // Closed by its owner meanwhile.
            Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn set_options(socket: &std::os::fd::OwnedFd, port: u16) -> std::io::Result<()> {
    use std::net::SocketAddr;
    use std::time::Duration;

    use rustix::net::{getpeername, sockopt};

    let peer = getpeername(socket).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
    if peer.is_none_or(|peer| peer.port() != port) || sockopt::tcp_nodelay(socket)? {
        return Ok(());
    }
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(10))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    sockopt::set_socket_keepalive(socket, true)?;
    // Milliseconds for which what was sent may stay without an acknowledgement.
    sockopt::set_tcp_user_timeout(socket, 20_000)?;
    // The last: it is the mark that the others are set.
    sockopt::set_tcp_nodelay(socket, true)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn tune_all(_: u16) -> std::io::Result<()> {
    Ok(())
}
