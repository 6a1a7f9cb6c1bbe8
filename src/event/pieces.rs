//! The pieces that events and listings are made of, as JSON.
//!
//! Owns the shapes TASK, REASON, CAUSE, RUN, COUNTS and USAGE, and how a time, a duration and a
//! digest are written. Pure. Must hold: a field is always there, `null` where it does not apply;
//! none changes its name, type or unit without a new [`SHAPE`].

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::say;
use crate::attempt::{Cause, Usage};
use crate::hash::{Digest, Kind};
use crate::name::TaskName;
use crate::plan::reason::{Content, Part, Reason};

/// The version of all shapes: `"flow": 1`.
pub const SHAPE: u32 = 1;

/// Longest `was` and `is`, in characters.
const VALUE_CHARS: usize = 200;

/// A moment: nanoseconds since 1970, written `2026-11-24T18:02:11.482Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Time(pub i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole milliseconds downwards: an event never bears a time later than its own.
        let whole = self.0.div_euclid(1_000_000);
        match Timestamp::from_millisecond(whole) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => f.write_str("1970-01-01T00:00:00.000Z"),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: Timestamp = text.parse().map_err(de::Error::custom)?;
        i64::try_from(time.as_nanosecond()).map(Time).map_err(de::Error::custom)
    }
}

/// A duration, written as a number of seconds; kept to the microsecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Secs(pub Duration);

impl Serialize for Secs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_micros() as f64 / 1e6)
    }
}

impl<'de> Deserialize<'de> for Secs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secs, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let micros = (seconds.max(0.0) * 1e6).round();
        Ok(Secs(Duration::from_micros(micros as u64)))
    }
}

impl From<Duration> for Secs {
    fn from(time: Duration) -> Secs {
        Secs(time)
    }
}

/// A digest, written `b3:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigestText(pub Digest);

impl Serialize for DigestText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DigestText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DigestText, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = text.strip_prefix("b3:").and_then(Digest::from_hex);
        digest.map(DigestText).ok_or_else(|| de::Error::custom("not a digest"))
    }
}

/// The axes of a task in their order, name and item key; written as a map.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Axes(pub Vec<(String, String)>);

impl Serialize for Axes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, key) in &self.0 {
            map.serialize_entry(name, key)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Axes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Axes, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Axes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of axes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Axes, A::Error> {
                let mut axes = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    axes.push(entry);
                }
                Ok(Axes(axes))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// TASK: which task, its stage and its axes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TaskFields {
    /// `clean@customer=acme`
    pub task: String,
    /// `clean`
    pub stage: String,
    /// `{"customer": "acme"}`
    pub axes: Axes,
}

impl TaskFields {
    /// Of a task by its name, which holds all of it.
    pub fn of(name: &TaskName) -> TaskFields {
        let mut parts = name.as_str().split('@');
        let stage = parts.next().unwrap_or_default().to_owned();
        let axes = parts.filter_map(|part| part.split_once('=')).map(|(axis, key)| (axis.to_owned(), unescape(key))).collect();
        TaskFields { task: name.as_str().to_owned(), stage, axes: Axes(axes) }
    }
}

/// Takes back the %XX of a name. What is no such thing stays as it is.
fn unescape(key: &str) -> String {
    if !key.contains('%') {
        return key.to_owned();
    }
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// REASON: one reason to run, worded for programs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReasonFields {
    /// The word: `config_changed`, …
    pub reason: String,
    /// What changed: a path, a setting's name, a task; `None` where the word says it all.
    pub what: Option<String>,
    /// As it was, cut to 200 characters; a digest for contents; `None`: not there, or not known.
    pub was: Option<String>,
    /// As it is, likewise.
    pub is: Option<String>,
    /// `pipelines/etl.yaml:6:16`, where the file says so.
    pub place: Option<String>,
    /// The task that makes `what`.
    pub task: Option<String>,
    /// That task's own reasons; in `why` down to the first cause, elsewhere empty.
    pub because: Vec<ReasonFields>,
}

/// A reason as REASON; `place` is where the file says what changed.
pub fn reason_fields(reason: &Reason, place: Option<String>) -> ReasonFields {
    let plain = |word: &str| ReasonFields { reason: word.into(), ..ReasonFields::default() };
    let about = |word: &str, what: &dyn fmt::Display| ReasonFields { what: Some(what.to_string()), ..plain(word) };
    let mut fields = match reason {
        Reason::NeverRan => plain("never_ran"),
        Reason::Interrupted => plain("interrupted"),
        Reason::Forced => plain("forced"),
        Reason::Always => plain("always"),
        Reason::Named => plain("named"),
        Reason::Failed => plain("failed"),
        Reason::Part { was, is, from } => {
            let mut fields = part_fields(was.as_deref(), is.as_deref());
            fields.task = fields.task.or_else(|| from.as_ref().map(ToString::to_string));
            fields
        }
        Reason::FoundChanged(path) => about("input_changed", path),
        Reason::OutputGone(path) => about("output_gone", path),
        Reason::OutputChanged(path) => about("output_changed", path),
        Reason::Spoilt(path) => about("spoilt", path),
        Reason::NotInCache(key) => about("not_in_cache", &key.0),
    };
    fields.place = place;
    fields
}

