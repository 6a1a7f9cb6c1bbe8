//! A failure as a person sees it: the line, and whole, with command, log and what to do.
//!
//! Pure. Must hold: what can be copied (commands, paths) is never cut.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::words::{self, Again};
use super::{Paint, Style};
use crate::event::{CauseFields, TaskFailed};

/// Most lines of a command that are shown.
const COMMAND_LINES: usize = 10;
/// Most lines of a log that are shown.
const LOG_LINES: usize = 20;
/// Lines without a limit of columns are broken here.
const PROSE_COLUMNS: usize = 100;

/// How it ended and after how long, `exit status 1 after 3.2 s`, and what is known of that status.
pub fn ended(result: &CauseFields, after: Option<Duration>) -> (String, Option<String>) {
    let text = words::printable(&result.text).into_owned();
    let Some(after) = after.map(words::duration) else { return (text, None) };
    match result.cause.as_str() {
        "exit" | "out_of_memory" => match text.split_once(" (") {
            Some((head, hint)) => (format!("{head} after {after}"), Some(format!("({hint}"))),
            None => (format!("{text} after {after}"), None),
        },
        "signal" | "cancelled" => (format!("{text} after {after}"), None),
        "missing_outputs" | "checks" => (format!("{text}, after {after}"), None),
        _ => (text, None),
    }
}

/// By what two failures are the same: the cause and the last line of the log.
pub fn message(failed: &TaskFailed) -> (String, String) {
    (failed.result.text.clone(), last_line(failed))
}

/// The last line of the log that is not empty.
pub fn last_line(failed: &TaskFailed) -> String {
    failed.shown.tail.iter().rev().map(|line| words::log_line(line)).find(|line| !line.trim().is_empty()).unwrap_or_default()
}

/// What is known of a task that failed beside the event.
pub struct Known<'a> {
    /// Its command.
    pub command: &'a str,
    /// Whether it has a log.
    pub log: bool,
    /// Now, in nanoseconds since 1970.
    pub now: i64,
}

/// All that stands below the line of the first failure.
pub fn block(failed: &TaskFailed, known: &Known, style: &Style, again: &Again, zone: &TimeZone, out: &mut String) {
    let mut parts = [String::new(), String::new()];
    let [shown, next] = &mut parts;
    what_it_did(failed, known, style, shown);
    hints(failed, known, style, again, zone, next);
    for part in parts.iter().filter(|part| !part.is_empty()) {
        out.push('\n');
        out.push_str(part);
    }
    if parts.iter().any(|part| !part.is_empty()) {
        out.push('\n');
    }
}

/// Where a line of a command or a log is cut if nothing says how wide the output is.
const PIPE_COLUMNS: usize = 500;

/// Its command and the end of its log.
fn what_it_did(failed: &TaskFailed, known: &Known, style: &Style, out: &mut String) {
    let room = |indent: usize| if style.width == 0 { PIPE_COLUMNS } else { style.width.saturating_sub(indent).max(10) };
    let command: Vec<&str> = known.command.trim_end().lines().collect();
    for line in command.iter().take(COMMAND_LINES) {
        out.push_str(&format!("   {}\n", words::cut(&words::log_line(line), room(3))));
    }
    if let Some(more) = command.len().checked_sub(COMMAND_LINES).filter(|more| *more > 0) {
        out.push_str(&format!("   … ({} more)\n", words::count(more as u64, "line")));
    }
    let bar = style.paint(Paint::Dim, "│");
    let tail = &failed.shown.tail;
    for line in tail.iter().skip(tail.len().saturating_sub(LOG_LINES)) {
        let line = words::log_line(line);
        out.push_str(format!("   {bar} {}", words::cut(&line, room(5))).trim_end());
        out.push('\n');
    }
    if tail.is_empty() && !known.command.is_empty() {
        out.push_str(&format!("   {}\n", style.paint(Paint::Dim, "it printed nothing")));
    }
}

/// Where to look, and what still stands.
fn hints(failed: &TaskFailed, known: &Known, style: &Style, again: &Again, zone: &TimeZone, out: &mut String) {
    let mut look = Vec::new();
    if known.log {
        look.push(format!("whole log: {}", again.command("log", &[&failed.task.task])));
    }
    if let Some(path) = &failed.failed_to {
        look.push(format!("what it wrote: {}", words::printable(path)));
    }
    let one_line = look.join("      ");
    if style.width == 0 || words::columns(&one_line) + 3 <= style.width {
        look = vec![one_line];
    }
    for line in look.iter().filter(|line| !line.is_empty()) {
        out.push_str(&format!("   {line}\n"));
    }
    let shown = &failed.shown;
    let escaped = |paths: &[String]| words::some(&paths.iter().map(|path| words::printable(path)).collect::<Vec<_>>(), 3);
    let is_are = |paths: &[String]| if paths.len() == 1 { ("is", "result") } else { ("are", "results") };
    if !shown.still.is_empty() {
        let (is, result) = is_are(&shown.still);
        let of = shown.still_of.map_or_else(
            || format!("the last good {result}"),
            |at| format!("the {result} of the run of {}", words::local_time(at, known.now, zone)),
        );
        prose(&format!("{} {is} still {of}", escaped(&shown.still)), style, out);
    }
    if !shown.moved_away.is_empty() {
        let (it, was) = if shown.moved_away.len() == 1 { ("it", "was") } else { ("them", "were") };
        prose(
            &format!(
                "{} of an earlier run {was} out of its way while it ran: the command can't go on from {it}",
                escaped(&shown.moved_away)
            ),
            style,
            out,
        );
    }
}

/// A sentence, broken between words, three columns in.
pub fn prose(text: &str, style: &Style, out: &mut String) {
    let most = if style.width == 0 { PROSE_COLUMNS } else { style.width.saturating_sub(3).max(20) };
    for line in words::wrap(text, most) {
        out.push_str(&format!("   {line}\n"));
    }
}
