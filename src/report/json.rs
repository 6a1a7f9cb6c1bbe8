//! The objects that listing commands print with `--json`; `cli` only fills them in.
//!
//! Owns their shapes. Must hold: a field is always there, `null`
//! where it does not apply; none changes its name, type or unit without a new
//! [`crate::event::SHAPE`].

use serde::Serialize;

use crate::diag::{Diagnostic, Lines, Severity, Sources, Span};
use crate::event::{CauseFields, DigestText, PipelineFields, ReasonFields, Run, SHAPE, Secs, TaskFields, Time, UsageFields};

/// What a listing command prints after the head that all have.
pub trait Listing: Serialize {
    /// Its `kind`: the command's name.
    const KIND: &'static str;

    /// The whole object, without a newline.
    fn text(&self, pipeline: &PipelineFields) -> String {
        #[derive(Serialize)]
        struct Object<'a, T: ?Sized> {
            flow: u32,
            kind: &'static str,
            pipeline: &'a PipelineFields,
            #[serde(flatten)]
            rest: &'a T,
        }
        // No shape here has a map with keys that are not text, the one thing that could fail.
        serde_json::to_string(&Object { flow: SHAPE, kind: Self::KIND, pipeline, rest: self }).unwrap_or_default()
    }
}

macro_rules! listings {
    ($($shape:ident $kind:literal),*) => {
        $(impl Listing for $shape { const KIND: &'static str = $kind; })*
    };
}

listings!(PlanJson "plan", StatusJson "status", WhyJson "why", GraphJson "graph", LogJson "log", CheckJson "check", HistoryJson "history");

/// What a run would do with a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// Nothing.
    UpToDate,
    /// Bring its result back.
    Restore,
    /// Run it.
    Run,
    /// Run it if what is made above comes out different: `run?`.
    Pending,
    /// `runs: never`, and its files are neither there nor in the cache: it would fail.
    Missing,
}

/// `runs` of a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunsWord {
    /// When it is stale.
    #[default]
    Auto,
    /// In every run.
    Always,
    /// When it is named or needed.
    Manual,
    /// Never.
    Never,
}

/// `flow plan`
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PlanJson {
    /// Slots.
    pub jobs: u32,
    /// How long it will take; `None`: nothing is known yet.
    pub estimate_s: Option<Secs>,
    /// How many of each verdict.
    pub counts: PlanCounts,
    /// All selected tasks, in the order they would start.
    pub tasks: Vec<PlanTask>,
    /// Stages whose items are not known.
    pub open: Vec<OpenStage>,
}

/// How many tasks of each verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PlanCounts {
    /// To run.
    pub run: u64,
    /// Perhaps to run.
    pub pending: u64,
    /// To restore.
    pub restore: u64,
    /// Up to date.
    pub up_to_date: u64,
}

/// A task of a plan.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PlanTask {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// What would be done.
    pub verdict: VerdictWord,
    /// Why.
    pub reasons: Vec<ReasonFields>,
    /// Of `pending`: the tasks that decide it.
    pub waits_for: Vec<String>,
    /// How long its command will take.
    pub estimate_s: Option<Secs>,
    /// Bytes to bring back.
    pub restore_bytes: Option<u64>,
    /// `runs` of its stage.
    pub runs: RunsWord,
}

/// A stage whose items are not known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OpenStage {
    /// The stage.
    pub stage: String,
    /// The stage that makes its items.
    pub waits_for: String,
    /// How many there were last.
    pub last_items: Option<u64>,
}

/// How a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateWord {
    /// Up to date.
    UpToDate,
    /// Would or may run, or be restored.
    Stale,
    /// Its last attempt failed.
    Failed,
    /// flow died while it ran.
    Interrupted,
    /// Below a failure.
    Blocked,
    /// Never ran.
    NeverRan,
    /// Runs now.
    Running,
    /// An answer is missing.
    Unknown,
    /// Its `when` is false.
    Off,
}

/// What the exit code of `status --check` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckWord {
    /// All up to date; manual, never and allowed failures left out.
    Fine,
    /// Something is not.
    Stale,
}

/// `flow status`
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StatusJson {
    /// The newest run that is over.
    pub last_run: Option<Run>,
    /// The run that goes on.
    pub running: Option<Run>,
    /// What `--check` says.
    pub check: CheckWord,
    /// How many of each state.
    pub counts: StatusCounts,
    /// All tasks.
    pub tasks: Vec<StatusTask>,
    /// Tasks that are gone, with what they left.
    pub gone: Vec<GoneTask>,
}

/// How many tasks of each state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "see `StateWord`")]
pub struct StatusCounts {
    pub up_to_date: u64,
    pub stale: u64,
    pub failed: u64,
    pub interrupted: u64,
    pub blocked: u64,
    pub never_ran: u64,
    pub running: u64,
    pub unknown: u64,
    pub off: u64,
}

