//! The launcher: `flow __launch`, the one process that starts and reaps all commands.
//!
//! Owns the life of a command from its start until nothing of it runs: time limits, stopping, its
//! process group, what left the group, what it used. Knows no task, no file but the logs. Must hold:
//!
//! - Commands are ended by what processes do, never by waiting for the end of a pipe.
//! - A leader is reaped last: until then its number, which is its group's, means no stranger.
//! - When flow dies (end-of-file on the socket) everything that runs is killed.
//! - It stays small and has one thread, so that the peak memory of commands is their own.
//!
//! What a leader leaves behind becomes a child of the launcher, a *subreaper*. So one look at its own
//! list of children tells that nothing is left, which is the usual case and costs no more. Only if
//! there is something, `/proc` is searched for the group and the mark. Where there is no such list
//! (macOS) the group is killed when its leader has exited, and what left it is not found.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::logs::{LOG_KEEP, Piped, shorten_log};
use super::mark;
use super::orphans::{Left, Orphans, Owner, is_mark, list, watch};
use super::protocol::{Answer, Inbox, Order, Start, put};
use super::running::{Exit, Running, Why, ask, owner};
use super::start;
use crate::attempt::{Cause, Ended, Usage};
use crate::os::process;
use crate::os::signal::is_ignored;

/// How long background processes of a leader that ended by itself may take to end after SIGTERM.
const SOON: Duration = Duration::from_millis(500);
/// How long they may take to leave the group after a leader that ended well: a daemon does so just
/// after its starter exited.
const LEAVE: Duration = Duration::from_millis(10);
/// How long one of which nobody can say whose it is may take to become something. One that was
/// started without any environment stays so.
const UNSURE: Duration = Duration::from_millis(50);
/// How long is waited for the end of what was sent SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer that nobody waits for may stay here, to be sent with others.
const LAZY: Duration = Duration::from_millis(20);
/// Of an attempt shorter than this nobody knows how many bytes it read and wrote.
const BRIEF: Duration = Duration::from_millis(20);

/// How often long running commands are looked after: orphans that ended, logs that grew.
const TICK: Duration = Duration::from_millis(250);

/// Runs the launcher until flow is gone. Called with a socket to flow as standard input.
pub fn main() -> ExitCode {
    let stdin = io::stdin();
    let is_socket = rustix::fs::fstat(&stdin).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket());
    if !is_socket {
        eprintln!("flow starts this by itself; it is of no use by hand");
        return ExitCode::from(2);
    }
    // Ctrl-C and the end of the terminal go to flow alone.
    let _ = rustix::process::setsid();
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::thread::set_name(c"flow-launcher");
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    // flow decides when to stop; a signal for both (`killall flow`) must not take the launcher first.
    // A handler, since what is ignored stays ignored in commands.
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        if !is_ignored(signal) {
            let _ = signal_hook::flag::register(signal, seen.clone());
        }
    }
    let Ok(socket) = stdin.as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut launcher = Launcher::new(socket);
    launcher.serve();
    launcher.kill_everything();
    ExitCode::SUCCESS
}

struct Launcher {
    socket: OwnedFd,
    inbox: Inbox,
    out: Vec<u8>,
    /// When what is in `out` is to be sent.
    send_at: Option<Instant>,
    running: Vec<Running>,
    orphans: Orphans,
    oom_kills: Option<u64>,
    next_tick: Instant,
    programs: start::Programs,
    common: Vec<(OsString, OsString)>,
    closed: bool,
}

impl Launcher {
    fn new(socket: OwnedFd) -> Launcher {
        Launcher {
            socket,
            inbox: Inbox::default(),
            out: Vec::new(),
            send_at: None,
            running: Vec::new(),
            orphans: Orphans::new(),
            oom_kills: process::out_of_memory_kills(),
            next_tick: Instant::now(),
            programs: start::Programs::default(),
            common: Vec::new(),
            closed: false,
        }
    }

    /// Until flow is gone.
    fn serve(&mut self) {
        loop {
            let ready = self.wait();
            if ready.orders {
                self.read_orders();
            }
            if self.closed {
                return;
            }
            for number in ready.output {
                self.read_output(number);
            }
            for number in ready.exited {
                self.look(number);
            }
            if ready.orphans {
                self.reap_orphans();
            }
            self.timers();
            self.send();
        }
    }

