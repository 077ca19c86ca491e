//! Starting a server, waiting until it answers, stopping it.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::account::Account;
use super::binaries::{Binaries, command};
use super::child::Child;
use super::folder::{DataFolder, PORT, SocketFolder};
use super::lock::DataLock;
use super::{EngineError, EngineOptions, cluster, stale_server};

/// The database inside the engine.
const DATABASE: &str = "muster";
/// How long a server may stay silent. One that says it is recovering is waited for.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// How long one that recovers may take in all: it reads at most a few GB of log.
const RECOVERY: Duration = Duration::from_secs(15 * 60);
const CONNECT: Duration = Duration::from_secs(5);
pub(super) const POLL: Duration = Duration::from_millis(5);
/// A fast shutdown writes what is in memory to disk: a few hundred MB at most.
const FAST: Duration = Duration::from_secs(60);
/// An immediate shutdown does nothing but end.
const IMMEDIATE: Duration = Duration::from_secs(10);

/// All that a server needs to start; nothing runs yet.
#[derive(Debug)]
pub(super) struct Prepared {
    #[expect(dead_code, reason = "held, not read")]
    lock: DataLock,
    pub(super) folder: DataFolder,
    pub(super) socket: SocketFolder,
    binaries: Binaries,
    account: Account,
}

impl Prepared {
    /// Everything up to the start of the server. Blocks: unpacking and `initdb` take a second, an old server's shutdown
    /// may take longer.
    pub(super) fn prepare(options: &EngineOptions) -> Result<Self, EngineError> {
        let folder = DataFolder::create(&options.data_dir)?;
        let lock = DataLock::take(&folder.lock(), &folder.root)?;
        // First of all the refusal: a server of other people's data is none of our business.
        let account = Account::choose(&folder, options.postgres_bin.is_none())?;
        stale_server::clear(&folder)?;
        let binaries = Binaries::find(options.postgres_bin.as_deref(), &folder)?;
        account.take_over(&folder)?;
        cluster::ensure(&folder, &binaries, &account)?;
        let socket = SocketFolder::choose(&folder, account.uid);
        socket.prepare(account.uid, account.gid)?;
        account.check_way(&socket.path)?;
        socket.clear();
        Ok(Self { lock, folder, socket, binaries, account })
    }

    /// Starts the server and waits until the database can be used.
    pub(super) async fn launch(self, options: &EngineOptions) -> Result<Server, EngineError> {
        let (log, log_start) = self.folder.open_log()?;
        self.account.own(&self.folder.log())?;
        let errors = log.try_clone().map_err(EngineError::io("open the engine's log", &self.folder.log()))?;
        let mut command = command(&self.binaries.postgres, &self.account, &self.folder);
        command.stdout(Stdio::from(log)).stderr(Stdio::from(errors)).arg("-D").arg(self.folder.pg());
        settings(&mut command, options, &self.socket);
        let child = Child::spawn(command, Signal::INT)
            .await
            .map_err(|source| EngineError::CannotRun { program: self.binaries.postgres.clone(), source })?;
        let server = Server { child, prepared: self, log_start };
        match server.wait_until_ready().await {
            Ok(()) => Ok(server),
            Err(error) => {
                if let Err(stopping) = server.stop().await {
                    tracing::error!(error = %stopping, "the engine that did not start does not stop either");
                }
                Err(error)
            }
        }
    }
}

/// A running server. Dropping it asks the server to shut down and does not wait.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) child: Child,
    pub(super) prepared: Prepared,
    log_start: u64,
}

impl Server {
    async fn wait_until_ready(&self) -> Result<(), EngineError> {
        let began = Instant::now();
        let mut heard = began;
        let mut recovering = false;
        loop {
            let answer = tokio::select! {
                biased;
                status = self.child.exited() => {
                    return Err(EngineError::ExitedEarly { status, log: self.prepared.folder.log(), tail: self.log_tail() });
                }
                answer = probe(&self.prepared.socket) => answer,
            };
            match answer {
                Answer::Ready => return Ok(()),
                Answer::Silent => {}
                Answer::Starting => {
                    heard = Instant::now();
                    if !recovering {
                        tracing::info!("the engine is starting");
                        recovering = true;
                    }
                }
                Answer::NoDatabase => {
                    create_database(&self.prepared.socket).await.map_err(|source| self.refused(source))?;
                }
                Answer::Refused(source) => return Err(self.refused(source)),
            }
            if heard.elapsed() > SILENCE || began.elapsed() > RECOVERY {
                let seconds = began.elapsed().as_secs();
                return Err(EngineError::StartTimeout {
                    seconds,
                    log: self.prepared.folder.log(),
                    tail: self.log_tail(),
                });
            }
            sleep(POLL).await;
        }
    }

    fn refused(&self, source: sqlx::Error) -> EngineError {
        EngineError::Refused { log: self.prepared.folder.log(), tail: self.log_tail(), source }
    }

    /// What the server logged since it was started, the end of it.
    pub(super) fn log_tail(&self) -> String {
        self.prepared.folder.log_tail(self.log_start)
    }

