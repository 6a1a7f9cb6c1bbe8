//! The mark that every command of flow bears in its environment, and finding what bears it.
//!
//! `FLOW_ATTEMPT=<id>/<run>/<task>/<attempt>`; the id is device and inode of the pipeline file's
//! folder under `.flow/`: asked, never stored, so that a copied workspace has another one. Owns the
//! variable's form and stopping by it. Must hold: no stranger is ever signalled (a process is known
//! by number and start time, and is looked at again when it can no longer be replaced by another),
//! nor this process or one above it. Only Linux shows the environment of processes; elsewhere
//! nothing is ever found.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::name::AttemptId;
use crate::os::process;

/// The variable's name.
pub const VARIABLE: &str = "FLOW_ATTEMPT";

/// How long is waited for a process that was sent SIGKILL. Only one that hangs in the kernel needs it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The id of a pipeline file on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    id: String,
}

impl Mark {
    /// The mark of the pipeline file whose folder under `.flow/` this is.
    pub fn of(folder: &Path) -> io::Result<Mark> {
        let meta = std::fs::metadata(folder)?;
        Ok(Mark { id: format!("{}-{}", meta.dev(), meta.ino()) })
    }

    /// The mark with this id.
    pub fn with_id(id: String) -> Mark {
        Mark { id }
    }

    /// `dev-ino`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The value of `FLOW_ATTEMPT` for an attempt.
    pub fn attempt(&self, attempt: &AttemptId) -> String {
        format!("{}/{}/{}/{}", self.id, attempt.run.number, attempt.task, attempt.n)
    }

    /// What all values of this pipeline file begin with.
    pub fn prefix(&self) -> String {
        format!("{}/", self.id)
    }
}

/// A living process that bears a mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks.
    pub start: u64,
    /// The value of `FLOW_ATTEMPT`.
    pub mark: Vec<u8>,
}

/// All living processes with a mark that is wanted, but for this one and those above it.
pub fn find(wanted: impl Fn(&[u8]) -> bool) -> Vec<Found> {
    let mut found = Vec::new();
    for pid in process::all() {
        let Some(mark) = process::variable(pid, VARIABLE).filter(|mark| wanted(mark)) else { continue };
        let Some(stat) = process::stat(pid).filter(|stat| !stat.ended) else { continue };
        found.push(Found { pid, start: stat.start, mark });
    }
    if !found.is_empty() {
        let above = process::ancestors();
        found.retain(|process| !above.contains(&process.pid));
    }
    found
}

/// Sends a signal to a process that was found, unless it is gone. Whether it was sent.
pub fn signal(process: &Found, signal: Signal) -> bool {
    let Some(pid) = Pid::from_raw(process.pid) else { return false };
    let held = hold(pid);
    // Asked after it is held: the number can now mean no other process.
    if !process::alive(process.pid, process.start) {
        return false;
    }
    match held {
        #[cfg(target_os = "linux")]
        Some(held) => rustix::process::pidfd_send_signal(held, signal).is_ok(),
        _ => rustix::process::kill_process(pid, signal).is_ok(),
    }
}

fn hold(pid: Pid) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    return rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// Stops everything with a mark that is wanted: SIGTERM, after `grace` SIGKILL (at once if it is
/// zero). Returns when nothing of it lives, with what was found; `left` is what even SIGKILL did not
/// end in some seconds.
pub fn stop_all(wanted: impl Fn(&[u8]) -> bool, grace: Duration) -> Stopped {
    let begin = Instant::now();
    let mut stopped = Stopped::default();
    let mut pause = Duration::from_millis(1);
    let mut clean = 0;
    loop {
        let living = find(&wanted);
        if living.is_empty() {
            // A process has no environment for a moment while it becomes another program: look twice.
            clean += 1;
            if clean == 2 {
                stopped.left.clear();
                return stopped;
            }
        } else {
            clean = 0;
        }
        let waited = begin.elapsed();
        let kill = waited >= grace;
        for process in &living {
            let known = stopped.found.iter().any(|old| (old.pid, old.start) == (process.pid, process.start));
            if kill {
                signal(process, Signal::KILL);
            } else if !known {
                signal(process, Signal::TERM);
                // One that is stopped sees the first signal only when it goes on.
                signal(process, Signal::CONT);
            }
            if !known {
                stopped.found.push(process.clone());
            }
        }
        if waited > grace + PATIENCE {
            stopped.left = living;
            return stopped;
        }
        thread::sleep(pause.min(if kill { pause } else { grace.saturating_sub(waited) }));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// What [`stop_all`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stopped {
    /// What was found alive and was signalled.
    pub found: Vec<Found>,
    /// What of it still lives.
    pub left: Vec<Found>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RunId;
    use std::process::Command;

    #[test]
    fn the_mark_is_the_folders_own() {
        let one = tempfile::tempdir().unwrap();
        let two = tempfile::tempdir().unwrap();
        let mark = Mark::of(one.path()).unwrap();
        assert_ne!(mark, Mark::of(two.path()).unwrap());
        let attempt = AttemptId { run: RunId { number: 3, nonce: 9 }, task: "a@x=b/c".into(), n: 2 };
        assert_eq!(mark.attempt(&attempt), format!("{}3/a@x=b/c/2", mark.prefix()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_what_bears_the_mark_is_stopped() {
        let start = |mark: &str| Command::new("/bin/sleep").arg("100").env(VARIABLE, mark).spawn().unwrap();
        let (mut ours, mut other) = (start("test-1/1/a/1"), start("test-11/1/a/1"));
        let stopped = {
            // Reaped by another thread, since one that waits to be reaped is not alive.
            let stopped = stop_all(|mark| mark.starts_with(b"test-1/"), PATIENCE);
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ours.wait().unwrap()), Some(15));
            stopped
        };
        assert_eq!(stopped.found.iter().map(|p| p.pid).collect::<Vec<_>>(), [ours.id() as i32]);
        assert!(stopped.left.is_empty());
        assert!(other.try_wait().unwrap().is_none());
        let found = find(|mark| mark == b"test-11/1/a/1");
        assert_eq!(found.len(), 1);
        // The same number with another start is a stranger.
        assert!(!signal(&Found { start: found[0].start + 1, ..found[0].clone() }, Signal::KILL));
        assert!(signal(&found[0], Signal::KILL));
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&other.wait().unwrap()), Some(9));
    }
}