impl StatusCounts {
    /// Counts one task.
    pub fn add(&mut self, state: StateWord) {
        *match state {
            StateWord::UpToDate => &mut self.up_to_date,
            StateWord::Stale => &mut self.stale,
            StateWord::Failed => &mut self.failed,
            StateWord::Interrupted => &mut self.interrupted,
            StateWord::Blocked => &mut self.blocked,
            StateWord::NeverRan => &mut self.never_ran,
            StateWord::Running => &mut self.running,
            StateWord::Unknown => &mut self.unknown,
            StateWord::Off => &mut self.off,
        } += 1;
    }
}

/// A task and how it stands.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StatusTask {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// How it stands.
    pub state: StateWord,
    /// What a run would do.
    pub verdict: VerdictWord,
    /// Why.
    pub reasons: Vec<ReasonFields>,
    /// `runs` of its stage.
    pub runs: RunsWord,
    /// Of its stage.
    pub description: Option<String>,
    /// Its last attempt.
    pub last: Option<LastAttempt>,
    /// The run whose answers of tool, config and secret commands were used; `None`: exact.
    pub as_of: Option<u64>,
}

/// The last attempt of a task.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LastAttempt {
    /// Its run.
    pub run: u64,
    /// Counts from 1.
    pub attempt: u32,
    /// When it ended.
    pub ended: Time,
    /// How it ended.
    pub result: CauseFields,
    /// USAGE
    #[serde(flatten)]
    pub usage: UsageFields,
    /// Its log.
    pub log: Option<String>,
}

/// A task that is gone from the file.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GoneTask {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// What it left.
    pub outputs: Vec<GoneOutput>,
}

/// A file that a task left that is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GoneOutput {
    /// Where; a folder ends in `/`.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
}

/// `flow why`
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WhyJson {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// What a run would do.
    pub verdict: VerdictWord,
    /// Why, each with its causes down to the first.
    pub reasons: Vec<ReasonFields>,
    /// How many parts of the key are as they were.
    pub same: SameParts,
    /// Inputs found in the command's text.
    pub automatic: Vec<String>,
    /// The key; `None` while a part of it is not known.
    pub key: Option<DigestText>,
    /// The last good attempt.
    pub last_good: Option<LastGood>,
}

/// Parts of a key that are as they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "counts of the parts they name")]
pub struct SameParts {
    pub command: u64,
    pub inputs: u64,
    pub config: u64,
    pub tools: u64,
    pub env: u64,
}

/// The last good attempt of a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LastGood {
    /// Its run.
    pub run: u64,
    /// When it ended.
    pub ended: Time,
    /// How long it took.
    pub wall_s: Secs,
}

/// `flow graph`
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GraphJson {
    /// Stages, or tasks with `--tasks`.
    pub nodes: Vec<GraphNode>,
    /// What makes what for whom.
    pub edges: Vec<GraphEdge>,
}

/// A stage or a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GraphNode {
    /// The stage's or the task's name.
    pub id: String,
    /// The stage.
    pub stage: String,
    /// How many tasks it stands for.
    pub tasks: u64,
    /// How it stands; `None`: not asked for.
    pub state: Option<StateWord>,
    /// Of the stage.
    pub description: Option<String>,
}

/// What an edge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeWord {
    /// A file of one is read by the other.
    File,
    /// The other reruns when one ran.
    Stamp,
    /// Order only.
    Order,
}

/// An edge between two nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GraphEdge {
    /// Its start.
    pub from: String,
    /// Its end.
    pub to: String,
    /// What it is.
    pub edge: EdgeWord,
    /// The files, at most 10.
    pub paths: Vec<String>,
    /// How many edges between tasks it stands for.
    pub count: u64,
}

/// `flow log`
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LogJson {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// The run.
    pub run: u64,
    /// Counts from 1.
    pub attempt: u32,
    /// How it ended; `None`: it has not.
    pub result: Option<CauseFields>,
    /// The log's path.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its text; bytes that are not UTF-8 as U+FFFD.
    pub text: String,
}

/// `flow history` without a task
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct HistoryJson {
    /// Newest first.
    pub runs: Vec<Run>,
}

/// `flow check`, and faults of any other command
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CheckJson {
    /// How many of each.
    pub counts: CheckCounts,
    /// In the order of the file.
    pub diagnostics: Vec<DiagnosticJson>,
}

/// How many errors and warnings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CheckCounts {
    /// Nothing runs.
    pub error: u64,
    /// Said only.
    pub warning: u64,
}

