//! Other programs: run to their end, or ended by us.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Runs a program to its end. What it printed; what it complained of, if it failed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let first = command.get_args().next().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    // The arguments after the first may hold passwords, and are not repeated.
    let called = if first.contains("://") { name } else { format!("{name} {first}") };
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start {called}"))?;
    finished(&called, &output)
}

/// What a program that has ended printed.
pub(crate) fn finished(called: &str, output: &std::process::Output) -> anyhow::Result<String> {
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{called} failed ({}): {}", output.status, complaint.trim());
    }
    String::from_utf8(output.stdout.clone())
        .with_context(|| format!("{called} printed something other than text"))
}

/// When a process started, in the kernel's own ticks. `None`: it does not run (any more).
pub(crate) fn start_time(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may itself hold anything: the state, then 18 more fields, then the start.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// The most memory a process has had, in KiB.
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel does not say")?;
    let number = line.trim().trim_end_matches("kB").trim();
    number.parse().with_context(|| format!("{number} is not a number"))
}

/// Asks a process to stop, and insists when it does not in time.
pub(crate) fn end(pid: &str, start: &str, patience: Duration) -> anyhow::Result<()> {
    let runs = || start_time(pid).as_deref() == Some(start);
    let target =
        pid.parse().ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is not a process id"))?;
    for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, Duration::from_secs(5))] {
        if !runs() {
            return Ok(());
        }
        // It may have ended in between.
        let _ = kill_process(target, signal);
        let since = Instant::now();
        while runs() && since.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if runs() { bail!("process {pid} cannot be ended") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ended_by_its_id_and_start() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().to_string();
        let start = start_time(&pid).unwrap();
        assert!(peak_memory(child.id()).unwrap() > 0);
        end(&pid, "1", Duration::ZERO).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "another process with that id is none of ours");
        end(&pid, &start, Duration::from_secs(5)).unwrap();
        assert_eq!(start_time(&pid), None);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn passwords_are_not_repeated() {
        let error = run(Command::new("false").arg("postgres://u:secret@h/d")).unwrap_err();
        assert!(!format!("{error:#}").contains("secret"));
    }
}
