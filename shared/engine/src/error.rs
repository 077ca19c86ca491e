//! Errors of the embedded engine, each with advice for the person at the terminal.

use std::io;
use std::path::{Path, PathBuf};

/// Why the embedded engine did not start, answer or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Another program holds the data folder.
    #[error(
        "the data folder {data_dir} is in use by `{command}` (process {pid}): stop that program, or give this one \
         another folder with MUSTER_DATA_DIR"
    )]
    InUse {
        /// The data folder.
        data_dir: PathBuf,
        /// The holder's process id.
        pid: u32,
        /// The holder's program name and subcommand.
        command: String,
    },
    /// This build carries no engine for the machine it runs on.
    #[error(
        "this build of muster carries no database engine for this system: set DATABASE_URL to a PostgreSQL server, or \
         name the folder of an installed PostgreSQL's programs with --postgres-bin"
    )]
    NoBundledEngine,
    /// The folder given for the installed binaries lacks one of them.
    #[error(
        "there is no program `{missing}` in {folder}: --postgres-bin takes the folder that holds `postgres` and \
         `initdb`, often /usr/lib/postgresql/<version>/bin"
    )]
    BinariesMissing {
        /// The folder that was given.
        folder: PathBuf,
        /// The missing program.
        missing: &'static str,
    },
    /// A program of the engine could not be run at all.
    #[error(
        "cannot run {program}: {source}; the bundled engine needs glibc 2.34 or newer and zlib, with --postgres-bin an \
         installed PostgreSQL serves instead"
    )]
    CannotRun {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}; check the folder's owner, its permissions and the space left")]
    Io {
        /// What was tried, as in "cannot … the file".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The data folder's path cannot be passed on to the engine.
    #[error(
        "the data folder's path {path:?} cannot be used: it must be UTF-8 without \", $, `, \\ and control characters; \
         choose another one with MUSTER_DATA_DIR"
    )]
    PathUnusable {
        /// The path.
        path: PathBuf,
    },
    /// The data belong to another user.
    #[error(
        "{path} belongs to user id {owner}, and this program runs as user id {uid}: run it as that user, or give it \
         another folder with MUSTER_DATA_DIR"
    )]
    NotOwner {
        /// The folder or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// An installed PostgreSQL refuses to run as root, and there is no one else to run it as.
    #[error(
        "an installed PostgreSQL does not run as root, and the system has neither a user `postgres` nor `nobody`: \
         run muster as an ordinary user, or give the data folder to one (chown)"
    )]
    NoAccount,
    /// The user that runs the engine cannot get to a folder that it needs.
    #[error(
        "the engine runs as user `{account}`, who may not enter {blocked}: choose a data folder outside of it with \
         MUSTER_DATA_DIR (for example under /var/lib), or run muster as an ordinary user"
    )]
    Unreachable {
        /// The first folder on the way that is closed.
        blocked: PathBuf,
        /// The user's name.
        account: String,
    },
    /// The socket's folder cannot be trusted.
    #[error(
        "the folder {path} for the engine's socket cannot be trusted, {reason}: remove it, or choose a data folder with \
         a shorter path so that none outside of it is needed"
    )]
    SocketFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The data were written by another major version.
    #[error(
        "{path} was made by PostgreSQL {found}, and this engine is PostgreSQL {engine}: use binaries of version \
         {found} (--postgres-bin), or start with an empty data folder (MUSTER_DATA_DIR)"
    )]
    VersionMismatch {
        /// The database files.
        path: PathBuf,
        /// The major version that made them.
        found: String,
        /// The major version that was to run on them.
        engine: String,
    },
    /// `initdb` failed.
    #[error("the database files could not be made ({status}); the engine said:\n{output}")]
    InitDb {
        /// How `initdb` ended.
        status: String,
        /// The end of its output.
        output: String,
    },
    /// The server ended before it answered.
    #[error("the engine ended while starting ({status}); the end of {log}:\n{tail}")]
    ExitedEarly {
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// What it logged since this start.
        tail: String,
    },
    /// The server did not answer in time.
    #[error(
        "the engine did not answer within {seconds} s; try again when the machine is less busy. The end of {log}:\n{tail}"
    )]
    StartTimeout {
        /// How long we waited.
        seconds: u64,
        /// Its log.
        log: PathBuf,
        /// What it logged since this start.
        tail: String,
    },
    /// The server answered with an error that waiting does not cure.
    #[error("the engine runs but refuses to work; the end of {log} may say why:\n{tail}")]
    Refused {
        /// Its log.
        log: PathBuf,
        /// What it logged since this start.
        tail: String,
        /// What it answered.
        source: sqlx::Error,
    },
    /// The server ended although nobody asked it to.
    #[error(
        "the engine ended by itself ({status}); start muster again, what was committed is kept. The end of {log}:\n{tail}"
    )]
    Died {
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// What it logged since its start.
        tail: String,
    },
    /// A server that an earlier program left does not go away.
    #[error(
        "an earlier engine (process {pid}) still runs on {data_dir} and does not stop: end it with `kill -QUIT {pid}`"
    )]
    StillRunning {
        /// The process.
        pid: u32,
        /// The data folder.
        data_dir: PathBuf,
    },
}

impl EngineError {
    /// For `map_err` after a file operation.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
