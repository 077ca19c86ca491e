//! Makes sure that a killed run leaves nothing behind.
//!
//! A second process of this program, out of reach of the terminal's Ctrl-C, is told of everything the run starts and
//! makes. When the run ends, however it ends, the pipe between them closes, and the guard cleans up, newest first.

use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::{postgres, process};

/// Something to be cleaned up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// A process: its id, and when it started, which together never name another one.
    Process { pid: String, start: String },
    /// A database of the server at the URL.
    Database { server: String, name: String },
    /// A folder.
    Folder(String),
    /// Queues of the private broker, by the beginning of their names.
    Queues { script: String, prefix: String },
    /// A private server that the script started.
    Service { script: String, name: String },
}

impl Leftover {
    fn fields(&self) -> Vec<&str> {
        match self {
            Self::Process { pid, start } => vec!["process", pid, start],
            Self::Database { server, name } => vec!["database", server, name],
            Self::Folder(path) => vec!["folder", path],
            Self::Queues { script, prefix } => vec!["queues", script, prefix],
            Self::Service { script, name } => vec!["service", script, name],
        }
    }

    fn read(fields: &[&str]) -> Option<Self> {
        let own = |text: &&str| (*text).to_owned();
        Some(match fields {
            ["process", pid, start] => Self::Process { pid: own(pid), start: own(start) },
            ["database", server, name] => Self::Database { server: own(server), name: own(name) },
            ["folder", path] => Self::Folder(own(path)),
            ["queues", script, prefix] => Self::Queues { script: own(script), prefix: own(prefix) },
            ["service", script, name] => Self::Service { script: own(script), name: own(name) },
            _ => return None,
        })
    }

    fn clean(&self) -> anyhow::Result<()> {
        match self {
            Self::Process { pid, start } => process::end(pid, start, Duration::from_secs(20)),
            Self::Database { server, name } => postgres::drop_database(server, name),
            Self::Folder(path) => {
                std::fs::remove_dir_all(path).with_context(|| format!("cannot remove {path}"))
            }
            Self::Queues { script, prefix } => delete_queues(script, prefix),
            Self::Service { script, name } => {
                process::run(Command::new(script).args(["down", name])).map(drop)
            }
        }
    }
}

fn delete_queues(script: &str, prefix: &str) -> anyhow::Result<()> {
    let list =
        process::run(Command::new(script).args(["ctl", "-q", "list_queues", "--no-table-headers", "name"]))?;
    for name in list.lines().map(str::trim).filter(|name| name.starts_with(prefix)) {
        process::run(Command::new(script).args(["ctl", "-q", "delete_queue", name]))?;
    }
    Ok(())
}

/// The run's end of the pipe.
pub(crate) struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start the guard")?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Clean this up when the run ends.
    pub(crate) fn add(&mut self, leftover: &Leftover) -> anyhow::Result<()> {
        self.tell("+", leftover)
    }

    /// This is gone already.
    pub(crate) fn forget(&mut self, leftover: &Leftover) -> anyhow::Result<()> {
        self.tell("-", leftover)
    }

    fn tell(&mut self, sign: &str, leftover: &Leftover) -> anyhow::Result<()> {
        let line = format!("{sign}\t{}\n", leftover.fields().join("\t"));
        let pipe = self.pipe.as_mut().context("the guard has been dismissed")?;
        pipe.write_all(line.as_bytes()).context("the guard is gone")
    }

    /// Cleans up, and says whether that worked.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.pipe = None;
        let status = self.child.wait().context("waiting for the guard")?;
        if !status.success() {
            bail!("not everything was cleaned up");
        }
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        // After `finish` this returns at once. What went wrong, the guard has said.
        let _ = self.child.wait();
    }
}

/// The guard's own life (`muster-bench guard`, not for people).
pub(crate) fn command() -> anyhow::Result<()> {
    let mut leftovers: Vec<Leftover> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.context("reading from the run")?;
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.split_first() {
            Some((&"+", rest)) => leftovers.extend(Leftover::read(rest)),
            Some((&"-", rest)) => leftovers.retain(|known| Some(known) != Leftover::read(rest).as_ref()),
            _ => bail!("a line that is not understood"),
        }
    }
    let mut failed = false;
    for leftover in leftovers.iter().rev() {
        if let Err(error) = leftover.clean() {
            eprintln!("muster-bench: cleaning up: {error:#}");
            failed = true;
        }
    }
    if failed { bail!("not everything was cleaned up") } else { Ok(()) }
}

/// A fresh folder for the run's files.
pub(crate) fn folder(guard: &mut Guard, keep: bool) -> anyhow::Result<std::path::PathBuf> {
    let path = std::env::temp_dir().join(format!("muster-bench-{}", std::process::id()));
    std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if !keep {
        guard.add(&Leftover::Folder(text(&path)?))?;
    }
    Ok(path)
}

/// A path as text that fits a line.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['\t', '\n']));
    text.map(str::to_owned).with_context(|| format!("the path {} is not plain text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_read_as_they_are_written() {
        let own = str::to_owned;
        for leftover in [
            Leftover::Process { pid: own("1"), start: own("2") },
            Leftover::Database { server: own("postgres://h/d"), name: own("n") },
            Leftover::Folder(own("f")),
            Leftover::Queues { script: own("s"), prefix: own("p") },
            Leftover::Service { script: own("s"), name: own("postgres") },
        ] {
            assert_eq!(Leftover::read(&leftover.fields()), Some(leftover));
        }
        assert_eq!(Leftover::read(&["process", "1"]), None);
    }
}
