//! `flow why`: why a task would run, or why not, down to the first cause.
//!
//! Writes nothing and, without `--fresh`, runs nothing. Must hold: every reason the one decision gives is
//! said, with what was and what is; a task's causes are told once, however many ways lead to it.

use std::collections::{HashMap, HashSet};

use jiff::tz::TimeZone;

use crate::cli::error::{CliError, FINE};
use crate::cli::listing::{How, Seen, now, print, print_json, request, restore_bytes, see, task_fields, words};
use crate::cli::options::WhyArgs;
use crate::cli::terminal;
use crate::event::{CauseFields, DigestText, ReasonFields, Secs, Time};
use crate::graph::Tool;
use crate::name::TaskId;
use crate::pipeline::spec::Runs;
use crate::plan::decide::Verdict;
use crate::plan::reason::{Part, compare};
use crate::record::known::Last;
use crate::record::manifest::Manifest;
use crate::report::json::{LastGood, SameParts, VerdictWord, WhyJson};
use crate::report::words::{self as say, Again};
use crate::report::{Paint, Style};

/// Reasons of one task that are told.
const MOST_REASONS: usize = 5;

/// How far causes are followed.
const MOST_DEPTH: usize = 100;

/// Tasks of one call that are explained.
const MOST_TASKS: usize = 20;

/// Lines of a command that are shown of each side.
const MOST_LINES: usize = 4;

/// Runs the command.
pub fn run(args: &WhyArgs) -> Result<u8, CliError> {
    let words = words(&args.words, &args.which, &args.short_file);
    if words.rest.is_empty() {
        let status = words.again.command("status", &[]);
        return Err(
            CliError::wrong("no task given").hint(format!("{}; `{status}` shows what is there", words.again.command("why", &["TASK"])))
        );
    }
    let request = request(words.file, &args.which, false)?;
    let how = How { ask: args.fresh, unnamed: true, ..How::default() };
    let seen = see(&request, &words.rest, how, args.which.json)?;
    let asked = seen.meant(&words.rest)?;
    let why = Why::new(&seen, words.again);
    if args.which.json {
        let [task] = asked.as_slice() else {
            let names: Vec<&str> = asked.iter().take(3).map(|id| seen.graph.task(*id).name.as_str()).collect();
            return Err(CliError::wrong(format!("with --json one task is explained, not {}", asked.len()))
                .hint(format!("name one of {}", say::some(&names, 3))));
        };
        print_json(&why.json(*task), &seen.pipeline())?;
    } else {
        print(&why.text(&asked, &terminal::stdout()))?;
    }
    Ok(FINE)
}

/// What explaining needs.
struct Why<'a> {
    seen: &'a Seen,
    words: Vec<VerdictWord>,
    by_name: HashMap<&'a str, TaskId>,
    again: Again,
    now: i64,
    zone: TimeZone,
}

