//! The signals that ask flow to stop.
//!
//! Owns who is told of SIGINT, SIGTERM and SIGHUP. Decides nothing about what stopping means. Must
//! hold: a signal that was ignored when flow started (`nohup`, a shell's background job) stays
//! ignored. SIGPIPE is ignored by the standard library, so that a closed standard output is an error
//! of `write`; it gives children the default back.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A signal that asks to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone.
    Hangup,
}

impl Stop {
    const ALL: [Stop; 3] = [Stop::Interrupt, Stop::Terminate, Stop::Hangup];

    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            Stop::Interrupt => SIGINT,
            Stop::Terminate => SIGTERM,
            Stop::Hangup => SIGHUP,
        }
    }

    /// The exit code of a flow that it stopped: 130, 143 or 129.
    pub fn exit_code(self) -> u8 {
        128 + self.number() as u8
    }

    /// Its name, `SIGINT`.
    pub fn name(self) -> &'static str {
        match self {
            Stop::Interrupt => "SIGINT",
            Stop::Terminate => "SIGTERM",
            Stop::Hangup => "SIGHUP",
        }
    }
}

/// From now on `told` is called, on a thread of its own, for each signal that asks to stop: which
/// one, and how many came before it (0: the first). Call it once in a process.
pub fn watch(mut told: impl FnMut(Stop, u32) + Send + 'static) -> io::Result<()> {
    let mut sources = Vec::new();
    for stop in Stop::ALL {
        if is_ignored(stop.number()) {
            continue;
        }
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(stop.number(), writer)?;
        sources.push((stop, reader));
    }
    if sources.is_empty() {
        return Ok(());
    }
    let listen = move || {
        let mut before = 0;
        loop {
            let mut fds: Vec<PollFd> = sources.iter().map(|(_, reader)| PollFd::new(reader, PollFlags::IN)).collect();
            // A signal that comes while we poll ends the call early: the next one sees its byte.
            let _ = poll(&mut fds, None);
            for (stop, reader) in &sources {
                let mut bytes = [0; 16];
                let mut reader: &UnixStream = reader;
                let count = reader.read(&mut bytes).unwrap_or(0);
                for _ in 0..count {
                    told(*stop, before);
                    before += 1;
                }
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen)?;
    Ok(())
}

/// Whether this process ignores a signal; "no" where nobody can say.
pub fn is_ignored(signal: i32) -> bool {
    let ignored = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    ignored().is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn each_signal_is_told_with_its_place() {
        let (tell, told) = mpsc::channel();
        watch(move |stop, before| tell.send((stop, before)).unwrap()).unwrap();
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::HUP).unwrap();
        assert_eq!(told.recv().unwrap(), (Stop::Hangup, 0));
        rustix::process::kill_process(me, rustix::process::Signal::TERM).unwrap();
        assert_eq!(told.recv().unwrap(), (Stop::Terminate, 1));
        assert_eq!(Stop::ALL.map(Stop::exit_code), [130, 143, 129]);
        // SIGPIPE is ignored by the standard library in every program.
        assert!(cfg!(not(target_os = "linux")) || is_ignored(13));
        assert!(!is_ignored(2));
    }
}
