//! How things are said to people: times, reasons, counts, commands to type next; and how text that
//! came from elsewhere is made fit for a terminal.
//!
//! Pure, but for the time zone that is handed in. Must hold: whatever a name or a log holds, what
//! comes out of here moves no cursor, changes no colour and reverses no text.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use crate::event::say::{cause, duration, signal, size, some};
use crate::event::{Counts, ReasonFields, Run, RunState};

/// Columns a value of a setting may take in a line.
const VALUE_COLUMNS: usize = 40;

/// Text from a file, a name or a command, fit to be printed on one line: control characters as
/// `\n`, `\x1b`, `\u{202e}`; all that can be seen stays.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hidden(c) && u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_hidden(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Characters that a terminal obeys instead of showing: controls, line separators, marks that turn
/// the direction of text, tags.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line of a log, fit to be printed: tabs become spaces, a line that a program wrote over
/// itself (`10 %\r20 %`) is what was seen last, the rest as [`printable`].
pub fn log_line(line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    let seen = line.rsplit('\r').next().unwrap_or(line);
    let mut out = String::with_capacity(seen.len());
    for part in seen.split_inclusive('\t') {
        out.push_str(&printable(part.trim_end_matches('\t')));
        if part.ends_with('\t') {
            let to = 8 - columns(&out) % 8;
            out.extend(std::iter::repeat_n(' ', to));
        }
    }
    out
}

/// Columns that text takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Text cut to some columns, with `…` at its end if something is missing; 0 is no limit.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if most == 0 || columns(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if taken + width > most - 1 {
            break;
        }
        taken += width;
        out.push(c);
    }
    out.push('…');
    Cow::Owned(out)
}

/// Text padded with spaces to some columns.
pub fn pad(text: &str, to: usize) -> String {
    let mut out = text.to_owned();
    out.extend(std::iter::repeat_n(' ', to.saturating_sub(columns(text))));
    out
}

/// Text broken between words into lines of at most so many columns; a longer word stays whole.
pub fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && columns(&line) + 1 + columns(word) > most {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A moment as people say it, `24 Nov 18:02`; with the year if it is not this year. Both in
/// nanoseconds since 1970.
pub fn local_time(at: i64, now: i64, zone: &TimeZone) -> String {
    let there = |ns: i64| Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default().to_zoned_datetime(zone.clone());
    let (at, now) = (there(at), there(now));
    let form = if at.year() == now.year() { "%-d %b %H:%M" } else { "%-d %b %Y %H:%M" };
    at.strftime(form).to_string()
}

/// A moment of today, `18:01`; of another day as [`local_time`].
pub fn local_clock(at: i64, now: i64, zone: &TimeZone) -> String {
    let there = |ns: i64| Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default().to_zoned_datetime(zone.clone());
    if there(at).date() == there(now).date() { there(at).strftime("%H:%M").to_string() } else { local_time(at, now, zone) }
}

/// `1 input`, `2 inputs`.
pub fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A reason as a line: ``config `clean.threshold` 0.3 → 0.5``.
pub fn reason(reason: &ReasonFields) -> String {
    let value = |text: &Option<String>, none: &str| match text {
        Some(text) => cut(&printable(text), VALUE_COLUMNS).into_owned(),
        None => none.to_owned(),
    };
    let what = reason.what.as_deref().map(printable).unwrap_or_default();
    let moved = |none: &str| format!("{} → {}", value(&reason.was, none), value(&reason.is, none));
    match reason.reason.as_str() {
        "never_ran" => "never ran".into(),
        "interrupted" => "was interrupted".into(),
        "failed" => "failed last time".into(),
        "forced" => "forced".into(),
        "always" => "runs always".into(),
        "named" => "was named".into(),
        "command_changed" => "command changed".into(),
        "shell_changed" => format!("shell {}", moved("none")),
        "dir_changed" => format!("working folder {}", moved("none")),
        "env_changed" => format!("variable `{what}` {}", moved("unset")),
        "config_changed" => format!("config `{what}` {}", moved("unused")),
        "tool_changed" => format!("tool {what} changed"),
        "outputs_list_changed" => match (&reason.was, &reason.is) {
            (None, _) => format!("output {what} is new"),
            (_, None) => format!("output {what} is no longer declared"),
            _ => format!("output {what} is declared in another way"),
        },
        "input_added" => format!("input {what} added"),
        "input_removed" => format!("input {what} removed"),
        "input_changed" => format!("input {what} changed"),
        "input_perhaps" => match &reason.task {
            Some(task) => format!("if {} comes out different", printable(task)),
            None => format!("if {what} comes out different"),
        },
        "stamp_changed" => format!("{what} runs anew"),
        "items_changed" => "items changed".into(),
        "output_gone" => format!("output {what} is gone"),
        "output_changed" => format!("output {what} is not what was made"),
        "spoilt" => format!("{what} changed while it ran"),
        "not_in_cache" => "the cache no longer has its result".into(),
        "version_changed" => "another flow decides what counts".into(),
        "machine_changed" => format!("machine {}", moved("none")),
        other => format!("{} {what}", printable(other).replace('_', " ")).trim_end().to_owned(),
    }
}

/// What became of the tasks of a run: `1 failed, 3 not run below it, 240 not started, 12 ran`.
pub fn counts(counts: &Counts) -> String {
    let it = if counts.failed + counts.failed_allowed == 1 { "it" } else { "them" };
    let parts = [
        (counts.failed, "failed".to_owned()),
        (counts.failed_allowed, "failed as allowed".to_owned()),
        (counts.not_run, format!("not run below {it}")),
        (counts.not_started, "not started".to_owned()),
        (counts.ran, "ran".to_owned()),
        (counts.restored, "restored".to_owned()),
        (counts.up_to_date, "up to date".to_owned()),
    ];
    let said: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if said.is_empty() { "nothing to do".into() } else { said.join(", ") }
}

/// The word for how a run stands.
pub fn state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Fine => "fine",
        RunState::Failed => "failed",
        RunState::Interrupted => "interrupted",
        RunState::Killed => "killed",
        RunState::Unknown => "unknown",
    }
}

