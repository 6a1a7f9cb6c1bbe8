//! How durations, sizes, signals and causes are said, once: in events and on a terminal alike.
//!
//! Pure. Must hold: short, and the same words for the same thing everywhere.

use std::fmt::Display;
use std::time::Duration;

use crate::attempt::Cause;

/// A duration as people say it: `3 ms`, `0.31 s`, `3.2 s`, `41 s`, `1 m 40 s`, `2 h 05 m`, `3 d 04 h`.
pub fn duration(time: Duration) -> String {
    let ms = time.as_millis();
    if time.is_zero() {
        return "0 s".into();
    }
    if ms < 10 {
        return format!("{} ms", ms.max(1));
    }
    let hundredths = (ms + 5) / 10;
    if hundredths < 100 {
        let text = format!("0.{hundredths:02}");
        return format!("{} s", text.trim_end_matches('0'));
    }
    let tenths = (ms + 50) / 100;
    if tenths < 100 {
        return match tenths % 10 {
            0 => format!("{} s", tenths / 10),
            rest => format!("{}.{rest} s", tenths / 10),
        };
    }
    let seconds = (ms + 500) / 1000;
    if seconds < 60 {
        return format!("{seconds} s");
    }
    if seconds < 3600 {
        return pair(seconds, 60, "m", "s");
    }
    let minutes = (seconds + 30) / 60;
    if minutes < 48 * 60 {
        return pair(minutes, 60, "h", "m");
    }
    pair((minutes + 30) / 60, 24, "d", "h")
}

/// `2 h 05 m`; `2 h` if nothing is left over.
fn pair(small: u128, size: u128, big_unit: &str, small_unit: &str) -> String {
    match small % size {
        0 => format!("{} {big_unit}", small / size),
        rest => format!("{} {big_unit} {rest:02} {small_unit}", small / size),
    }
}

/// A size as people say it: `812 B`, `9 KiB`, `1.5 MiB`, `4 GiB`.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scale: u128 = 1024;
    for (n, unit) in units.iter().enumerate() {
        let tenths = (u128::from(bytes) * 10 + scale / 2) / scale;
        if tenths < 100 && !tenths.is_multiple_of(10) {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        let whole = if tenths < 100 { tenths / 10 } else { (u128::from(bytes) + scale / 2) / scale };
        if whole < 1024 || n + 1 == units.len() {
            return format!("{whole} {unit}");
        }
        scale *= 1024;
    }
    format!("{bytes} B")
}