impl<'a> Why<'a> {
    fn new(seen: &'a Seen, again: Again) -> Why<'a> {
        let by_name = seen.graph.tasks.iter().enumerate().map(|(index, task)| (task.name.as_str(), TaskId(index as u32))).collect();
        Why { seen, words: seen.words(), by_name, again, now: now(), zone: TimeZone::system() }
    }

    fn word(&self, id: TaskId) -> VerdictWord {
        self.words.get(id.index()).copied().unwrap_or(VerdictWord::UpToDate)
    }

    fn name(&self, id: TaskId) -> String {
        say::printable(self.seen.graph.task(id).name.as_str()).into_owned()
    }

    fn time(&self, at: i64) -> String {
        say::local_time(at, self.now, &self.zone)
    }

    /// A task's reasons, each with its causes. What was told before is not told again.
    fn reasons(&self, id: TaskId, told: &mut HashSet<TaskId>, depth: usize) -> Vec<ReasonFields> {
        told.insert(id);
        let mut reasons = self.seen.reasons(id);
        for reason in &mut reasons {
            let above = reason.task.as_deref().and_then(|task| self.by_name.get(task)).copied();
            if let Some(above) = above
                && depth < MOST_DEPTH
                && self.word(above) != VerdictWord::UpToDate
                && !told.contains(&above)
            {
                reason.because = self.reasons(above, told, depth + 1);
            }
        }
        reasons
    }

    /// What a task would be made from now.
    fn manifest(&self, id: TaskId) -> Option<Manifest> {
        match self.seen.walked.manifests.get(id.index()).and_then(Option::as_ref) {
            Some(manifest) => Some(manifest.clone()),
            None => self.seen.good(id).map(|good| good.manifest),
        }
    }

    /// How many parts of the key are as they were when the last good result was made.
    fn same(&self, id: TaskId) -> SameParts {
        let mut same = SameParts::default();
        let (Some(good), Some(now)) = (self.seen.good(id), self.manifest(id)) else { return same };
        let task = self.seen.graph.task(id);
        let declared = |name: &str| task.env.iter().any(|(has, _)| has == name) || task.read_env.iter().any(|has| has == name);
        let mut count = |part: &Part, by: i64| {
            let slot = match part {
                Part::Command(_) => &mut same.command,
                Part::Input { .. } | Part::Stamp { .. } => &mut same.inputs,
                Part::Config(..) => &mut same.config,
                Part::Tool { .. } => &mut same.tools,
                Part::Env(name, _) if declared(name) => &mut same.env,
                _ => return,
            };
            *slot = slot.saturating_add_signed(by);
        };
        now.parts.iter().for_each(|part| count(part, 1));
        for reason in compare(&good.manifest, &now) {
            if let crate::plan::reason::Reason::Part { is: Some(is), .. } = reason {
                count(&is, -1);
            }
        }
        same
    }

    fn automatic(&self, id: TaskId) -> Vec<String> {
        let tools = self.seen.graph.task(id).tools.iter();
        tools
            .filter_map(|tool| match tool {
                Tool::File { path, automatic: true, .. } => Some(path.to_string()),
                _ => None,
            })
            .collect()
    }

    fn last_good(&self, id: TaskId) -> Option<LastGood> {
        let memory = self.seen.opened.known.task(&self.seen.graph.task(id).name)?;
        memory.good?;
        Some(LastGood { run: memory.good_run, ended: Time(memory.good_at), wall_s: Secs(memory.duration.unwrap_or_default()) })
    }

    fn json(&self, id: TaskId) -> WhyJson {
        WhyJson {
            task: task_fields(&self.seen.graph, id),
            verdict: self.word(id),
            reasons: if self.word(id) == VerdictWord::UpToDate { Vec::new() } else { self.reasons(id, &mut HashSet::new(), 0) },
            same: self.same(id),
            automatic: self.automatic(id),
            key: self.manifest(id).and_then(|manifest| manifest.key()).map(|key| DigestText(key.0)),
            last_good: self.last_good(id),
        }
    }

    /// All that was asked, up to date tasks in one line each.
    fn text(&self, asked: &[TaskId], style: &Style) -> String {
        let mut out = String::new();
        let mut left = (0, 0);
        for (n, &id) in asked.iter().enumerate() {
            if n >= MOST_TASKS {
                match self.word(id) {
                    VerdictWord::UpToDate => left.0 += 1,
                    _ => left.1 += 1,
                }
                continue;
            }
            let shown = self.one(id, style);
            if n > 0 && (shown.lines().count() > 1 || out.ends_with("\n\n")) {
                out.push('\n');
            }
            out.push_str(&shown);
        }
        if left != (0, 0) {
            let said: Vec<String> = [(left.0, "up to date"), (left.1, "not up to date")]
                .iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{n} {what}"))
                .collect();
            out.push_str(&format!("and {} more: {}\n", left.0 + left.1, said.join(", ")));
        }
        if let Some(run) = self.seen.as_of {
            out.push_str(&format!("tools as of run {run}; --fresh asks again\n"));
        }
        out
    }

    fn one(&self, id: TaskId, style: &Style) -> String {
        let mut page = Page { why: self, style, out: String::new(), told: HashSet::new() };
        page.head(id);
        page.tail(id);
        page.out
    }
}

/// The text about one task.
struct Page<'a> {
    why: &'a Why<'a>,
    style: &'a Style,
    out: String,
    told: HashSet<TaskId>,
}