    /// Ends the server and waits until it is gone: in order if it can, at once if it takes too long (then the next start
    /// recovers). Leaves no process and no socket.
    pub(super) async fn stop(self) -> Result<(), EngineError> {
        for (signal, patience) in [(Signal::INT, FAST), (Signal::QUIT, IMMEDIATE), (Signal::KILL, IMMEDIATE)]
        {
            self.child.signal(signal);
            if self.child.exits_within(patience).await {
                break;
            }
            tracing::warn!(process = self.child.id(), ?signal, "the engine does not stop");
        }
        blocking(move || {
            // Usually nobody. After a kill, the server's own processes are still on their way out.
            stale_server::clear(&self.prepared.folder)?;
            self.prepared.socket.remove();
            Ok(())
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.signal(Signal::INT);
    }
}

/// The server's settings, all on its command line, so that nothing depends on what `initdb` guessed.
fn settings(command: &mut Command, options: &EngineOptions, socket: &SocketFolder) {
    // A list of folders, in which a comma parts and a quote quotes.
    let sockets = format!("\"{}\"", socket.path.display().to_string().replace('"', "\"\""));
    let fixed = [
        // Only the socket, only its owner.
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("ssl", "off"),
        // An acknowledged commit is on the disk.
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        // Bulk loading: few checkpoints, spread out; no more log than recovery needs, as nobody replicates from here.
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("max_wal_size", "4GB"),
        ("checkpoint_timeout", "15min"),
        ("checkpoint_completion_target", "0.9"),
        ("wal_compression", "off"),
        ("wal_buffers", "16MB"),
        ("work_mem", "16MB"),
        ("maintenance_work_mem", "128MB"),
        ("jit", "off"),
        ("autovacuum", "on"),
        // Errors go to the client only: their text and their statements would carry users' values into the log.
        ("log_min_messages", "log"),
        ("log_min_error_statement", "panic"),
        ("log_error_verbosity", "terse"),
        ("log_statement", "none"),
        ("log_min_duration_statement", "-1"),
        ("log_checkpoints", "off"),
        ("log_connections", "off"),
        ("log_disconnections", "off"),
        ("log_autovacuum_min_duration", "-1"),
        ("log_lock_waits", "off"),
        ("log_temp_files", "-1"),
        ("log_destination", "stderr"),
        ("logging_collector", "off"),
        ("log_line_prefix", "%m [%p] "),
        ("log_timezone", "UTC"),
        ("timezone", "UTC"),
        ("cluster_name", "muster"),
    ];
    let chosen = [
        ("unix_socket_directories", sockets),
        ("port", PORT.to_string()),
        ("max_connections", options.max_connections.to_string()),
        ("shared_buffers", format!("{}MB", options.shared_buffers_mb)),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name, value.to_owned()));
    for (name, value) in fixed.chain(chosen) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
}

/// How to connect to the engine whose socket is in that folder.
pub(super) fn connect_options(socket: &SocketFolder) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(&socket.path)
        .port(PORT)
        .username(cluster::USER)
        .database(DATABASE)
        .ssl_mode(PgSslMode::Disable)
        .application_name("muster")
}

/// The same as an address: `postgres://muster@localhost:5432/muster?sslmode=disable&host=…`.
pub(super) fn url(socket: &SocketFolder) -> String {
    let mut url = format!("postgres://{}@localhost:{PORT}/{DATABASE}?sslmode=disable&host=", cluster::USER);
    for byte in socket.path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                url.push(char::from(*byte))
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

/// What comes of trying to connect.
pub(super) enum Answer {
    Ready,
    Starting,
    Silent,
    NoDatabase,
    Refused(sqlx::Error),
}

pub(super) async fn probe(socket: &SocketFolder) -> Answer {
    let connecting = async { connect_options(socket).connect().await?.close().await };
    match timeout(CONNECT, connecting).await {
        Ok(Ok(())) => Answer::Ready,
        Err(_) | Ok(Err(sqlx::Error::Io(_))) => Answer::Silent,
        Ok(Err(error)) => match error.as_database_error().and_then(|error| error.code()).as_deref() {
            // cannot_connect_now: starting, recovering or shutting down
            Some("57P03") => Answer::Starting,
            // admin_shutdown, crash_shutdown
            Some("57P01" | "57P02") => Answer::Silent,
            // invalid_catalog_name
            Some("3D000") => Answer::NoDatabase,
            _ => Answer::Refused(error),
        },
    }
}

async fn create_database(socket: &SocketFolder) -> Result<(), sqlx::Error> {
    let mut connection: PgConnection = connect_options(socket).database("postgres").connect().await?;
    sqlx::query("CREATE DATABASE muster TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
        .execute(&mut connection)
        .await?;
    connection.close().await
}

/// Runs blocking work on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            let source = std::io::Error::other(error);
            Err(EngineError::Io { action: "finish the work on", path: "the data folder".into(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn url_leads_to_the_same_socket() {
        let socket = SocketFolder::existing("/data/ä b,%&?#/s".into());
        let parsed = PgConnectOptions::from_str(&url(&socket)).unwrap();
        assert_eq!(parsed.get_socket(), connect_options(&socket).get_socket());
        assert_eq!(parsed.get_database(), Some("muster"));
        assert_eq!(parsed.get_username(), "muster");
    }
}