fn part_fields(was: Option<&Part>, is: Option<&Part>) -> ReasonFields {
    let Some(part) = is.or(was) else { return ReasonFields { reason: "never_ran".into(), ..ReasonFields::default() } };
    let word = match part {
        Part::Version(_) => "version_changed",
        Part::Machine { .. } => "machine_changed",
        Part::Command(_) => "command_changed",
        Part::Shell(_) => "shell_changed",
        Part::Dir(_) => "dir_changed",
        Part::Env(..) => "env_changed",
        Part::Config(..) => "config_changed",
        Part::Tool { .. } => "tool_changed",
        Part::Input { .. } | Part::Stamp { .. } if was.is_none() => "input_added",
        Part::Input { .. } | Part::Stamp { .. } if is.is_none() => "input_removed",
        // A new stamp is always another, so nothing is perhaps about it.
        Part::Stamp { .. } => "stamp_changed",
        Part::Input { content: Content::Pending(_), .. } => "input_perhaps",
        Part::Input { .. } => "input_changed",
        Part::Output { .. } => "outputs_list_changed",
        Part::Task(_) | Part::Expansion(_) => "items_changed",
    };
    let what = match part {
        Part::Env(name, _) | Part::Config(name, _) => Some(name.clone()),
        Part::Tool { said, .. } => Some(said.clone()),
        Part::Input { path, .. } => Some(path.to_string()),
        Part::Output { path, kind, .. } => Some(format!("{path}{}", if *kind == Kind::Folder { "/" } else { "" })),
        Part::Stamp { task, .. } => Some(task.to_string()),
        _ => None,
    };
    let task = match part {
        Part::Stamp { task, .. } => Some(task.to_string()),
        _ => part.waits_for().map(ToString::to_string),
    };
    let (was, is) = cut_apart(was.and_then(value_of), is.and_then(value_of));
    ReasonFields { reason: word.into(), what, was, is, place: None, task, because: Vec::new() }
}

/// The value of a part as text.
fn value_of(part: &Part) -> Option<String> {
    match part {
        Part::Version(number) => Some(number.to_string()),
        Part::Machine { os, arch } => Some(format!("{os} {arch}")),
        Part::Command(text) => Some(text.clone()),
        Part::Shell(words) => Some(words.join(" ")),
        Part::Dir(path) => Some(path.to_string()),
        Part::Env(_, value) => value.clone(),
        Part::Config(_, value) => Some(value.clone()),
        Part::Tool { content, .. } | Part::Input { content, .. } => match content {
            Content::Is(digest) => Some(digest.to_string()),
            Content::Absent | Content::Pending(_) | Content::Unknown => None,
        },
        Part::Output { kind, .. } => Some(if *kind == Kind::Folder { "folder".into() } else { "file".into() }),
        Part::Task(digest) | Part::Expansion(digest) => Some(digest.to_string()),
        Part::Stamp { .. } => None,
    }
}

/// Two values, each cut to [`VALUE_CHARS`]; long ones so that their first difference is seen.
fn cut_apart(was: Option<String>, is: Option<String>) -> (Option<String>, Option<String>) {
    let skip = match (&was, &is) {
        (Some(was), Some(is)) if was.chars().nth(VALUE_CHARS).is_some() || is.chars().nth(VALUE_CHARS).is_some() => {
            let alike = was.chars().zip(is.chars()).take_while(|(a, b)| a == b).count();
            if alike < VALUE_CHARS / 2 { 0 } else { alike - VALUE_CHARS / 4 }
        }
        _ => 0,
    };
    let cut = |text: String| {
        let mut rest = text.chars().skip(skip);
        let mut short: String = if skip > 0 { "…".into() } else { String::new() };
        short.extend(rest.by_ref().take(VALUE_CHARS - usize::from(skip > 0)));
        if rest.next().is_some() {
            short.pop();
            short.push('…');
        }
        short
    };
    (was.map(cut), is.map(cut))
}

/// CAUSE: how an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CauseFields {
    /// The word: `exit`, `timeout`, …
    pub cause: String,
    /// Of `success` and `exit`.
    pub status: Option<i32>,
    /// The signal's number, of `signal`.
    pub signal: Option<i32>,
    /// Who sent a signal: `flow`, `kernel`, a person's name.
    pub by: Option<String>,
    /// Worded for a person: `exit status 1`.
    pub text: String,
}