impl Page<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        let indent = "  ".repeat(depth.min(20));
        // Nothing wraps by accident: what is too long goes on below, further in.
        let width = self.style.width;
        let lines = if width == 0 { vec![text.to_string()] } else { say::wrap(text, width.saturating_sub(indent.len() + 5).max(20)) };
        for (n, line) in lines.iter().enumerate() {
            let more = if n == 0 { "" } else { "    " };
            self.out.push_str(format!("{indent}{more}{}", line.trim_end()).trim_end());
            self.out.push('\n');
        }
    }

    fn head(&mut self, id: TaskId) {
        let why = self.why;
        let name = why.name(id);
        let stage = why.seen.graph.stage_of(id);
        let from = self.out.len();
        match (why.seen.verdict(id), why.word(id)) {
            (Verdict::Restore { record, files }, VerdictWord::Restore) => {
                let (when, size) = (why.time(record.at), say::size(restore_bytes(record, files)));
                self.line(0, &format!("{name} would be restored, not run: its result is that of the run of {when} ({size}), because"));
                self.reasons(id, 1);
            }
            (Verdict::Restore { record, .. }, _) => {
                let when = why.time(record.at);
                self.line(0, &format!("{name} is up to date: what stands is the result of the run of {when}, whose record it takes over"));
            }
            (Verdict::UpToDate, _) if stage.runs == Runs::Never => {
                self.line(0, &format!("{name} never runs: its files count as they are"));
            }
            (Verdict::UpToDate, _) => {
                let (parts, as_before) = same_said(&why.same(id));
                let when = why.last_good(id).map(|good| format!(" on {}", why.time(good.ended.0))).unwrap_or_default();
                self.line(0, &format!("{name} is up to date: {parts} {as_before}{when}"));
            }
            (Verdict::Missing(_), _) => {
                self.line(0, &format!("{name} never runs and would fail, because"));
                self.reasons(id, 1);
            }
            (Verdict::Unknown(what), _) => {
                let fault =
                    why.seen.walked.faults.iter().find(|(task, _)| *task == id).map(|(_, words)| say::printable(words).into_owned());
                let what = say::printable(what).into_owned();
                self.line(
                    0,
                    &match fault {
                        Some(words) => format!("whether {name} would run cannot be told: {words}"),
                        None => format!("whether {name} would run is not known: `{what}` was never asked; --fresh asks it"),
                    },
                );
            }
            (_, VerdictWord::Pending) => {
                self.line(0, &format!("{name} would perhaps run, because"));
                self.reasons(id, 1);
            }
            _ => {
                self.line(0, &format!("{name} would run, because"));
                self.reasons(id, 1);
            }
        }
        // Painted when everything is in its place: colours take no columns.
        if self.out[from..].starts_with(&name) {
            self.out.replace_range(from..from + name.len(), &self.style.paint(Paint::Bold, &name));
        }
    }

    /// A task's reasons, each followed by its causes.
    fn reasons(&mut self, id: TaskId, depth: usize) {
        self.told.insert(id);
        let reasons = self.why.seen.reasons(id);
        for reason in reasons.iter().take(MOST_REASONS) {
            self.reason(id, reason, depth);
        }
        if reasons.len() > MOST_REASONS {
            let mut tally = crate::cli::listing::Tally::default();
            reasons.iter().skip(MOST_REASONS).for_each(|reason| tally.add(std::slice::from_ref(reason)));
            self.line(depth, &format!("and {} more: {}", reasons.len() - MOST_REASONS, tally.said()));
        }
        let missing = self.why.seen.walked.missing.iter().find(|(task, _)| *task == id).map(|(_, paths)| paths.as_slice());
        if let Some(paths) = missing {
            self.line(depth, &format!("{} not there", said_paths(paths)));
        }
    }

    fn reason(&mut self, id: TaskId, reason: &ReasonFields, depth: usize) {
        let above = reason.task.as_deref().and_then(|task| self.why.by_name.get(task)).copied();
        let open = above.filter(|above| self.why.word(*above) != VerdictWord::UpToDate);
        let (mut subject, mut said) = subject(reason, self.automatic(id, reason));
        match (open, above) {
            (Some(above), _) => {
                let made = match (reason.reason.as_str(), self.why.word(above)) {
                    ("stamp_changed", VerdictWord::Run) => "will run anew".to_string(),
                    ("stamp_changed", _) => "may run anew".to_string(),
                    (_, VerdictWord::Run) => format!("will be made anew by {}", self.why.name(above)),
                    (_, VerdictWord::Restore) => format!("{said}: {} is restored", self.why.name(above)),
                    _ => format!("may be made anew by {}", self.why.name(above)),
                };
                let seen = self.told.contains(&above) || depth > MOST_DEPTH;
                said = format!("{made}{}", if seen { ", as told above" } else { ", because" });
                self.place(depth, &subject, &said, None);
                if !seen {
                    self.reasons(above, depth + 1);
                }
                return;
            }
            (None, Some(above)) if reason.reason.starts_with("input_") || reason.reason == "stamp_changed" => {
                if let Some(good) = self.why.last_good(above) {
                    let (name, when) = (self.why.name(above), self.why.time(good.ended.0));
                    said = match reason.reason.as_str() {
                        "stamp_changed" => format!("ran anew on {when} (run {})", good.run),
                        _ => format!("{said}: made by {name} on {when} (run {})", good.run),
                    };
                }
            }
            _ => {}
        }
        if reason.reason == "failed"
            && let Some(text) = self.last_end(id)
        {
            subject = format!("its last attempt failed: {text}");
        }
        self.place(depth, &subject, &said, reason.place.as_deref());
        if reason.reason == "command_changed" {
            for line in changed_lines(reason) {
                self.line(depth + 1, &line);
            }
        }
    }

    fn place(&mut self, depth: usize, subject: &str, said: &str, place: Option<&str>) {
        let gap = if said.is_empty() { "" } else { "  " };
        let place = place.map(|place| format!("   ({})", say::printable(place))).unwrap_or_default();
        self.line(depth, &format!("{subject}{gap}{said}{place}"));
    }

    fn automatic(&self, id: TaskId, reason: &ReasonFields) -> bool {
        reason.reason == "tool_changed" && self.why.automatic(id).iter().any(|path| Some(path) == reason.what.as_ref())
    }

    /// How the last attempt ended, in words.
    fn last_end(&self, id: TaskId) -> Option<String> {
        let memory = self.why.seen.opened.known.task(&self.why.seen.graph.task(id).name)?;
        let end = memory.end.as_ref()?;
        Some(say::printable(&CauseFields::of(&end.ended.cause).text).into_owned())
    }

    /// What else there is to know.
    fn tail(&mut self, id: TaskId) {
        let why = self.why;
        let task = why.seen.graph.task(id);
        let memory = why.seen.opened.known.task(&task.name);
        let stale = why.word(id) != VerdictWord::UpToDate;
        let automatic = why.automatic(id);
        if !automatic.is_empty() {
            let paths: Vec<String> = automatic.iter().map(|path| say::printable(path).into_owned()).collect();
            self.line(0, &format!("automatic: {}, found in its command", say::some(&paths, 5)));
        }
        if why.seen.graph.stage_of(id).runs == Runs::Manual {
            self.line(0, "runs: manual, so only when it is named, or needed by another");
        }
        let log = |run: u64| format!("run {run}, {}", why.again.command("log", &[task.name.as_str(), "--run", &run.to_string()]));
        if let Some(memory) = memory.filter(|memory| memory.last == Last::Failed)
            && let Some(end) = &memory.end
        {
            let text = say::printable(&CauseFields::of(&end.ended.cause).text).into_owned();
            let note = if stale { "" } else { "; what stands is from before" };
            self.line(0, &format!("last attempt: {}, {text} ({}){note}", why.time(end.at), log(end.run)));
        }
        if stale && let Some(good) = why.last_good(id) {
            let text = format!("last good run: {}, {} ({})", why.time(good.ended.0), say::duration(good.wall_s.0), log(good.run));
            self.line(0, &text);
        }
    }
}