/// A few names of a list: `a, b and 3 more`.
pub fn some(names: &[impl Display], most: usize) -> String {
    let shown: Vec<String> = names.iter().take(most).map(ToString::to_string).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The name of a signal by its number on this system; `signal 40` for one without a name.
pub fn signal(number: i32) -> String {
    match SIGNALS.iter().find(|(n, _)| *n == number) {
        Some((_, name)) => (*name).into(),
        None => format!("signal {number}"),
    }
}

#[cfg(target_os = "linux")]
const SIGNALS: &[(i32, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (31, "SIGSYS"),
];

#[cfg(not(target_os = "linux"))]
const SIGNALS: &[(i32, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGBUS"),
    (11, "SIGSEGV"),
    (12, "SIGSYS"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (30, "SIGUSR1"),
    (31, "SIGUSR2"),
];

/// How an attempt ended, worded for a person: `exit status 1`, `killed by SIGSEGV`.
pub fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Success => "exit status 0".into(),
        Cause::Exit(status) => match exit_hint(*status) {
            Some(hint) => format!("exit status {status} ({hint})"),
            None => format!("exit status {status}"),
        },
        Cause::Signal(number) => format!("killed by {}", signal(*number)),
        Cause::Timeout(time) => format!("timed out after {}", duration(*time)),
        Cause::OutOfMemory { limit: Some(limit) } => format!("out of memory ({} limit)", size(*limit)),
        Cause::OutOfMemory { limit: None } => "out of memory".into(),
        Cause::NotStarted(why) => why.clone(),
        Cause::Cancelled => "cancelled".into(),
        Cause::Lost(why) => format!("lost: {why}"),
        Cause::MissingOutputs(paths) => format!("did not make {}", some(paths, 3)),
        Cause::Checks(faults) => faults.join("; "),
        Cause::InputGone(path) => format!("input {path} is gone"),
    }
}

/// What an exit status is known to mean.
fn exit_hint(status: i32) -> Option<String> {
    match status {
        126 => Some("a command in it is there, but cannot be executed: `chmod +x` it, or look at its first line".into()),
        127 => Some("a command in it was not found".into()),
        141 => Some(
            "a reader such as head closed the pipe, and pipefail counts that: end the line with \"|| test $? = 141\", \
             or let sed or awk read to the end"
                .into(),
        ),
        129..=165 => {
            let (_, name) = SIGNALS.iter().find(|(number, _)| *number == status - 128)?;
            Some(format!("a command in it was killed by {name}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RelPath;

    #[test]
    fn durations() {
        for (ms, want) in [
            (0, "0 s"),
            (3, "3 ms"),
            (10, "0.01 s"),
            (60, "0.06 s"),
            (314, "0.31 s"),
            (796, "0.8 s"),
            (996, "1 s"),
            (3_160, "3.2 s"),
            (9_949, "9.9 s"),
            (9_950, "10 s"),
            (41_499, "41 s"),
            (59_499, "59 s"),
            (59_500, "1 m"),
            (62_000, "1 m 02 s"),
            (100_000, "1 m 40 s"),
            (600_000, "10 m"),
            (3_599_600, "1 h"),
            (7_500_000, "2 h 05 m"),
            (2 * 86_400_000, "2 d"),
            (3 * 86_400_000 + 4 * 3_600_000, "3 d 04 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), want, "{ms}");
        }
        assert_eq!(duration(Duration::from_nanos(1)), "1 ms");
        assert!(duration(Duration::MAX).ends_with(" h"));
    }

    #[test]
    fn sizes() {
        for (bytes, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (9 * 1024, "9 KiB"),
            (1536, "1.5 KiB"),
            (10 * 1024 - 1, "10 KiB"),
            (1024 * 1024 - 1, "1 MiB"),
            (210 << 20, "210 MiB"),
            (4 << 30, "4 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), want, "{bytes}");
        }
    }

    #[test]
    fn causes() {
        let path = |text: &str| RelPath::normal(text).unwrap();
        for (what, want) in [
            (Cause::Exit(1), "exit status 1"),
            (Cause::Exit(127), "exit status 127 (a command in it was not found)"),
            (Cause::Exit(139), "exit status 139 (a command in it was killed by SIGSEGV)"),
            (Cause::Exit(255), "exit status 255"),
            (Cause::Signal(11), "killed by SIGSEGV"),
            (Cause::Signal(40), "killed by signal 40"),
            (Cause::Timeout(Duration::from_secs(600)), "timed out after 10 m"),
            (Cause::OutOfMemory { limit: Some(4 << 30) }, "out of memory (4 GiB limit)"),
            (Cause::OutOfMemory { limit: None }, "out of memory"),
            (Cause::MissingOutputs(vec![path("model.bin")]), "did not make model.bin"),
            (Cause::MissingOutputs(["a", "b", "c", "d", "e"].map(path).to_vec()), "did not make a, b, c and 2 more"),
            (Cause::NotStarted("command not found: samtolls".into()), "command not found: samtolls"),
            (Cause::InputGone(path("raw.csv")), "input raw.csv is gone"),
            (Cause::Cancelled, "cancelled"),
        ] {
            assert_eq!(cause(&what), want);
        }
        assert!(cause(&Cause::Exit(141)).starts_with("exit status 141 (a reader such as head closed the pipe, and pipefail counts that: "));
    }
}