    /// Waits until something happens or the next thing is due.
    fn wait(&mut self) -> Ready {
        let now = Instant::now();
        let until = self.next_due().map(|due| due.saturating_duration_since(now));
        let timeout = until.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        let mut flags = PollFlags::IN;
        if self.send_at.is_some_and(|at| at <= now) {
            flags |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::new(&self.socket, flags)];
        let mut means = vec![Means::Socket];
        for running in &self.running {
            if let (Some(watch), None) = (&running.watch, running.exited) {
                fds.push(PollFd::new(watch, PollFlags::IN));
                means.push(Means::Leader(running.number));
            }
            if let Some(piped) = &running.piped {
                fds.push(PollFd::new(&piped.pipe, PollFlags::IN));
                means.push(Means::Output(running.number));
            }
        }
        for watch in self.orphans.watches() {
            fds.push(PollFd::new(watch, PollFlags::IN));
            means.push(Means::Orphan);
        }
        let mut ready = Ready::default();
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return ready;
        }
        for (fd, means) in fds.iter().zip(means) {
            if fd.revents().is_empty() {
                continue;
            }
            match means {
                Means::Socket => ready.orders = fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
                Means::Leader(number) => ready.exited.push(number),
                Means::Output(number) => ready.output.push(number),
                Means::Orphan => ready.orphans = true,
            }
        }
        ready
    }

    fn next_due(&self) -> Option<Instant> {
        let mut due = self.send_at;
        let mut at = |time: Option<Instant>| {
            if let Some(time) = time {
                due = Some(due.map_or(time, |due| due.min(time)));
            }
        };
        for running in &self.running {
            at(running.deadline.map(|(time, _)| time));
            at(running.look_at);
            if running.exited.is_none() {
                at(running.kill_at);
            }
        }
        if !self.running.is_empty() || !self.orphans.is_empty() {
            at(Some(self.next_tick));
        }
        due
    }

    fn read_orders(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        match rustix::net::recv(&self.socket, inbox.room(), RecvFlags::DONTWAIT) {
            Ok((_, 0)) => self.closed = true,
            Ok((_, count)) => inbox.came(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.closed = true,
        }
        let mut stopping = Vec::new();
        loop {
            match inbox.next::<Order>() {
                Ok(Some(Order::Start(order))) => self.start(&order),
                Ok(Some(Order::Common(variables))) => {
                    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_os_string();
                    self.common = variables.iter().map(|(key, value)| (text(key.0), text(value.0))).collect();
                }
                Ok(Some(Order::Stop { number, grace })) => {
                    if self.stop(number, Why::Cancelled, grace) {
                        stopping.push(number);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.inbox = inbox;
        self.signal_marked(&stopping, Signal::TERM);
    }

    fn start(&mut self, order: &Start) {
        let started = Instant::now();
        let number = order.number;
        let ended = |cause| Ended { cause, usage: Usage { wall: started.elapsed(), ..Usage::default() } };
        let start::Started { child, piped } = match start::start(order, &self.common, &mut self.programs) {
            Ok(started) => started,
            Err(words) => return self.answer(&Answer::Ended(number, ended(Cause::NotStarted(words))), true),
        };
        let pid = Pid::from_child(&child);
        let piped = piped.and_then(|(pipe, log)| {
            let (texts, keep) = order.hide.as_ref()?;
            Piped::new(pipe, log, texts.iter().map(|text| text.0.to_vec()).collect(), *keep).ok()
        });
        if self.running.is_empty() && self.orphans.is_empty() {
            self.next_tick = started + TICK;
        }
        self.running.push(Running {
            number,
            pid,
            watch: watch(pid),
            mark: order
                .env
                .iter()
                .rev()
                .find(|(key, _)| key.0 == mark::VARIABLE.as_bytes())
                .map_or(Vec::new(), |(_, value)| value.0.to_vec()),
            started,
            // A time beyond all clocks is no limit.
            deadline: order.timeout.and_then(|timeout| Some((started.checked_add(timeout)?, timeout))),
            grace: order.grace,
            log: order.log.0.to_vec(),
            piped,
            log_cut: LOG_KEEP / 2,
            why: None,
            asked: false,
            told: Vec::new(),
            kill_at: None,
            exited: None,
            empty_since: None,
            look_at: None,
        });
        self.answer(&Answer::Placed(number), false);
    }

    /// SIGTERM to the group now, SIGKILL after `grace`. Whether it is new that it is to stop.
    fn stop(&mut self, number: u64, why: Why, grace: Duration) -> bool {
        let Some(running) = self.running.iter_mut().find(|running| running.number == number) else { return false };
        let now = Instant::now();
        // Another cause does not change the first one, but may shorten the time.
        let kill_at = now.checked_add(grace);
        let first = running.why.is_none() && running.exited.is_none();
        if running.exited.is_none() {
            running.why.get_or_insert(why);
        }
        running.deadline = None;
        running.kill_at = match (running.kill_at, kill_at) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        if !running.asked {
            running.asked = true;
            ask(running.pid);
        }
        if running.kill_at.is_some_and(|at| at <= now) {
            let _ = rustix::process::kill_process_group(running.pid, Signal::KILL);
        }
        if running.exited.is_some() {
            running.look_at = Some(now);
        }
        first
    }

    /// Tells what left the groups of these by `setsid`, while their leaders run.
    fn signal_marked(&mut self, numbers: &[u64], signal: Signal) {
        if numbers.is_empty() {
            return;
        }
        let mut stopping: Vec<&mut Running> = self.running.iter_mut().filter(|running| numbers.contains(&running.number)).collect();
        for found in mark::find(|mark| stopping.iter().any(|running| is_mark(mark, &running.mark))) {
            let group = process::stat(found.pid).map(|stat| stat.group);
            let owner = stopping.iter_mut().find(|running| running.mark == found.mark);
            if let Some(running) = owner.filter(|running| Some(running.pid.as_raw_pid()) != group) {
                running.tell(&found, signal);
            }
        }
    }

    fn read_output(&mut self, number: u64) {
        if let Some(running) = self.running.iter_mut().find(|running| running.number == number)
            && running.piped.as_mut().is_some_and(|piped| !piped.take())
            && let Some(piped) = running.piped.take()
        {
            piped.finish();
        }
    }

    /// Looks whether a leader has exited, and ends it if nothing of it is left.
    fn look(&mut self, number: u64) {
        let Some(at) = self.running.iter().position(|running| running.number == number) else { return };
        let Some(running) = self.running.get_mut(at) else { return };
        let now = Instant::now();
        if running.exited.is_none() {
            let status =
                rustix::process::waitid(WaitId::Pid(running.pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
            let well = match status {
                Ok(Some(status)) => status.exit_status() == Some(0) && running.why.is_none(),
                Ok(None) | Err(Errno::INTR) => return,
                // It cannot be another's child: someone traces us. Nothing is known about its end.
                Err(_) => false,
            };
            running.exited = Some(Exit { well, wall: now - running.started, at: now });
            running.watch = None;
            running.deadline = None;
        }
        running.look_at = None;
        if self.is_clean(at, now) {
            self.finish(at);
        }
    }

    /// Whether nothing of a command whose leader has exited still runs. If something does, it is
    /// asked to stop, and `look_at` says when to look again.
    fn is_clean(&mut self, at: usize, now: Instant) -> bool {
        if cfg!(not(target_os = "linux")) {
            if let Some(running) = self.running.get(at) {
                let _ = rustix::process::kill_process_group(running.pid, Signal::KILL);
            }
            return true;
        }
        let left = loop {
            let listed = self.learn_orphans();
            let Some(running) = self.running.get_mut(at) else { return true };
            let Some(exit) = running.exited else { return false };
            let mine = self.orphans.any(Owner::Command(running.number));
            let unsure = self.orphans.any(Owner::Unsure);
            if listed && !mine && !unsure {
                return true;
            }
            let left = Left::of(running.pid, (!exit.well).then_some(&*running.mark));
            if !left.is_empty() {
                running.empty_since = None;
                break left;
            }
            let since = *running.empty_since.get_or_insert(now);
            // One that ended meanwhile may have left others that the search had passed already.
            if !self.orphans.reap().is_empty() {
                continue;
            }
            // One that is there and was not found ends, or becomes another program: ask again.
            if (unsure || mine && !exit.well) && now - since < UNSURE {
                running.look_at = Some(now + Duration::from_millis(1));
                return false;
            }
            self.orphans.disown_unsure();
            return true;
        };
        let Some(running) = self.running.get_mut(at) else { return true };
        let Some(exit) = running.exited else { return false };
        let since = now - exit.at;
        if exit.well && !running.asked && since < LEAVE {
            running.look_at = Some(exit.at + LEAVE);
            return false;
        }
        if !running.asked {
            running.asked = true;
            running.kill_at = now.checked_add(SOON.min(running.grace));
            ask(running.pid);
        }
        for found in &left.marked {
            running.tell(found, Signal::TERM);
        }
        if let Some(kill_at) = running.kill_at.filter(|&at| at <= now) {
            let _ = rustix::process::kill_process_group(running.pid, Signal::KILL);
            for found in &left.marked {
                mark::signal(found, Signal::KILL);
            }
            if now - kill_at > PATIENCE {
                let (number, note) = (running.number, format!("even SIGKILL did not end {}", left.shown()));
                self.answer(&Answer::Note(number, note), true);
                return true;
            }
        }
        // Most end within a moment; the longer it takes, the rarer the looks.
        let pause = (since / 4).clamp(Duration::from_millis(2), Duration::from_millis(50));
        let next = now + pause;
        running.look_at = Some(running.kill_at.filter(|&at| at > now).map_or(next, |at| at.min(next)));
        false
    }

    /// Learns what commands left to us. Whether the system says so.
    fn learn_orphans(&mut self) -> bool {
        let running = &self.running;
        self.orphans.learn(|pid| running.iter().any(|running| running.pid == pid), |pid| owner(running, pid))
    }

    /// Reaps orphans that have ended; whose command waits for that is looked at.
    fn reap_orphans(&mut self) {
        let owners = self.orphans.reap();
        let waits = |running: &&Running| running.exited.is_some() && owners.contains(&Owner::Command(running.number));
        let waiting: Vec<u64> = self.running.iter().filter(waits).map(|running| running.number).collect();
        for number in waiting {
            self.look(number);
        }
    }

    /// Nothing of it runs: reaps the leader and answers.
    fn finish(&mut self, at: usize) {
        let mut running = self.running.swap_remove(at);
        match running.piped {
            Some(piped) => piped.finish(),
            // It may have written much since the last tick.
            None if running.started.elapsed() >= BRIEF => shorten_log(&running.log, &mut running.log_cut),
            None => {}
        }
        let pid = running.pid.as_raw_pid();
        // Its counters are there until it is reaped.
        // Of what ended at once nobody will ask, and asking would cost as much as the rest.
        let disk = if running.started.elapsed() < BRIEF { None } else { process::disk_bytes(pid) };
        let used = wait4::try_wait4_pid(pid as u32);
        let wall = running.exited.map_or_else(|| running.started.elapsed(), |exit| exit.wall);
        let mut usage = Usage { wall, read: disk.map(|d| d.0), written: disk.map(|d| d.1), ..Usage::default() };
        let mut cause = Cause::Lost("nobody knows how it ended".into());
        if let Ok(Some(used)) = used {
            usage.user = used.rusage.utime;
            usage.system = used.rusage.stime;
            usage.peak = Some(used.rusage.maxrss);
            cause = match (used.status.code(), used.status.signal()) {
                (Some(0), _) => Cause::Success,
                (Some(code), _) => Cause::Exit(code),
                (None, signal) => Cause::Signal(signal.unwrap_or_default()),
            };
        }
        cause = match running.why {
            Some(Why::Timeout(after)) => Cause::Timeout(after),
            Some(Why::Cancelled) => Cause::Cancelled,
            // A shell says 137 if its command was killed.
            None if matches!(cause, Cause::Signal(9) | Cause::Exit(137)) && self.out_of_memory() => {
                Cause::OutOfMemory { limit: process::cgroup_memory_limit() }
            }
            None => cause,
        };
        // What is left of a success left its group on purpose.
        let left = self.orphans.release(running.number);
        if cause.is_success() && !left.is_empty() {
            let they = if left.len() == 1 { "it left its process group" } else { "they left their process group" };
            self.answer(&Answer::Note(running.number, format!("left running: {} ({they})", list(left))), false);
        }
        self.answer(&Answer::Ended(running.number, Ended { cause, usage }), true);
    }

    /// Whether the kernel has killed something for want of memory since this was asked last.
    fn out_of_memory(&mut self) -> bool {
        let now = process::out_of_memory_kills();
        let before = std::mem::replace(&mut self.oom_kills, now);
        matches!((before, now), (Some(before), Some(now)) if now > before)
    }

    fn timers(&mut self) {
        let now = Instant::now();
        let mut stopping = Vec::new();
        let mut killing = Vec::new();
        let mut looking = Vec::new();
        for running in &mut self.running {
            if let Some((time, limit)) = running.deadline
                && time <= now
            {
                stopping.push((running.number, limit, running.grace));
            }
            if running.exited.is_some() {
                if running.look_at.is_some_and(|at| at <= now) {
                    looking.push(running.number);
                }
            } else if running.kill_at.is_some_and(|at| at <= now) {
                let _ = rustix::process::kill_process_group(running.pid, Signal::KILL);
                // Again if that was not enough: what it starts at this moment.
                running.kill_at = Some(now + TICK);
                killing.push(running.number);
            }
        }
        for &(number, limit, grace) in &stopping {
            self.stop(number, Why::Timeout(limit), grace);
        }
        let stopping: Vec<u64> = stopping.into_iter().map(|(number, ..)| number).collect();
        self.signal_marked(&stopping, Signal::TERM);
        self.signal_marked(&killing, Signal::KILL);
        for number in looking {
            self.look(number);
        }
        if now >= self.next_tick && !(self.running.is_empty() && self.orphans.is_empty()) {
            self.next_tick = now + TICK;
            self.tick(now);
        }
    }

    /// What long running commands need: their dead orphans reaped, their logs kept short.
    fn tick(&mut self, now: Instant) {
        self.learn_orphans();
        self.reap_orphans();
        for running in &mut self.running {
            if running.piped.is_none() && now - running.started >= TICK {
                shorten_log(&running.log, &mut running.log_cut);
            }
        }
        // Where there is nothing to poll, this is how ends are seen.
        let unwatched: Vec<u64> = self.running.iter().filter(|r| r.watch.is_none() && r.exited.is_none()).map(|r| r.number).collect();
        if !unwatched.is_empty() {
            self.next_tick = now + Duration::from_millis(3);
        }
        for number in unwatched {
            self.look(number);
        }
    }

    fn answer(&mut self, answer: &Answer, now: bool) {
        // Only a message of over 64 MiB cannot be written, and none is.
        let _ = put(answer, &mut self.out);
        let at = Instant::now();
        let at = if now { at } else { at + LAZY };
        self.send_at = Some(self.send_at.map_or(at, |old| old.min(at)));
    }

    /// Sends what is due, as much as flow takes.
    fn send(&mut self) {
        if self.send_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        // A broken pipe is an error and no signal: the standard library ignores SIGPIPE.
        match rustix::net::send(&self.socket, &self.out, SendFlags::DONTWAIT) {
            Ok(count) => {
                self.out.drain(..count);
                if self.out.is_empty() {
                    self.send_at = None;
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // flow is gone; its end of the socket says so next.
            Err(_) => {
                self.out.clear();
                self.send_at = None;
            }
        }
    }

    /// flow is gone: nothing it started may write any more.
    fn kill_everything(&mut self) {
        for running in &self.running {
            let _ = rustix::process::kill_process_group(running.pid, Signal::KILL);
        }
        let marks: Vec<Vec<u8>> = self.running.iter().map(|running| running.mark.clone()).collect();
        if !marks.is_empty() {
            mark::stop_all(|found| marks.iter().any(|mark| is_mark(found, mark)), Duration::ZERO);
        }
    }
}

/// What [`Launcher::wait`] saw.
#[derive(Default)]
struct Ready {
    orders: bool,
    orphans: bool,
    exited: Vec<u64>,
    output: Vec<u64>,
}

/// What a polled descriptor stands for.
enum Means {
    Socket,
    Leader(u64),
    Output(u64),
    Orphan,
}