impl CauseFields {
    /// Of a cause; flow itself stopped what timed out or was cancelled.
    pub fn of(cause: &Cause) -> CauseFields {
        let (word, status, signal, by) = match cause {
            Cause::Success => ("success", Some(0), None, None),
            Cause::Exit(status) => ("exit", Some(*status), None, None),
            Cause::Signal(number) => ("signal", None, Some(*number), None),
            Cause::Timeout(_) => ("timeout", None, None, Some("flow")),
            Cause::OutOfMemory { .. } => ("out_of_memory", None, None, Some("kernel")),
            Cause::NotStarted(_) => ("not_started", None, None, None),
            Cause::Cancelled => ("cancelled", None, None, Some("flow")),
            Cause::Lost(_) => ("lost", None, None, None),
            Cause::MissingOutputs(_) => ("missing_outputs", None, None, None),
            Cause::Checks(_) => ("checks", None, None, None),
            Cause::InputGone(_) => ("input_gone", None, None, None),
        };
        CauseFields { cause: word.into(), status, signal, by: by.map(Into::into), text: say::cause(cause) }
    }

    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        self.cause == "success"
    }
}

/// USAGE: what an attempt used; bytes `None` where nobody counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UsageFields {
    /// From start to end.
    pub wall_s: Secs,
    /// Processor time in the program.
    pub user_s: Secs,
    /// Processor time in the kernel.
    pub system_s: Secs,
    /// Largest memory of one process.
    pub peak_bytes: Option<u64>,
    /// Read from disk.
    pub read_bytes: Option<u64>,
    /// Written to disk.
    pub written_bytes: Option<u64>,
}

impl UsageFields {
    /// Of what an executor measured.
    pub fn of(usage: &Usage) -> UsageFields {
        UsageFields {
            wall_s: Secs(usage.wall),
            user_s: Secs(usage.user),
            system_s: Secs(usage.system),
            peak_bytes: usage.peak,
            read_bytes: usage.read,
            written_bytes: usage.written,
        }
    }
}

/// COUNTS: what became of the tasks of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Their command ran and ended well.
    pub ran: u64,
    /// Their result came from the cache.
    pub restored: u64,
    /// Nothing was to be done.
    pub up_to_date: u64,
    /// Failed.
    pub failed: u64,
    /// Failed, and were allowed to.
    pub failed_allowed: u64,
    /// Below a failure.
    pub not_run: u64,
    /// The run ended before them.
    pub not_started: u64,
    /// Their `when` is false.
    pub off: u64,
    /// All selected tasks; grows with run-time fan-out.
    pub total: u64,
}

impl Counts {
    /// Tasks of which nothing more is to come.
    pub fn done(&self) -> u64 {
        self.ran + self.restored + self.up_to_date + self.failed + self.failed_allowed + self.not_run + self.off
    }
}

/// A setting given on the command line.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SetPair {
    /// Its dotted name.
    pub key: String,
    /// Its value as it was written.
    pub value: String,
}

/// How a run stands or ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// All fine.
    Fine,
    /// A task failed.
    Failed,
    /// A signal ended it.
    Interrupted,
    /// There is no end on record.
    Killed,
    /// A word of a later flow.
    #[default]
    #[serde(other)]
    Unknown,
}

/// RUN: one run, whole.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// Its number; `None`: it found nothing to do, or is a worker.
    pub run: Option<u64>,
    /// The run it goes on with.
    pub resumes: Option<u64>,
    /// How it stands.
    pub state: RunState,
    /// When it started.
    pub started: Option<Time>,
    /// When it ended; `None` while it goes on and if it was killed.
    pub ended: Option<Time>,
    /// How long it took; `None` like `ended`.
    pub wall_s: Option<Secs>,
    /// Its exit code; `None` like `ended`.
    pub exit: Option<i32>,
    /// Its command line without the program.
    pub args: Vec<String>,
    /// What it was to bring up to date; empty is everything.
    pub selectors: Vec<String>,
    /// Profiles in their order.
    pub profiles: Vec<String>,
    /// `--set`.
    pub set: Vec<SetPair>,
    /// Slots.
    pub jobs: u32,
    /// Time that restored results would have taken.
    pub saved_s: Secs,
    /// What became of the tasks.
    pub counts: Counts,
}

/// The pipeline that a line or listing is about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PipelineFields {
    /// The file, relative to the workspace.
    pub file: String,
    /// Its name, else the file's stem.
    pub name: String,
    /// The workspace's absolute path.
    pub workspace: String,
}