/// A fault or warning.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DiagnosticJson {
    /// `error` or `warning`.
    pub severity: Severity,
    /// A stable word.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Where it starts.
    pub place: String,
    /// Where it ends: one past the last character.
    pub end: String,
    /// What is said beside the mark.
    pub label: Option<String>,
    /// Other places.
    pub also: Vec<AlsoJson>,
    /// What to do.
    pub hint: Option<String>,
}

/// Another place of a fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AlsoJson {
    /// Where it starts.
    pub place: String,
    /// Where it ends.
    pub end: String,
    /// What is there.
    pub label: String,
}

impl CheckJson {
    /// Of what was found; `sources` are the files that the spans point into.
    pub fn of(diagnostics: &[Diagnostic], sources: &Sources) -> CheckJson {
        let files: Vec<Lines> = sources.files().iter().map(|source| Lines::new(&source.text)).collect();
        let place = |at: Span| match (files.get(at.file as usize), sources.get(at.file)) {
            (Some(lines), Some(source)) => sources.show(lines.place(&source.text, at)),
            _ => "?:1:1".into(),
        };
        let end = |at: Span| place(Span { start: at.end, ..at });
        let mut counts = CheckCounts::default();
        let diagnostics = diagnostics
            .iter()
            .map(|found| {
                match found.severity {
                    Severity::Error => counts.error += 1,
                    Severity::Warning => counts.warning += 1,
                }
                DiagnosticJson {
                    severity: found.severity,
                    code: found.code.into(),
                    message: found.message.clone(),
                    place: place(found.at),
                    end: end(found.at),
                    label: (!found.label.is_empty()).then(|| found.label.clone()),
                    also: found
                        .also
                        .iter()
                        .map(|also| AlsoJson { place: place(also.at), end: end(also.at), label: also.label.clone() })
                        .collect(),
                    hint: found.hint.clone(),
                }
            })
            .collect();
        CheckJson { counts, diagnostics }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::attempt::Cause;
    use crate::event::reason_fields;
    use crate::hash::Digest;
    use crate::plan::reason::Reason;

    fn check(listing: &impl Listing, rest: &str) {
        let pipeline = PipelineFields { file: "etl.yaml".into(), name: "etl".into(), workspace: "/w".into() };
        let head = r#"{"flow":1,"kind":"KIND","pipeline":{"file":"etl.yaml","name":"etl","workspace":"/w"},"#;
        fn kind<T: Listing>(_: &T) -> &'static str {
            T::KIND
        }
        assert_eq!(listing.text(&pipeline), head.replace("KIND", kind(listing)) + rest + "}");
    }

    fn task() -> TaskFields {
        TaskFields::of(&"clean@c=a".into())
    }

    const TASK: &str = r#""task":"clean@c=a","stage":"clean","axes":{"c":"a"}"#;
    const NEVER: &str = r#"{"reason":"never_ran","what":null,"was":null,"is":null,"place":null,"task":null,"because":[]}"#;
    const USAGE: &str = r#""wall_s":0.0,"user_s":0.0,"system_s":0.0,"peak_bytes":null,"read_bytes":null,"written_bytes":null"#;
    const FINE: &str = r#"{"cause":"success","status":0,"signal":null,"by":null,"text":"exit status 0"}"#;

    fn never() -> Vec<ReasonFields> {
        vec![reason_fields(&Reason::NeverRan, None)]
    }

    #[test]
    fn plan() {
        let plan = PlanJson {
            jobs: 2,
            estimate_s: Some(Secs(Duration::from_secs(15))),
            counts: PlanCounts { run: 1, pending: 1, restore: 1, up_to_date: 9 },
            tasks: vec![PlanTask {
                task: task(),
                verdict: VerdictWord::Run,
                reasons: never(),
                waits_for: Vec::new(),
                estimate_s: Some(Secs(Duration::from_secs(12))),
                restore_bytes: None,
                runs: RunsWord::Auto,
            }],
            open: vec![OpenStage { stage: "one".into(), waits_for: "split".into(), last_items: Some(40) }],
        };
        let want = format!(
            concat!(
                r#""jobs":2,"estimate_s":15.0,"counts":{{"run":1,"pending":1,"restore":1,"up_to_date":9}},"#,
                r#""tasks":[{{{},"verdict":"run","reasons":[{}],"waits_for":[],"estimate_s":12.0,"restore_bytes":null,"runs":"auto"}}],"#,
                r#""open":[{{"stage":"one","waits_for":"split","last_items":40}}]"#
            ),
            TASK, NEVER
        );
        check(&plan, &want);
    }

