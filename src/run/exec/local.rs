//! The local executor: commands on this machine, through the launcher.
//!
//! Owns the launcher's process and which attempts are in it. Starts nothing itself, so that a command
//! never copies flow's memory maps. Must hold: every submitted attempt is answered once with
//! [`Told::Ended`], also if the launcher dies; then nothing of it runs any more. The launcher is
//! started with the first command, and again after it died.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::mark::{self, Mark};
use super::protocol::{Answer, Bytes, Inbox, Order, Start, put};
use super::{Executor, Handle, Recovered, Told};
use crate::attempt::{Cause, Ended, Launch, Log, Usage, Variables, Wants};
use crate::name::{AttemptId, RelPath};
use crate::os::process;

/// The argument that makes flow the launcher.
pub const LAUNCH: &str = "__launch";

/// How long what a dead flow left may take to end after SIGTERM.
pub const RECOVERY_GRACE: Duration = Duration::from_secs(2);

/// Where answers go. Called from two threads, never at once; must not block for long.
pub type Tell = Box<dyn Fn(Told) + Send>;

/// Runs commands on this machine.
pub struct Local {
    workspace: PathBuf,
    mark: Mark,
    program: PathBuf,
    tell: Arc<Mutex<Tell>>,
    link: Option<Link>,
}

/// A launcher that runs.
struct Link {
    socket: UnixStream,
    open: Arc<Mutex<Open>>,
    reader: Option<JoinHandle<()>>,
    /// The common variables it was told last.
    common: Option<Arc<Variables>>,
}

/// The attempts a launcher has.
#[derive(Default)]
struct Open {
    /// The launcher is gone: it takes no more.
    dead: bool,
    /// flow ends: what is still there was stopped, not lost.
    closing: bool,
    next: u64,
    attempts: HashMap<u64, Attempt>,
}

struct Attempt {
    id: AttemptId,
    mark: Vec<u8>,
}

impl Local {
    /// Commands of the pipeline file with this mark, in an absolute workspace. Starts nothing yet.
    pub fn new(workspace: PathBuf, mark: Mark, tell: Tell) -> Local {
        // The running program even if its file was replaced meanwhile: both ends speak alike.
        let me = if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() };
        Local::with_program(workspace, mark, tell, me.unwrap_or_else(|_| PathBuf::from("flow")))
    }

    /// As [`Local::new`], with another program as launcher: it is started with [`LAUNCH`].
    pub fn with_program(workspace: PathBuf, mark: Mark, tell: Tell, program: PathBuf) -> Local {
        Local { workspace, mark, program, tell: Arc::new(Mutex::new(tell)), link: None }
    }

    /// The launcher's process, if one runs.
    fn connect(&mut self) -> io::Result<&Link> {
        if self.link.as_ref().is_some_and(|link| lock(&link.open).dead) {
            self.link = None;
        }
        match &mut self.link {
            Some(link) => Ok(link),
            empty => Ok(empty.insert(Link::start(&self.program, &self.tell)?)),
        }
    }

    /// Stops everything alive that bears the mark of this pipeline file, whatever run it is of: for a
    /// `state` that was lost. Returns how many processes there were.
    pub fn stop_everything(&self) -> usize {
        let prefix = self.mark.prefix();
        mark::stop_all(|mark| mark.starts_with(prefix.as_bytes()), RECOVERY_GRACE).found.len()
    }
}

/// The frame that starts an attempt.
fn order(workspace: &Path, number: u64, launch: &Launch, out: &mut Vec<u8>) -> io::Result<()> {
    let absolute = |path: &RelPath| workspace.join(path.as_str()).into_os_string().into_encoded_bytes();
    let dir = absolute(&launch.dir);
    let stdin = launch.stdin.as_ref().map(|path| (absolute(path), path));
    let stdout = launch.stdout.as_ref().map(|path| (absolute(path), path));
    let (log, hide) = match &launch.log {
        Log::File(file) => (file, None),
        Log::Piped { file, mask, keep } => (file, Some((mask.iter().map(|text| Bytes(text)).collect(), *keep))),
    };
    let start = Start {
        number,
        argv: launch.argv.iter().map(|argument| Bytes(argument)).collect(),
        env: launch.env.iter().map(|(key, value)| (Bytes(key), Bytes(value))).collect(),
        dir: Bytes(&dir),
        stdin: stdin.as_ref().map(|(file, path)| (Bytes(file), path.as_str())),
        stdout: stdout.as_ref().map(|(file, path)| (Bytes(file), path.as_str())),
        log: Bytes(log.as_os_str().as_bytes()),
        hide,
        timeout: launch.timeout,
        grace: launch.grace,
    };
    put(&Order::Start(start), out)
}

fn not_started(id: AttemptId, words: String) -> Told {
    Told::Ended(id, Ended { cause: Cause::NotStarted(words), usage: Usage::default() })
}

