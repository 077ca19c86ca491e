//! A service that is started again when it dies, as an init system would.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::desk::{Desk, signal, until};

const POLL: Duration = Duration::from_millis(10);

/// A running service, and how often it died.
pub(crate) struct Service {
    state: Arc<Mutex<State>>,
    watcher: Option<JoinHandle<()>>,
}

struct State {
    child: Option<Child>,
    started: Instant,
    deaths: Vec<ExitStatus>,
    stopping: bool,
}

impl Service {
    /// Starts it with these variables; started again after a death, it has those of `always` alone.
    pub(crate) fn start(
        desk: &Arc<Desk>,
        name: &'static str,
        once: &[(&str, &str)],
        always: &[(&str, &str)],
    ) -> Self {
        let always: Vec<(String, String)> =
            always.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let child = Some(spawn(desk, name, once, &always));
        let state = Arc::new(Mutex::new(State {
            child,
            started: Instant::now(),
            deaths: Vec::new(),
            stopping: false,
        }));
        let watcher = {
            let (state, desk) = (state.clone(), desk.clone());
            thread::spawn(move || {
                while watch(&state, &desk, name, &always) {
                    thread::sleep(POLL);
                }
            })
        };
        Self { state, watcher: Some(watcher) }
    }

    /// The same for one that nobody starts again.
    pub(crate) fn start_mortal(desk: &Desk, name: &str, failpoints: &str) -> Child {
        spawn(desk, name, &[("FAILPOINTS", failpoints)], &[])
    }

    /// How it died so far.
    pub(crate) fn deaths(&self) -> Vec<ExitStatus> {
        self.state.lock().unwrap().deaths.clone()
    }

    /// Asks it to end, makes sure that it ends in order, and tells how it died before.
    pub(crate) fn stop(mut self) -> Vec<ExitStatus> {
        let (mut child, deaths, started) = {
            let mut state = self.state.lock().unwrap();
            state.stopping = true;
            (state.child.take().unwrap(), std::mem::take(&mut state.deaths), state.started)
        };
        self.watcher.take().unwrap().join().unwrap();
        signal(&child, "TERM");
        let status = until("the service ends", || child.try_wait().unwrap());
        // One that was started again a moment ago does not listen to signals yet, and holds nothing.
        let young = started.elapsed() < Duration::from_secs(10) && status.signal() == Some(15);
        assert!(status.success() || young, "the service ended with {status}");
        deaths
    }
}

/// Starts a service that died. False once it is to stop.
fn watch(state: &Mutex<State>, desk: &Desk, name: &str, always: &[(String, String)]) -> bool {
    let mut state = state.lock().unwrap();
    if state.stopping {
        return false;
    }
    if let Some(status) = state.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
        state.deaths.push(status);
        state.child = Some(spawn(desk, name, &[], always));
        state.started = Instant::now();
    }
    true
}

fn spawn(desk: &Desk, name: &str, once: &[(&str, &str)], always: &[(String, String)]) -> Child {
    // What it logs goes to a file: a pipe that nobody reads would stop it, and a failed test is read by it.
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(desk.path(&format!("{name}.log")))
        .unwrap();
    let mut command = desk.command(&[name, "--log", "info"]);
    command.stdout(Stdio::null()).stderr(log).env("FAULT_NOTES", desk.path("notes"));
    command.env_remove("FAILPOINTS").envs(once.iter().copied());
    command.envs(always.iter().map(|(name, value)| (name, value)));
    command.spawn().unwrap()
}

impl Drop for Service {
    fn drop(&mut self) {
        // A test that fails leaves no process behind.
        let child = {
            let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            state.stopping = true;
            state.child.take()
        };
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}