/// What `flow resume` says first: `run 2031 of 24 Nov 18:01 stopped after 6 of 9 tasks (killed). Going on:`
pub fn resuming(run: &Run, now: i64, zone: &TimeZone) -> String {
    let number = run.run.map(|run| format!("run {run}")).unwrap_or_else(|| "the last run".into());
    let when = run.started.map(|at| format!(" of {}", local_time(at.0, now, zone))).unwrap_or_default();
    let Counts { ran, restored, up_to_date, total, .. } = run.counts;
    let done = ran + restored + up_to_date;
    let done = if total >= done && total > 0 { format!("{done} of {}", count(total, "task")) } else { count(done, "task") };
    format!("{number}{when} stopped after {done} ({}). Going on:", state(run.state))
}

/// What a hint repeats so that it works as it stands: FILE and `--profile`, where they were given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Again {
    /// FILE as it was given.
    pub file: Option<String>,
    /// `--profile` as it was given.
    pub profile: Option<String>,
}

impl Again {
    /// A command to type next: `flow log pipelines/etl.yaml train --profile prod`.
    pub fn command(&self, verb: &str, rest: &[&str]) -> String {
        let mut words = vec![Cow::Borrowed("flow"), Cow::Borrowed(verb)];
        if let Some(file) = &self.file {
            // FILE is the first argument only if it ends in .yaml or .yml.
            if !(file.ends_with(".yaml") || file.ends_with(".yml")) {
                words.push(Cow::Borrowed("--file"));
            }
            words.push(shell_word(file));
        }
        words.extend(rest.iter().map(|word| shell_word(word)));
        if let Some(profile) = &self.profile {
            words.push(Cow::Borrowed("--profile"));
            words.push(shell_word(profile));
        }
        words.join(" ")
    }
}

