//! A folder of one's own to run `muster` in, and a look at the processes that it starts.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Makes sure of the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// Makes sure that the error names all of this.
    #[track_caller]
    pub(crate) fn tells(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not told: {self:#?}");
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A folder with its own data folder. Dropped, it makes sure that no process of the data folder is left.
pub(crate) struct Desk {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), variables: Vec::new() }
    }

    /// Sets an environment variable for the program.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The program, ready to run in the folder, with nothing of this process's environment that concerns it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        let ours = |name: &str| name.starts_with("MUSTER_") || ["DATABASE_URL", "AMQP_URL"].contains(&name);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(ours) {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        wait(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Runs the program with this on standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Run {
        let mut child = self.start(args, Stdio::piped());
        // The program may end before it has read everything.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input);
        wait(child)
    }

    /// Starts the program.
    pub(crate) fn start(&self, args: &[&str], stdin: Stdio) -> Child {
        self.command(args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until this process runs the engine: a program that looks before that would start one of its own.
    #[track_caller]
    pub(crate) fn until_runs(&self, child: &Child) {
        let holder = format!("{}\n", child.id());
        until("the program runs its engine", || {
            let note = std::fs::read_to_string(self.path(".muster/lock")).unwrap_or_default();
            note.starts_with(&holder).then_some(())
        });
    }

    /// Waits until the last import, as a second program sees it, is as wanted. `None` from `wanted` means: not yet.
    #[track_caller]
    pub(crate) fn until_import<T>(&self, wanted: impl Fn(&Value) -> Option<T>) -> T {
        until("the import is as wanted", || {
            let shown = self.run(&["imports", "show", "last", "--json", "--log", "off"]);
            if shown.code != Some(0) { None } else { wanted(&shown.json()) }
        })
    }

    /// Process ids whose command line or working folder is in this folder.
    fn processes(&self) -> Vec<u32> {
        let inside = self.dir.path().canonicalize().unwrap();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let folder = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let named = String::from_utf8_lossy(&line).contains(&*inside.to_string_lossy());
            if pid != std::process::id() && !line.is_empty() && (named || folder.starts_with(&inside)) {
                found.push(pid);
            }
        }
        found
    }

    /// Waits until no process of this folder is left.
    #[track_caller]
    pub(crate) fn until_quiet(&self) {
        until("no process is left", || self.processes().is_empty().then_some(()));
    }

    /// Makes sure that no process of this folder is left now.
    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        assert_eq!(self.processes(), Vec::<u32>::new(), "processes are left behind");
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.until_quiet();
            return;
        }
        // A test that failed leaves nothing running: its programs, and the engines that they started.
        for pid in self.processes() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

/// Waits for a process to end, and takes what it printed.
#[track_caller]
pub(crate) fn wait(mut child: Child) -> Run {
    let reading = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                stream.read_to_end(&mut bytes).unwrap();
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = reading(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = reading(child.stderr.take().map(|stream| Box::new(stream) as _));
    let status = until("the program ends", || child.try_wait().unwrap());
    Run { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits for something to be so.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(POLL);
    }
}

/// A file of the examples.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// A CSV file of that many users, all of them good and different.
pub(crate) fn generated(records: usize) -> String {
    let mut text = String::from("email,first_name,last_name,custom__number\n");
    for number in 0..records {
        text.push_str(&format!("person{number}@example.com,Žofie,\"Nováková, {number}\",{number}\n"));
    }
    text
}
