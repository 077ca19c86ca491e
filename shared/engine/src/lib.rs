//! The embedded engine: a private PostgreSQL that runs as this program's child.
//!
//! Where no database is configured, `muster` runs its own: the engine bundled in the binary (feature
//! `embedded-postgres`) or installed binaries. It listens on a Unix socket only, which only its owner may open, and keeps
//! its data in one folder, durably: what was committed survives a kill of the engine, of this program and of the
//! machine. It is for trying out, for single machines and for tests; it is not offered as a production store.
//!
//! One program at a time runs the engine on a data folder ([`EmbeddedEngine::start`]); others may look in as guests
//! while it does ([`EmbeddedEngine::attach`]). The engine does not outlive its program: it is stopped in order
//! ([`EmbeddedEngine::stop`]), or shuts itself down when the program is killed (at once on Linux, elsewhere before the
//! next start). Unix only.
//!
//! The types that matter: [`EngineOptions`] says what runs and where, [`EmbeddedEngine`] is the running server and the right to its
//! folder, [`EngineError`] says why it does not run.
//!
//! Steps of a start, each in a module: the folder (`folder`), its lock (`lock`), the user to run as (`account`), what an
//! earlier run left (`stale_server`), the programs (`binaries`, `bundle`), the database files (`cluster`), the server
//! (`child`, `supervisor`).

mod account;
mod binaries;
mod bundle;
mod child;
mod cluster;
mod error;
mod folder;
mod lock;
mod stale_server;
mod supervisor;

use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep};

pub use error::EngineError;
use folder::{DataFolder, SocketFolder};
use lock::DataLock;
use stale_server::PidFile;
use supervisor::{Answer, Prepared, Server, blocking};

/// What to run and where.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The folder for the engine and its data. Made if missing. Not on a file system that machines share.
    pub data_dir: PathBuf,
    /// The folder with an installed PostgreSQL's `postgres` and `initdb`; without it the bundled engine runs.
    pub postgres_bin: Option<PathBuf>,
    /// How many connections the engine takes.
    pub max_connections: u16,
    /// Its page cache in MB.
    pub shared_buffers_mb: u32,
}

impl EngineOptions {
    /// The bundled engine on that folder: 64 connections, 256 MB of cache.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), postgres_bin: None, max_connections: 64, shared_buffers_mb: 256 }
    }
}

/// A running engine and the right to its data folder.
///
/// Call [`stop`](Self::stop) at the end. Dropping the value asks the engine to shut down, but waits for nothing.
#[derive(Debug)]
pub struct EmbeddedEngine {
    server: Server,
}

impl EmbeddedEngine {
    /// Starts the engine; returns when its database `muster` takes connections. The first start on a folder makes the
    /// database.
    ///
    /// # Errors
    ///
    /// [`EngineError::InUse`] while another program runs an engine on the folder; the others say what is missing or
    /// broken. After an error nothing runs.
    pub async fn start(options: EngineOptions) -> Result<Self, EngineError> {
        let began = Instant::now();
        let (prepared, options) = blocking(move || Ok((Prepared::prepare(&options)?, options))).await?;
        let server = Box::pin(prepared.launch(&options)).await?;
        tracing::info!(
            process = server.child.id(),
            folder = %server.prepared.folder.root.display(),
            elapsed_ms = began.elapsed().as_millis(),
            "engine started"
        );
        Ok(Self { server })
    }

    /// How to connect to the database.
    pub fn connect_options(&self) -> PgConnectOptions {
        supervisor::connect_options(&self.server.prepared.socket)
    }

    /// The same as an address, for a child process or a person with `psql`.
    pub fn url(&self) -> String {
        supervisor::url(&self.server.prepared.socket)
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.child.id()
    }

    /// The data folder's real path.
    pub fn data_dir(&self) -> &Path {
        &self.server.prepared.folder.root
    }

    /// Waits until the engine ends without having been asked to, and says so; for a `select!` beside the program's work.
    pub async fn died(&self) -> EngineError {
        let status = self.server.child.exited().await;
        EngineError::Died { status, log: self.server.prepared.folder.log(), tail: self.server.log_tail() }
    }

    /// Stops the engine; returns when no process and no socket of it is left. Open connections are closed, transactions
    /// that have not committed are rolled back. That it takes a while after much writing is in order.
    ///
    /// # Errors
    ///
    /// [`EngineError::StillRunning`] if not even a kill ends it.
    pub async fn stop(self) -> Result<(), EngineError> {
        self.server.stop().await
    }

    /// How to connect as a guest to the engine that another program runs on that folder; `None` when none does. Waits for
    /// one that is starting. The engine goes when its program does, whatever its guests do.
    ///
    /// # Errors
    ///
    /// Those of looking at the folder: it may be another user's.
    pub async fn attach(options: &EngineOptions) -> Result<Option<PgConnectOptions>, EngineError> {
        let path = options.data_dir.clone();
        let Some(folder) = blocking(move || DataFolder::open(&path)).await? else {
            return Ok(None);
        };
        let began = Instant::now();
        loop {
            let looked = folder.clone();
            let found = blocking(move || running(&looked)).await?;
            let last = match found {
                Running::No => return Ok(None),
                Running::Starting => Answer::Starting,
                Running::At(socket) => match supervisor::probe(&socket).await {
                    Answer::Ready if is_of(&folder, &socket).await => {
                        return Ok(Some(supervisor::connect_options(&socket)));
                    }
                    answer => answer,
                },
            };
            if let Answer::Refused(source) = last {
                return Err(EngineError::Refused { log: folder.log(), tail: String::new(), source });
            }
            if began.elapsed() > supervisor::SILENCE {
                let seconds = began.elapsed().as_secs();
                return Err(EngineError::StartTimeout {
                    seconds,
                    log: folder.log(),
                    tail: folder.log_tail(0),
                });
            }
            sleep(supervisor::POLL).await;
        }
    }
}

/// What a guest finds.
enum Running {
    No,
    Starting,
    At(SocketFolder),
}

fn running(folder: &DataFolder) -> Result<Running, EngineError> {
    use std::os::unix::fs::MetadataExt;

    // Without a holder of the lock, a server is a leftover on its way out.
    if !DataLock::is_held(&folder.lock())? {
        return Ok(Running::No);
    }
    let pg = folder.pg();
    let owner = match std::fs::metadata(&pg) {
        Ok(found) => found.uid(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Running::Starting),
        Err(source) => return Err(EngineError::io("look at", &pg)(source)),
    };
    let uid = geteuid().as_raw();
    if uid != 0 && uid != owner {
        return Err(EngineError::NotOwner { path: pg, owner, uid });
    }
    let Some(socket) = PidFile::read(&pg)?.and_then(|file| file.socket) else {
        return Ok(Running::Starting);
    };
    let socket = SocketFolder::existing(socket);
    match socket.check(owner) {
        Ok(()) => Ok(Running::At(socket)),
        // A stopping engine has just removed it, or the file is an old one's.
        Err(EngineError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(Running::Starting)
        }
        Err(error) => Err(error),
    }
}

/// Whether the server there is the one of this folder's data.
async fn is_of(folder: &DataFolder, socket: &SocketFolder) -> bool {
    let asking = async {
        let mut connection = supervisor::connect_options(socket).connect().await?;
        let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(data)
    };
    asking.await.is_ok_and(|data| Path::new(&data) == folder.pg())
}