impl Executor for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn room(&self) -> Wants {
        Wants { slots: u32::try_from(process::cpus()).unwrap_or(u32::MAX), memory: process::memory().unwrap_or(0), pools: Vec::new() }
    }

    fn submit(&mut self, batch: Vec<Launch>) {
        if let Err(error) = self.connect() {
            let words = format!("cannot start flow's launcher {}: {error}", self.program.display());
            for launch in batch {
                lock(&self.tell)(not_started(launch.id, words.clone()));
            }
            return;
        }
        let Some(link) = &mut self.link else { return };
        let mut frames = Vec::new();
        for launch in batch {
            if !link.common.as_ref().is_some_and(|common| Arc::ptr_eq(common, &launch.common)) {
                let variables = launch.common.iter().map(|(key, value)| (Bytes(key), Bytes(value))).collect();
                if let Err(error) = put(&Order::Common(variables), &mut frames) {
                    lock(&self.tell)(not_started(launch.id, format!("cannot be sent to flow's launcher: {error}")));
                    continue;
                }
                link.common = Some(Arc::clone(&launch.common));
            }
            let mut open = lock(&link.open);
            let number = open.next;
            match order(&self.workspace, number, &launch, &mut frames) {
                Ok(()) if open.dead => {
                    drop(open);
                    lock(&self.tell)(Told::Ended(launch.id, lost()));
                }
                Ok(()) => {
                    open.next += 1;
                    let mark = launch.env.iter().rev().find(|(key, _)| key == mark::VARIABLE.as_bytes());
                    open.attempts.insert(number, Attempt { id: launch.id, mark: mark.map(|(_, value)| value.clone()).unwrap_or_default() });
                }
                Err(error) => {
                    drop(open);
                    lock(&self.tell)(not_started(launch.id, format!("cannot be sent to flow's launcher: {error}")));
                }
            }
        }
        link.send(&frames);
    }

    fn cancel(&mut self, which: &[AttemptId], grace: Duration) {
        let Some(link) = &self.link else { return };
        let mut frames = Vec::new();
        for (&number, attempt) in &lock(&link.open).attempts {
            if which.contains(&attempt.id) {
                // A few bytes always fit.
                let _ = put(&Order::Stop { number, grace }, &mut frames);
            }
        }
        link.send(&frames);
    }

    /// Stops what is left of exactly these attempts: what an attempt that ended well left running on
    /// purpose bears another mark and is left alone.
    fn recover(&mut self, open: Vec<(AttemptId, Option<Handle>)>) -> Vec<(AttemptId, Recovered)> {
        let marks: HashMap<Vec<u8>, AttemptId> = open.iter().map(|(id, _)| (self.mark.attempt(id).into_bytes(), id.clone())).collect();
        let mut counts: HashMap<AttemptId, usize> = HashMap::new();
        if !marks.is_empty() {
            for found in mark::stop_all(|mark| marks.contains_key(mark), RECOVERY_GRACE).found {
                if let Some(id) = marks.get(&found.mark) {
                    *counts.entry(id.clone()).or_default() += 1;
                }
            }
        }
        let gone = |id: AttemptId| {
            let stopped = counts.get(&id).copied().unwrap_or(0);
            (id, Recovered::Gone { stopped })
        };
        open.into_iter().map(|(id, _)| gone(id)).collect()
    }
}

impl Link {
    fn start(program: &Path, tell: &Arc<Mutex<Tell>>) -> io::Result<Link> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program);
        // Its standard error stays flow's, for a panic. Standard output is no business of it.
        command.arg0("flow").arg(LAUNCH).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let child = command.spawn()?;
        // The command holds the other end of the socket until it goes.
        drop(command);
        let open = Arc::new(Mutex::new(Open::default()));
        let socket = ours.try_clone()?;
        let (shared, told) = (open.clone(), tell.clone());
        let reader = thread::Builder::new().name("launcher".into()).spawn(move || read(ours, child, &shared, &told))?;
        Ok(Link { socket, open, reader: Some(reader), common: None })
    }

    /// A launcher that cannot be written to is dying or must; the reader sees its end.
    fn send(&self, frames: &[u8]) {
        if !frames.is_empty() && (&self.socket).write_all(frames).is_err() {
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Link {
    /// Kills what still runs, and returns when the launcher is gone.
    fn drop(&mut self) {
        lock(&self.open).closing = true;
        let _ = self.socket.shutdown(Shutdown::Write);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Passes answers on until the launcher is gone.
fn read(mut socket: UnixStream, mut launcher: Child, open: &Mutex<Open>, tell: &Mutex<Tell>) {
    let mut inbox = Inbox::default();
    'reading: loop {
        match socket.read(inbox.room()) {
            Ok(0) => break,
            Ok(count) => inbox.came(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        }
        loop {
            let told = match inbox.next() {
                Ok(None) => break,
                Err(_) => break 'reading,
                Ok(Some(Answer::Placed(number))) => lock(open).attempts.get(&number).map(|attempt| Told::Placed(attempt.id.clone(), None)),
                Ok(Some(Answer::Note(number, text))) => {
                    lock(open).attempts.get(&number).map(|attempt| Told::Note(attempt.id.clone(), text))
                }
                Ok(Some(Answer::Ended(number, ended))) => lock(open).attempts.remove(&number).map(|attempt| Told::Ended(attempt.id, ended)),
            };
            if let Some(told) = told {
                lock(tell)(told);
            }
        }
    }
    // If it still lives (it sent nonsense) it must not go on starting commands.
    let _ = socket.shutdown(Shutdown::Both);
    let _ = launcher.wait();
    let (left, closing) = {
        let mut open = lock(open);
        open.dead = true;
        (std::mem::take(&mut open.attempts), open.closing)
    };
    if left.is_empty() {
        return;
    }
    mark::stop_all(|mark| left.values().any(|attempt| !mark.is_empty() && attempt.mark == mark), Duration::ZERO);
    for attempt in left.into_values() {
        let ended = if closing { Ended { cause: Cause::Cancelled, usage: Usage::default() } } else { lost() };
        lock(tell)(Told::Ended(attempt.id, ended));
    }
}

fn lost() -> Ended {
    Ended { cause: Cause::Lost("flow's launcher died".into()), usage: Usage::default() }
}

/// A panic elsewhere leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
