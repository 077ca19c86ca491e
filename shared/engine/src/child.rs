//! The server as a child process: it ends with this program, and a signal sent to it cannot reach another process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::{oneshot, watch};

/// A running child and the thread that waits for it.
///
/// The kernel sends the death signal when the *thread* that made the child ends. So that thread does nothing else and
/// stays until the child is gone.
#[derive(Debug)]
pub(super) struct Child {
    pid: u32,
    /// `None` as soon as the child has ended; emptied before its process id is given back to the system.
    target: Arc<Mutex<Option<Pid>>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts `command`; it will get `death` when this process ends, however that ends (Linux only).
    pub(super) async fn spawn(mut command: Command, death: Signal) -> io::Result<Self> {
        let (started, wait_started) = oneshot::channel();
        let (ended, exit) = watch::channel(None);
        let target = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&target);
        thread::Builder::new().name("muster-engine".to_owned()).spawn(move || {
            die_with_parent(&mut command, death);
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            *lock(&shared) = pid;
            let _ = started.send(Ok(child.id()));
            if let Some(pid) = pid {
                // Until it is reaped below, its id is not reused.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
            }
            *lock(&shared) = None;
            let _ = ended.send(child.wait().ok());
        })?;
        let pid = wait_started.await.map_err(io::Error::other)??;
        Ok(Self { pid, target, exit })
    }

    pub(super) fn id(&self) -> u32 {
        self.pid
    }

    /// Sends a signal, unless the child has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = *lock(&self.target)
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::warn!(pid = self.pid, %error, "the engine could not be signalled");
        }
    }

    /// How the child ended; waits for it.
    pub(super) async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await.ok().and_then(|status| *status) {
            Some(status) => status.to_string(),
            None => "exit status unknown".to_owned(),
        }
    }

    /// Whether it ends within that time.
    pub(super) async fn exits_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.exited()).await.is_ok()
    }
}

fn lock(target: &Mutex<Option<Pid>>) -> MutexGuard<'_, Option<Pid>> {
    target.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the kernel signal the child when the calling thread ends. Other systems do not have this: a server
/// that outlives its program is found by the next start (`stale_server.rs`).
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a death signal can only be set between fork and exec")]
pub(super) fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let arm = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // Had the parent died before that call, no signal would ever come.
        match rustix::process::getppid() == Some(parent) {
            true => Ok(()),
            false => Err(io::Error::from(rustix::io::Errno::SRCH)),
        }
    };
    // SAFETY: `arm` runs in the forked copy of a program with several threads, where only async-signal-safe calls are
    // allowed. It makes two system calls (prctl, getppid), allocates nothing and takes no lock; what it captured is Copy.
    unsafe {
        command.pre_exec(arm);
    }
}

/// There is no death signal on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn die_with_parent(_command: &mut Command, _signal: Signal) {}
