//! What a pipeline file says, typed, before anything is expanded.
//!
//! Owns the shape of the language's keys. `read` fills it in; `graph` gives it its meaning. Texts
//! that may hold `${{ }}` are [`Words`], with their place. Must hold: whatever the user wrote can be
//! pointed at.

use std::ops::Range;
use std::time::Duration;

use crate::diag::Span;
use crate::value::{Key, Style, Value};

/// A text as written, which may hold templates.
#[derive(Clone, PartialEq, Debug)]
pub struct Words {
    /// The text after quotes and escapes.
    pub text: String,
    /// Its place, quotes included.
    pub at: Span,
    /// How it stood in the file.
    pub style: Style,
}

impl Words {
    /// The place of a range of bytes of [`Words::text`], found in the source it was read from.
    pub fn place(&self, source: &str, range: Range<usize>) -> Span {
        crate::pipeline::yaml::inside(source, self.at, self.style, range)
    }
}

/// One pipeline file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Pipeline {
    /// `name`.
    pub name: Option<Words>,
    /// `description`.
    pub description: Option<Words>,
    /// `root`: the workspace, relative to the file.
    pub root: Option<Words>,
    /// `env`, given to every stage.
    pub env: Vec<Variable>,
    /// `pools`: named capacities.
    pub pools: Vec<(Key, u32)>,
    /// `keep_going`.
    pub keep_going: bool,
    /// `cache`.
    pub cache: CacheSettings,
    /// `config`: a map, if given.
    pub config: Option<Value>,
    /// The stages, in the order of the file.
    pub stages: Vec<Stage>,
}

/// `cache: {store, dir, size}`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CacheSettings {
    /// What is stored.
    pub store: Option<Store>,
    /// Where, if not `.flow/cache`.
    pub dir: Option<Words>,
    /// Its limit in bytes.
    pub size: Option<u64>,
}

/// What goes into the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Store {
    /// Outputs up to 16 MiB, larger ones where a reflink can be had.
    #[default]
    Auto,
    /// Everything.
    All,
    /// Nothing.
    Off,
}

/// A variable of `env`.
#[derive(Clone, PartialEq, Debug)]
pub struct Variable {
    /// Its name.
    pub name: Key,
    /// Its value; `None` (null) is the caller's.
    pub value: Option<Words>,
}

/// One stage.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    /// Its name.
    pub name: Key,
    /// Its body.
    pub at: Span,
    /// `description`.
    pub description: Option<Words>,
    /// `tags`.
    pub tags: Vec<Words>,
    /// `cmd` or `argv`.
    pub command: Command,
    /// Place of `cmd` or `argv`, its value.
    pub command_at: Span,
    /// `foreach`: the axes, in the order of the file.
    pub foreach: Vec<Axis>,
    /// `exclude`: combinations of items that are left out.
    pub exclude: Vec<Exclusion>,
    /// `inputs`.
    pub inputs: Entries<Input>,
    /// `outputs`.
    pub outputs: Entries<Output>,
    /// `tools`.
    pub tools: Vec<Tool>,
    /// `params`: dotted names of settings.
    pub params: Vec<Words>,
    /// `env`.
    pub env: Vec<Variable>,
    /// `needs`.
    pub needs: Vec<From>,
    /// `runs`.
    pub runs: Runs,
    /// `shell`, split into words; `None` is the default.
    pub shell: Option<(Vec<String>, Span)>,
    /// `dir`.
    pub dir: Option<Words>,
    /// `resources`.
    pub resources: Vec<(Key, Amount)>,
    /// `timeout`.
    pub timeout: Option<Duration>,
    /// `grace`.
    pub grace: Option<Duration>,
    /// `retries`.
    pub retries: u16,
    /// `cache: false` is `false`.
    pub cache: bool,
}

/// The command of a stage.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// `cmd`: a script for the shell.
    Shell(Words),
    /// `argv`: no shell.
    Argv(Vec<Words>),
}

/// A list or a map of entries, or one entry alone.
#[derive(Clone, PartialEq, Debug)]
pub struct Entries<T> {
    /// The entries; in a map each has its name.
    pub list: Vec<(Option<Key>, T)>,
    /// Written as one path: it is that path everywhere, not a list of one.
    pub single: bool,
    /// Place of the whole value; of a key that is absent the place of the stage's name.
    pub at: Span,
}

/// An entry of `inputs`.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A text: a path, a folder (`/` at the end) or a glob; or a template that yields paths.
    Text(Words),
    /// `{path: p, optional: …, exclude: …}`; `exclude` only for folders.
    Path {
        /// The path.
        path: Words,
        /// May be missing.
        optional: bool,
        /// Globs below the folder that do not count.
        exclude: Vec<Words>,
    },
    /// `{glob: g, exclude: …, optional: …}`.
    Glob {
        /// The pattern.
        glob: Words,
        /// Patterns that are left out.
        exclude: Vec<Words>,
        /// May match nothing.
        optional: bool,
    },
    /// `{from: stage, …}`.
    From(From),
}

/// `{from: stage, output: name, where: …, optional: true}`, also an entry of `needs`.
#[derive(Clone, PartialEq, Debug)]
pub struct From {
    /// The stage.
    pub stage: Words,
    /// Named outputs; empty: all.
    pub output: Vec<Words>,
    /// Which of its tasks.
    pub filter: Vec<Where>,
    /// May be none.
    pub optional: bool,
    /// Place of the entry.
    pub at: Span,
}

/// One axis of `where`.
#[derive(Clone, PartialEq, Debug)]
pub struct Where {
    /// The axis.
    pub axis: Key,
    /// `None`: equal to mine. Else any of these (texts, or an expression in `${{ }}` that yields one or a list).
    pub values: Option<Vec<Words>>,
}

/// An entry of `outputs`.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The path; `/` at the end: a folder.
    pub path: Words,
    /// May be absent after success.
    pub optional: bool,
}

/// An entry of `tools`.
#[derive(Clone, PartialEq, Debug)]
pub enum Tool {
    /// A program of PATH, or a file or glob of the workspace.
    Named(Words),
    /// `{python: python3 --version}`: the answer counts.
    Asked {
        /// Its name.
        name: Key,
        /// The command, for the shell.
        command: Words,
    },
}

/// An axis of `foreach`.
#[derive(Clone, PartialEq, Debug)]
pub struct Axis {
    /// Its name.
    pub name: Key,
    /// Its items.
    pub items: Items,
}

/// One entry of `exclude`: axes with the keys of the items that are left out, any of a list; what
/// matches in all its axes is no task.
pub type Exclusion = Vec<(Key, Vec<Value>)>;

/// Where an axis takes its items from.
#[derive(Clone, PartialEq, Debug)]
pub enum Items {
    /// An expression, with or without `${{ }}`.
    Expression(Words),
    /// A list or map as written; texts in it may hold templates.
    Literal(Value),
}

/// `runs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// When it is stale.
    #[default]
    Auto,
    /// In every run.
    Always,
    /// Only when its own name is selected, or a selected task needs it.
    Manual,
    /// Its files count as they are.
    Never,
}

/// An amount under `resources`.
#[derive(Clone, PartialEq, Debug)]
pub struct Amount {
    /// Cpus or pool units; bytes for `memory`.
    pub amount: u64,
    /// Its place.
    pub at: Span,
}
