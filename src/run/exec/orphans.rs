//! What commands leave behind.
//!
//! Owns the children of the launcher that it did not start (it is their subreaper), and the search
//! for what is left of a command whose leader has exited. Signals nobody. Must hold: orphans that
//! have ended are reaped; what an ended command left on purpose is nobody's from then on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::mark::{self, Found};
use crate::os::process;

/// The children of this process that it did not start.
pub struct Orphans {
    known: HashMap<i32, Orphan>,
    /// The list of our children, as text; none where the system has no such list.
    children: Option<File>,
}

/// The command that an orphan is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// This one.
    Command(u64),
    /// None that runs.
    Nobody,
    /// It cannot be said at this moment: it ends or becomes another program.
    Unsure,
}

struct Orphan {
    owner: Owner,
    /// Readable when it has ended.
    watch: Option<OwnedFd>,
}

impl Orphans {
    /// None yet. The list is that of this thread, which must be the one that starts commands.
    pub fn new() -> Orphans {
        let me = rustix::process::getpid().as_raw_pid();
        Orphans { known: HashMap::new(), children: File::open(format!("/proc/self/task/{me}/children")).ok() }
    }

    /// Whether there are none, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether one has this owner, as far as is known.
    pub fn any(&self, owner: Owner) -> bool {
        self.known.values().any(|orphan| orphan.owner == owner)
    }

    /// Enough was waited: those of which nobody is sure are nobody's.
    pub fn disown_unsure(&mut self) {
        for orphan in self.known.values_mut().filter(|orphan| orphan.owner == Owner::Unsure) {
            orphan.owner = Owner::Nobody;
        }
    }

    /// What to poll to learn that one has ended.
    pub fn watches(&self) -> impl Iterator<Item = &OwnedFd> {
        self.known.values().filter_map(|orphan| orphan.watch.as_ref())
    }

    /// Reads the list of our children and learns which are new; `ours` are those we started, `owner`
    /// says whose one is. Whether there is such a list.
    pub fn learn(&mut self, ours: impl Fn(Pid) -> bool, owner: impl Fn(Pid) -> Owner) -> bool {
        for (&pid, orphan) in &mut self.known {
            if let (Owner::Unsure, Some(pid)) = (orphan.owner, Pid::from_raw(pid)) {
                orphan.owner = owner(pid);
            }
        }
        loop {
            let Some(text) = self.children.as_ref().and_then(|file| read(file).ok()) else { return false };
            let mut complete = true;
            for word in text.split(|b| b.is_ascii_whitespace()) {
                let number = std::str::from_utf8(word).ok().and_then(|word| word.parse::<i32>().ok());
                let Some(pid) = number.and_then(Pid::from_raw) else { continue };
                if ours(pid) || self.known.contains_key(&pid.as_raw_pid()) {
                    continue;
                }
                if reaped(pid) {
                    // What it left became ours after the list was read.
                    complete = false;
                } else {
                    self.known.insert(pid.as_raw_pid(), Orphan { owner: owner(pid), watch: watch(pid) });
                }
            }
            if complete {
                return true;
            }
        }
    }

    /// Reaps those that have ended; returns whose they were.
    pub fn reap(&mut self) -> Vec<Owner> {
        let mut owners = Vec::new();
        self.known.retain(|&pid, orphan| {
            let gone = Pid::from_raw(pid).is_none_or(reaped);
            if gone {
                owners.push(orphan.owner);
            }
            !gone
        });
        owners
    }

    /// The command has ended: what is left of it is nobody's. Returns what lives, sorted.
    pub fn release(&mut self, number: u64) -> Vec<i32> {
        let mut left = Vec::new();
        self.known.retain(|&pid, orphan| {
            if orphan.owner != Owner::Command(number) {
                return true;
            }
            orphan.owner = Owner::Nobody;
            let lives = Pid::from_raw(pid).is_some_and(|pid| !reaped(pid));
            if lives {
                left.push(pid);
            }
            lives
        });
        left.sort_unstable();
        left
    }
}

/// The whole of a file in `/proc`, usually by one call.
fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; 4096];
    let mut length = 0;
    loop {
        match file.read_at(text.get_mut(length..).unwrap_or_default(), length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        // A number that did not fit any more is shorter than this.
        if length + 16 < text.len() {
            break;
        }
        text.resize(text.len() * 2, 0);
    }
    text.truncate(length);
    Ok(text)
}

/// What of a command lives on after its leader.
pub struct Left {
    /// In its process group.
    pub group: Vec<i32>,
    /// Outside of it, with its mark.
    pub marked: Vec<Found>,
}

impl Left {
    /// Searches for the group, and outside of it for the mark if one is given.
    pub fn of(leader: Pid, mark: Option<&[u8]>) -> Left {
        let leader = leader.as_raw_pid();
        let stats = process::all().into_iter().filter(|&pid| pid != leader).filter_map(process::stat);
        let group: Vec<i32> = stats.filter(|stat| stat.group == leader && !stat.ended).map(|stat| stat.pid).collect();
        let mut marked = mark.map_or(Vec::new(), |mark| mark::find(|found| is_mark(found, mark)));
        marked.retain(|found| !group.contains(&found.pid));
        Left { group, marked }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.marked.is_empty()
    }

    /// All of them, for people.
    pub fn shown(&self) -> String {
        list(self.group.iter().copied().chain(self.marked.iter().map(|found| found.pid)))
    }
}

/// Whether a mark is that of a command. A command without a mark has nothing that could be found by it.
pub fn is_mark(found: &[u8], mark: &[u8]) -> bool {
    !mark.is_empty() && found == mark
}

/// Something to poll that is readable when a child has ended.
pub fn watch(pid: Pid) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    return rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// Processes for people.
pub fn list(pids: impl IntoIterator<Item = i32>) -> String {
    let shown = |pid| match process::program_name(pid) {
        Some(name) => format!("{name} (process {pid})"),
        None => format!("process {pid}"),
    };
    pids.into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// Reaps a child that has ended; whether it is gone.
fn reaped(pid: Pid) -> bool {
    match rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(status) => status.is_some(),
        Err(error) => error == Errno::CHILD,
    }
}