    #[test]
    fn status() {
        let mut counts = StatusCounts::default();
        for state in [StateWord::UpToDate, StateWord::Stale, StateWord::Stale] {
            counts.add(state);
        }
        let last = LastAttempt {
            run: 2031,
            attempt: 1,
            ended: Time(0),
            result: CauseFields::of(&Cause::Success),
            usage: UsageFields::default(),
            log: None,
        };
        let status = StatusJson {
            last_run: None,
            running: None,
            check: CheckWord::Stale,
            counts,
            tasks: vec![StatusTask {
                task: task(),
                state: StateWord::NeverRan,
                verdict: VerdictWord::UpToDate,
                reasons: never(),
                runs: RunsWord::Manual,
                description: None,
                last: Some(last),
                as_of: Some(2030),
            }],
            gone: vec![GoneTask { task: task(), outputs: vec![GoneOutput { path: "old/".into(), bytes: 10 }] }],
        };
        let want = format!(
            concat!(
                r#""last_run":null,"running":null,"check":"stale","counts":{{"up_to_date":1,"stale":2,"failed":0,"interrupted":0,"#,
                r#""blocked":0,"never_ran":0,"running":0,"unknown":0,"off":0}},"tasks":[{{{task},"state":"never_ran","verdict":"up_to_date","#,
                r#""reasons":[{never}],"runs":"manual","description":null,"last":{{"run":2031,"attempt":1,"ended":"1970-01-01T00:00:00.000Z","#,
                r#""result":{fine},{usage},"log":null}},"as_of":2030}}],"gone":[{{{task},"outputs":[{{"path":"old/","bytes":10}}]}}]"#
            ),
            task = TASK,
            never = NEVER,
            fine = FINE,
            usage = USAGE
        );
        check(&status, &want);
    }

    #[test]
    fn why() {
        let key = Digest::of(b"k");
        let why = WhyJson {
            task: task(),
            verdict: VerdictWord::Pending,
            reasons: Vec::new(),
            same: SameParts { command: 1, inputs: 2, config: 1, tools: 1, env: 0 },
            automatic: vec!["clean.py".into()],
            key: Some(DigestText(key)),
            last_good: Some(LastGood { run: 2031, ended: Time(0), wall_s: Secs(Duration::from_millis(3100)) }),
        };
        let want = format!(
            concat!(
                r#"{},"verdict":"pending","reasons":[],"same":{{"command":1,"inputs":2,"config":1,"tools":1,"env":0}},"#,
                r#""automatic":["clean.py"],"key":"b3:{}","last_good":{{"run":2031,"ended":"1970-01-01T00:00:00.000Z","wall_s":3.1}}"#
            ),
            TASK,
            key.hex()
        );
        check(&why, &want);
    }

    #[test]
    fn graph_log_history() {
        let graph = GraphJson {
            nodes: vec![GraphNode { id: "clean".into(), stage: "clean".into(), tasks: 80, state: None, description: None }],
            edges: vec![GraphEdge {
                from: "clean".into(),
                to: "report".into(),
                edge: EdgeWord::File,
                paths: vec!["clean/acme.csv".into()],
                count: 80,
            }],
        };
        check(
            &graph,
            concat!(
                r#""nodes":[{"id":"clean","stage":"clean","tasks":80,"state":null,"description":null}],"#,
                r#""edges":[{"from":"clean","to":"report","edge":"file","paths":["clean/acme.csv"],"count":80}]"#
            ),
        );
        let log = LogJson { task: task(), run: 1, attempt: 2, result: None, path: "p".into(), bytes: 3, text: "a\u{fffd}".into() };
        check(&log, &format!("{TASK},\"run\":1,\"attempt\":2,\"result\":null,\"path\":\"p\",\"bytes\":3,\"text\":\"a\u{fffd}\""));
        check(&HistoryJson { runs: Vec::new() }, r#""runs":[]"#);
    }

    #[test]
    fn faults_have_places() {
        let mut sources = Sources::default();
        let text = "stages:\n  é: {input: x}\n";
        let file = sources.add("p.yaml", text);
        let start = text.find("input").unwrap() as u32;
        let at = Span { file, start, end: start + 5 };
        let found = [
            Diagnostic::error("unknown_key", at, "unknown key `input`").label("did you mean `inputs`?").also(at, "here"),
            Diagnostic::warning("odd", Span { file: 9, start: 0, end: 0 }, "odd").hint("do that"),
        ];
        check(
            &CheckJson::of(&found, &sources),
            concat!(
                r#""counts":{"error":1,"warning":1},"diagnostics":[{"severity":"error","code":"unknown_key","message":"unknown key `input`","#,
                r#""place":"p.yaml:2:7","end":"p.yaml:2:12","label":"did you mean `inputs`?","also":[{"place":"p.yaml:2:7","end":"p.yaml:2:12","#,
                r#""label":"here"}],"hint":null},{"severity":"warning","code":"odd","message":"odd","place":"?:1:1","end":"?:1:1","label":null,"#,
                r#""also":[],"hint":"do that"}]"#
            ),
        );
    }
}
