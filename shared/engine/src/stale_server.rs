//! A server of an earlier program that still runs on the data folder.
//!
//! The death signal makes such a server shut down, but that takes a while, and systems without that signal
//! leave it running. It is not adopted: its settings may be old, it may be shutting down already, and it
//! would not end with this program. It is asked to shut down, which keeps all committed work, and a new
//! server is started.
//!
//! Everything here is for the holder of the data folder's lock. A process is signalled only if it is proved
//! to be a server of this data folder. Its number in a file is not enough, since process numbers are reused.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::EngineError;
use super::folder::{DataFolder, SocketFolder};

/// A fast shutdown writes all that is in memory to disk.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// An immediate shutdown writes nothing.
const ABORT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// What a server says about itself in `postmaster.pid`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: Pid,
    pub(super) socket: Option<PathBuf>,
}

impl PidFile {
    /// `None` where no server has run, or the last one ended in order.
    pub(super) fn read(pg: &Path) -> Result<Option<Self>, EngineError> {
        let path = pg.join("postmaster.pid");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EngineError::io("read", &path)(source)),
        }
    }

    /// Lines: process, data folder, start time, port, socket folder, …
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok().and_then(Pid::from_raw)?;
        let socket = lines.nth(3).filter(|line| !line.is_empty()).map(PathBuf::from);
        Some(Self { pid, socket })
    }
}

/// Waits until no server process is left on the data folder, and helps where that does not come by itself. Then removes
/// what would make the next server believe in the old one.
pub(super) fn clear(data: &DataFolder) -> Result<(), EngineError> {
    let pg = data.pg();
    if !pg.exists() {
        return Ok(());
    }
    let file = PidFile::read(&pg)?;
    let parent = file.as_ref().map(|file| file.pid);
    let started = Instant::now();
    let mut asked = None;
    loop {
        let left = servers(&pg, parent);
        let Some(&first) = left.first() else { break };
        let (signal, targets) = match (started.elapsed(), parent.filter(|parent| left.contains(parent))) {
            (past, Some(parent)) if past < SHUTDOWN => (Some(Signal::INT), vec![parent]),
            // Without their parent, the others notice and leave by themselves.
            (past, None) if past < ABORT => (None, Vec::new()),
            (past, _) if past < SHUTDOWN + ABORT => (Some(Signal::QUIT), left),
            (past, _) if past < SHUTDOWN + 2 * ABORT => (Some(Signal::KILL), left),
            _ => {
                let pid = first.as_raw_nonzero().get().unsigned_abs();
                return Err(EngineError::StillRunning { pid, data_dir: data.root.clone() });
            }
        };
        if let Some(signal) = signal
            && asked.replace(signal) != Some(signal)
        {
            for target in targets {
                tracing::info!(process = %target.as_raw_nonzero(), ?signal, "stopping an engine left by an earlier run");
                // It may have ended since we looked.
                let _ = kill_process(target, signal);
            }
        }
        thread::sleep(POLL);
    }
    if can_see_processes() {
        // Recovery does not need the file, and its number may belong to somebody else by now, whom the server would
        // take for its predecessor.
        let _ = fs::remove_file(pg.join("postmaster.pid"));
    }
    if let Some(socket) = file.and_then(|file| file.socket) {
        SocketFolder::existing(socket).clear();
    }
    Ok(())
}

/// Whether `servers` sees all there are.
fn can_see_processes() -> bool {
    cfg!(target_os = "linux") && fs::read_link("/proc/self/cwd").is_ok()
}

/// The processes of servers on these database files: a server, and every process it makes, works in their folder.
#[cfg(target_os = "linux")]
fn servers(pg: &Path, _noted: Option<Pid>) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|pid| {
            let process = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
            // A user's shell may have this working folder too.
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == pg)
                && fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "postgres")
        })
        .collect()
}

/// The server that `postmaster.pid` names, if its command line names these database files.
#[cfg(not(target_os = "linux"))]
fn servers(pg: &Path, noted: Option<Pid>) -> Vec<Pid> {
    let Some(noted) = noted else {
        return Vec::new();
    };
    let output = std::process::Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &noted.as_raw_nonzero().to_string()])
        .output();
    let line = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let ours = pg.to_str().is_some_and(|pg| line.contains("postgres") && line.contains(pg));
    if ours { vec![noted] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_gives_process_and_socket_folder() {
        let text = "4711\n/data/pg\n1700000000\n5432\n/data/s\n\n  123 4\nready   \n";
        let found = PidFile::parse(text).unwrap();
        assert_eq!(
            (found.pid.as_raw_nonzero().get(), found.socket.as_deref()),
            (4711, Some(Path::new("/data/s")))
        );
    }

    #[test]
    fn cut_pid_file_is_no_server() {
        assert_eq!(PidFile::parse(""), None);
        assert_eq!(PidFile::parse("0\n"), None);
        assert_eq!(PidFile::parse("12\n/data/pg\n").unwrap().socket, None);
    }

    #[test]
    fn reused_process_number_is_not_signalled_and_the_stale_file_goes() {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataFolder::create(temporary.path()).unwrap();
        fs::create_dir(data.pg()).unwrap();
        let stale = data.pg().join("postmaster.pid");
        // The number is this test's own: were it signalled, the test would end.
        fs::write(&stale, format!("{}\n{}\n1\n5432\n", std::process::id(), data.pg().display())).unwrap();
        clear(&data).unwrap();
        assert_eq!(stale.exists(), !can_see_processes());
    }
}
