//! A command that was started and not yet reaped, as the launcher keeps it.
//!
//! Owns signalling it: its group by its leader's number, which means no stranger until the leader is
//! reaped, and single processes by number and start time. Decides nothing about when.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::logs::Piped;
use super::mark::{self, Found};
use super::orphans::{Owner, is_mark};
use crate::os::process::{self, Variable};

/// Why flow stops a command.
#[derive(Clone, Copy)]
pub enum Why {
    Timeout(Duration),
    Cancelled,
}

/// A command that was started and not yet reaped.
pub struct Running {
    pub number: u64,
    /// Its leader, whose number is the group's too.
    pub pid: Pid,
    /// Readable when the leader has exited.
    pub watch: Option<OwnedFd>,
    /// The value of `FLOW_ATTEMPT`.
    pub mark: Vec<u8>,
    pub started: Instant,
    pub deadline: Option<(Instant, Duration)>,
    pub grace: Duration,
    pub log: Vec<u8>,
    pub piped: Option<Piped>,
    /// What of the log was cut out, so far.
    pub log_cut: u64,
    /// flow stops it.
    pub why: Option<Why>,
    /// Its group was sent SIGTERM.
    pub asked: bool,
    /// What else was: number and start.
    pub told: Vec<(i32, u64)>,
    /// When SIGKILL is to be sent.
    pub kill_at: Option<Instant>,
    /// The leader has exited.
    pub exited: Option<Exit>,
    /// Since when nothing of it was found after its leader exited.
    pub empty_since: Option<Instant>,
    /// When to look again whether something is left.
    pub look_at: Option<Instant>,
}

impl Running {
    /// Signals a process outside of the group; SIGTERM once only.
    pub fn tell(&mut self, found: &Found, signal: Signal) {
        if signal != Signal::TERM {
            mark::signal(found, signal);
        } else if !self.told.contains(&(found.pid, found.start)) {
            self.told.push((found.pid, found.start));
            mark::signal(found, Signal::TERM);
            mark::signal(found, Signal::CONT);
        }
    }
}

/// A leader that has exited.
#[derive(Clone, Copy)]
pub struct Exit {
    pub well: bool,
    pub wall: Duration,
    pub at: Instant,
}

/// Whose an orphan is: by its group, else by its mark.
pub fn owner(running: &[Running], pid: Pid) -> Owner {
    let group = rustix::process::getpgid(Some(pid)).ok();
    if let Some(running) = running.iter().find(|running| Some(running.pid) == group) {
        return Owner::Command(running.number);
    }
    match process::environment_variable(pid.as_raw_pid(), mark::VARIABLE) {
        Variable::Is(mark) => {
            let running = running.iter().find(|running| is_mark(&mark, &running.mark));
            running.map_or(Owner::Nobody, |running| Owner::Command(running.number))
        }
        Variable::Unset => Owner::Nobody,
        Variable::Unsure => Owner::Unsure,
    }
}

/// Asks a group to end. A stopped process sees that only when it goes on.
pub fn ask(group: Pid) {
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    let _ = rustix::process::kill_process_group(group, Signal::CONT);
}