fn said_paths(paths: &[crate::name::RelPath]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| say::printable(path.as_str()).into_owned()).collect();
    format!("{} {}", say::some(&shown, 3), if paths.len() == 1 { "is" } else { "are" })
}

/// `command, 2 inputs, 1 config key and 1 tool` and `are as they were`.
fn same_said(same: &SameParts) -> (String, &'static str) {
    let counts = [(same.inputs, "input"), (same.config, "config key"), (same.tools, "tool"), (same.env, "variable")];
    let mut parts: Vec<String> = if same.command > 0 { vec!["command".into()] } else { Vec::new() };
    parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| say::count(*count, what)));
    let many = same.command + counts.iter().map(|(count, _)| count).sum::<u64>() > 1;
    let text = match parts.split_last() {
        None => "everything".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    };
    (text, if many { "are as they were" } else { "is as it was" })
}

/// What a reason is about, and what is said of it.
fn subject(reason: &ReasonFields, automatic: bool) -> (String, String) {
    let what = reason.what.as_deref().map(say::printable).unwrap_or_default();
    let value = |text: &Option<String>| text.as_deref().map(|text| say::printable(text).into_owned());
    let (was, is) = (value(&reason.was), value(&reason.is));
    let moved = |none: &str| format!("{} → {}", was.as_deref().unwrap_or(none), is.as_deref().unwrap_or(none));
    let came = |new: &str, gone: &str, other: &str| match (&was, &is) {
        (None, Some(_)) => new.to_string(),
        (Some(_), None) => gone.to_string(),
        _ => other.to_string(),
    };
    let of = |subject: String, said: String| (subject, said);
    match reason.reason.as_str() {
        "never_ran" => of("it never ran".into(), String::new()),
        "interrupted" => of("it was interrupted".into(), "flow ended while it ran".into()),
        "forced" => of("it is forced".into(), String::new()),
        "always" => of("runs: always".into(), "it runs in every run".into()),
        "named" => of("it was named".into(), String::new()),
        "failed" => of("its last attempt failed".into(), String::new()),
        "command_changed" => of("command".into(), "changed".into()),
        "shell_changed" => of("shell".into(), moved("none")),
        "dir_changed" => of("working folder".into(), moved("none")),
        "env_changed" => of(format!("variable `{what}`"), moved("unset")),
        "config_changed" => {
            let used = format!("is used now: {}", is.as_deref().unwrap_or_default());
            let unused = format!("is no longer used (was {})", was.as_deref().unwrap_or_default());
            of(format!("config `{what}`"), came(&used, &unused, &moved("none")))
        }
        "tool_changed" => {
            let subject = if automatic { format!("script {what} (automatic)") } else { format!("tool {what}") };
            of(subject, came("is new", "is no longer used", "changed"))
        }
        "outputs_list_changed" => of(format!("output {what}"), came("is new", "is no longer declared", "is declared in another way")),
        "input_added" => of(format!("input {what}"), "is new".into()),
        "input_removed" => of(format!("input {what}"), "is no longer read".into()),
        "input_changed" => of(format!("input {what}"), came("is there now", "is not there", "changed")),
        "input_perhaps" => of(format!("input {what}"), "may be made anew".into()),
        "stamp_changed" => of(what.into_owned(), "ran anew".into()),
        "items_changed" => of("items".into(), "changed".into()),
        "output_gone" => of(format!("output {what}"), "is gone".into()),
        "output_changed" => of(format!("output {what}"), "is not what was made".into()),
        "spoilt" => of(format!("input {what}"), "changed while it ran".into()),
        "not_in_cache" => of("the cache".into(), "no longer has its result".into()),
        _ => of(say::reason(reason), String::new()),
    }
}