/// A word as it can be typed into a shell.
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "._/+:-@=%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    if word.chars().any(is_hidden) {
        let mut out = String::from("$'");
        for c in word.chars() {
            match c {
                '\'' | '\\' => out.extend(['\\', c]),
                c if is_hidden(c) => {
                    let mut bytes = [0; 4];
                    out.extend(c.encode_utf8(&mut bytes).bytes().map(|byte| format!("\\x{byte:02x}")));
                }
                c => out.push(c),
            }
        }
        out.push('\'');
        return Cow::Owned(out);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Time;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        for (text, want) in [
            ("plain é 漢 👩‍🚀 name", "plain é 漢 👩‍🚀 name"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
            ("\u{9b}31m", "\\x9b31m"),
            ("evil\u{202e}txt", "evil\\u{202e}txt"),
            ("\u{2066}\u{2069}\u{200f}\u{feff}", "\\u{2066}\\u{2069}\\u{200f}\\u{feff}"),
            ("\0\x7f", "\\x00\\x7f"),
        ] {
            assert_eq!(printable(text), want);
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let text: String = (0..random.usize(..12)).map(|_| random.char(..)).collect();
            for shown in
                [printable(&text).into_owned(), log_line(&text), reason(&ReasonFields { reason: text.clone(), ..Default::default() })]
            {
                assert!(!shown.chars().any(is_hidden), "{shown:?}");
            }
        }
    }

    #[test]
    fn lines_of_logs() {
        assert_eq!(log_line("a\tb\r\n"), "a       b");
        assert_eq!(log_line("10 %\r55 %\r"), "55 %");
        assert_eq!(log_line("漢\t|"), "漢      |");
        assert_eq!(log_line(""), "");
    }

    #[test]
    fn cut_by_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("漢字漢字", 6), "漢字…");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("abc", 1), "…");
        assert_eq!(cut("abc", 0), "abc");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("extraordinary", 4), ["extraordinary"]);
        assert_eq!(pad("漢", 4), "漢  ");
    }

    #[test]
    fn moments() {
        let now = 1_795_543_331_482_000_000;
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(local_time(now, now, &zone), "24 Nov 20:02");
        assert_eq!(local_time(now - 365 * 86_400_000_000_000, now, &zone), "24 Nov 2025 20:02");
        assert_eq!(local_time(1_767_225_600_000_000_000, now, &TimeZone::UTC), "1 Jan 00:00");
        assert_eq!(local_clock(now, now, &zone), "20:02");
        assert_eq!(local_clock(now - 86_400_000_000_000, now, &zone), "23 Nov 20:02");
    }

    #[test]
    fn reasons() {
        let of = |word: &str, what: &str, was: &str, is: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            reason(&ReasonFields { reason: word.into(), what: some(what), was: some(was), is: some(is), ..Default::default() })
        };
        assert_eq!(of("input_changed", "raw/acme.csv", "b3:1", "b3:2"), "input raw/acme.csv changed");
        assert_eq!(of("config_changed", "clean.threshold", "0.3", "0.5"), "config `clean.threshold` 0.3 → 0.5");
        assert_eq!(of("config_changed", "k", "", "0.5"), "config `k` unused → 0.5");
        assert_eq!(of("env_changed", "TZ", "", "UTC\n"), "variable `TZ` unset → UTC\\n");
        assert_eq!(of("config_changed", "k", "1", &"x".repeat(99)), format!("config `k` 1 → {}…", "x".repeat(39)));
        assert_eq!(of("never_ran", "", "", ""), "never ran");
        assert_eq!(of("spoilt", "raw.csv", "", ""), "raw.csv changed while it ran");
        assert_eq!(of("moon_changed", "phase", "", ""), "moon changed phase");
        let perhaps = ReasonFields { reason: "input_perhaps".into(), task: Some("clean@customer=acme".into()), ..Default::default() };
        assert_eq!(reason(&perhaps), "if clean@customer=acme comes out different");
    }

    #[test]
    fn what_became_of_tasks() {
        let failed = Counts { failed: 1, not_run: 3, not_started: 240, ran: 12, total: 256, ..Counts::default() };
        assert_eq!(counts(&failed), "1 failed, 3 not run below it, 240 not started, 12 ran");
        assert_eq!(counts(&Counts { failed: 2, not_run: 3, ..failed }), "2 failed, 3 not run below them, 240 not started, 12 ran");
        assert_eq!(counts(&Counts::default()), "nothing to do");
    }

    #[test]
    fn going_on_with_a_run() {
        let at = 1_795_543_291_000_000_000;
        let mut run = Run {
            run: Some(2031),
            state: RunState::Killed,
            started: Some(Time(at)),
            counts: Counts { ran: 1, restored: 1, up_to_date: 4, total: 9, ..Counts::default() },
            ..Run::default()
        };
        let now = at + 3_600_000_000_000;
        assert_eq!(resuming(&run, now, &TimeZone::UTC), "run 2031 of 24 Nov 18:01 stopped after 6 of 9 tasks (killed). Going on:");
        run.counts.total = 0;
        assert_eq!(resuming(&run, now, &TimeZone::UTC), "run 2031 of 24 Nov 18:01 stopped after 6 tasks (killed). Going on:");
    }

    #[test]
    fn hints_work_as_they_stand() {
        let again = Again { file: Some("my pipes/etl.yaml".into()), profile: Some("a,b".into()) };
        assert_eq!(again.command("log", &["clean@c=a/b"]), "flow log 'my pipes/etl.yaml' clean@c=a/b --profile a,b");
        assert_eq!(Again::default().command("resume", &[]), "flow resume");
        assert_eq!(Again { file: Some("x.txt".into()), profile: None }.command("status", &[]), "flow status --file x.txt");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word("a\x1bb'c\\"), "$'a\\x1bb\\'c\\\\'");
        assert_eq!(shell_word(""), "''");
    }
}
