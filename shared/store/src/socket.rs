//! Connecting: every connection of the store has the options of its socket set ([`muster_runtime::socket`]).

use muster_runtime::socket;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};

/// Opens a connection and sets the options of its socket.
pub(crate) async fn connect(target: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let connection = target.connect().await?;
    tune(target);
    Ok(connection)
}

/// Sets the options of every socket to this server that has not got them.
pub(crate) fn tune(target: &PgConnectOptions) {
    let local = target.get_socket().is_some() || target.get_host().starts_with('/');
    if !local {
        socket::tune(target.get_port());
    }
}