/// The lines of a command that differ, those that were with `-`, those that are with `+`.
fn changed_lines(reason: &ReasonFields) -> Vec<String> {
    let (was, is) = (reason.was.as_deref().unwrap_or_default(), reason.is.as_deref().unwrap_or_default());
    let (mut was, mut is): (Vec<&str>, Vec<&str>) = (was.lines().collect(), is.lines().collect());
    while let (Some(a), Some(b)) = (was.first(), is.first())
        && a == b
    {
        was.remove(0);
        is.remove(0);
    }
    while let (Some(a), Some(b)) = (was.last(), is.last())
        && a == b
    {
        was.pop();
        is.pop();
    }
    let mut lines = Vec::new();
    for (sign, side) in [("-", &was), ("+", &is)] {
        lines.extend(side.iter().take(MOST_LINES).map(|line| format!("{sign} {}", say::printable(line.trim_end()))));
        if side.len() > MOST_LINES {
            lines.push(format!("{sign} and {} more", say::count((side.len() - MOST_LINES) as u64, "line")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same() {
        let said = |command, inputs, config, tools, env| {
            let (parts, as_before) = same_said(&SameParts { command, inputs, config, tools, env });
            format!("{parts} {as_before}")
        };
        assert_eq!(said(1, 2, 1, 1, 0), "command, 2 inputs, 1 config key and 1 tool are as they were");
        assert_eq!(said(1, 0, 0, 0, 0), "command is as it was");
        assert_eq!(said(0, 0, 0, 0, 2), "2 variables are as they were");
        assert_eq!(said(0, 0, 0, 0, 0), "everything is as it was");
    }

    #[test]
    fn only_lines_that_differ() {
        let of =
            |was: &str, is: &str| changed_lines(&ReasonFields { was: Some(was.into()), is: Some(is.into()), ..ReasonFields::default() });
        assert_eq!(of("a\nb\nc", "a\nx\nc"), ["- b", "+ x"]);
        assert_eq!(of("a", "a\nb"), ["+ b"]);
        assert_eq!(of("a\u{1b}", "b"), ["- a\\x1b", "+ b"]);
        assert_eq!(of("1\n2\n3\n4\n5\n6", "x").len(), 6);
    }
}
