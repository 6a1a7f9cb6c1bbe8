//! flow's own options: command line and environment, resolved once.
//!
//! Owns the shape of the command line; doc comments are the help texts. Never opens a file. Must hold:
//! nothing later reads the environment for an option.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs data pipelines: one YAML file, only what is stale, in parallel, and on after any crash.
#[derive(Parser, Debug)]
#[command(name = "flow", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Bring the selected tasks up to date
    Run(RunArgs),
    /// Go on with the newest run, if it did not end well
    Resume(ResumeArgs),
    /// Show what a run would do and why, without doing it
    Plan(PlanArgs),
    /// Print the graph, for `flow graph | dot -Tsvg`
    Graph(GraphArgs),
    /// Show what is up to date, stale, failed and running
    Status(StatusArgs),
    /// Tell why a task would run, or why not
    Why(WhyArgs),
    /// Print what a task's command wrote
    Log(LogArgs),
    /// Look for mistakes in the pipeline file
    Check(CheckArgs),
}

/// Which pipeline, and how to answer.
#[derive(Args, Debug, Clone, Default)]
pub struct Which {
    /// The pipeline file; without it FILE, else pipeline.yaml here or in a folder above
    #[arg(long, value_name = "FILE")]
    pub file: Option<String>,
    /// Change a setting for this call; later ones win
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Options of `flow run`.
#[derive(Args, Debug, Clone, Default)]
pub struct RunArgs {
    /// The pipeline file (if it ends in .yaml or .yml), then stages, tasks, output paths, tag:x, status:x or name globs
    #[arg(value_name = "FILE|SELECTOR")]
    pub words: Vec<String>,
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the whole command")]
    #[command(flatten)]
    pub which: Which,
    /// The pipeline file
    #[arg(short = 'f', hide = true, value_name = "FILE")]
    pub short_file: Option<String>,
    /// Tasks that run at once; the default is what this process may use
    #[arg(short, long, env = "FLOW_JOBS", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// A failure stops only what is below it
    #[arg(short, long, conflicts_with = "fail_fast")]
    pub keep_going: bool,
    /// A failure stops everything, whatever the file says
    #[arg(long)]
    pub fail_fast: bool,
    /// Run the selected tasks whatever stands; not the ancestors they bring along
    #[arg(long)]
    pub force: bool,
    /// Run the selected tasks without the ancestors they need; their inputs count as they are
    #[arg(long)]
    pub only: bool,
    /// Read every file again; trust no stamp
    #[arg(long)]
    pub rehash: bool,
    /// Wait if another run of this pipeline is going on
    #[arg(long)]
    pub wait: bool,
    /// Only show what would be done: the same as `flow plan`
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Options of `flow resume`.
#[derive(Args, Debug, Clone, Default)]
pub struct ResumeArgs {
    /// The pipeline file (if it ends in .yaml or .yml), then the number of the run to go on with
    #[arg(value_name = "FILE|RUN")]
    pub words: Vec<String>,
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the whole command")]
    #[command(flatten)]
    pub which: Which,
    /// The pipeline file
    #[arg(short = 'f', hide = true, value_name = "FILE")]
    pub short_file: Option<String>,
    /// Tasks that run at once; the default is what this process may use
    #[arg(short, long, env = "FLOW_JOBS", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Wait if another run of this pipeline is going on
    #[arg(long)]
    pub wait: bool,
}

/// Options of `flow plan`.
#[derive(Args, Debug, Clone, Default)]
pub struct PlanArgs {
    /// The pipeline file (if it ends in .yaml or .yml), then selectors
    #[arg(value_name = "FILE|SELECTOR")]
    pub words: Vec<String>,
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the whole command")]
    #[command(flatten)]
    pub which: Which,
    /// The pipeline file
    #[arg(short = 'f', hide = true, value_name = "FILE")]
    pub short_file: Option<String>,
    /// Tasks that would run at once, for the estimate
    #[arg(short, long, env = "FLOW_JOBS", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// As if with `flow run --force`
    #[arg(long)]
    pub force: bool,
    /// As if with `flow run --only`
    #[arg(long)]
    pub only: bool,
    /// Read every file again; trust no stamp
    #[arg(long)]
    pub rehash: bool,
}

/// Options of `flow graph`.
#[derive(Args, Debug, Clone, Default)]
pub struct GraphArgs {
    /// The pipeline file (if it ends in .yaml or .yml), then selectors
    #[arg(value_name = "FILE|SELECTOR")]
    pub words: Vec<String>,
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the whole command")]
    #[command(flatten)]
    pub which: Which,
    /// The pipeline file
    #[arg(short = 'f', hide = true, value_name = "FILE")]
    pub short_file: Option<String>,
    /// The language of the drawing
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
    /// Each task of a fan-out instead of one node with a count
    #[arg(long)]
    pub tasks: bool,
}

/// Languages of drawings.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GraphFormat {
    /// Graphviz
    #[default]
    Dot,
    /// Mermaid, as in Markdown pages
    Mermaid,
}

/// Options of `flow status`.
#[derive(Args, Debug, Clone, Default)]
pub struct StatusArgs {
    /// The pipeline file (if it ends in .yaml or .yml), then selectors
    #[arg(value_name = "FILE|SELECTOR")]
    pub words: Vec<String>,
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the whole command")]
    #[command(flatten)]
    pub which: Which,
    /// The pipeline file
    #[arg(short = 'f', hide = true, value_name = "FILE")]
    pub short_file: Option<String>,
    /// Exit with 3 unless everything is up to date
    #[arg(long)]
    pub check: bool,
    /// Ask tool commands again instead of using their last answers
    #[arg(long)]
    pub fresh: bool,
    /// Read every file again; trust no stamp
    #[arg(long)]
    pub rehash: bool,
}

/// Options of `flow why`.
#[derive(Args, Debug, Clone, Default)]
pub struct WhyArgs {
    /// The pipeline file (if it ends in .yaml or .yml), then a task, a stage or an output path
    #[arg(value_name = "FILE|TASK")]
    pub words: Vec<String>,
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the whole command")]
    #[command(flatten)]
    pub which: Which,
    /// The pipeline file
    #[arg(short = 'f', hide = true, value_name = "FILE")]
    pub short_file: Option<String>,
    /// Ask tool commands again instead of using their last answers
    #[arg(long)]
    pub fresh: bool,
}

/// Options of `flow log`.
#[derive(Args, Debug, Clone, Default)]
pub struct LogArgs {
    /// The pipeline file (if it ends in .yaml or .yml), then a task, a stage or an output path
    #[arg(value_name = "FILE|TASK")]
    pub words: Vec<String>,
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the whole command")]
    #[command(flatten)]
    pub which: Which,
    /// Go on printing while the command writes
    #[arg(short, long)]
    pub follow: bool,
    /// Of this run instead of the last
    #[arg(long, value_name = "RUN")]
    pub run: Option<u64>,
    /// Of this attempt instead of the last
    #[arg(long, value_name = "N")]
    pub attempt: Option<u16>,
}

/// Options of `flow check`.
#[derive(Args, Debug, Clone, Default)]
pub struct CheckArgs {
    /// The pipeline file
    #[arg(value_name = "FILE")]
    pub words: Vec<String>,
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the whole command")]
    #[command(flatten)]
    pub which: Which,
    /// The pipeline file
    #[arg(short = 'f', hide = true, value_name = "FILE")]
    pub short_file: Option<String>,
}

/// FILE apart from the other words: it is the first if it ends in .yaml or .yml and is not given by
/// an option.
pub fn split(words: &[String], file: Option<&String>) -> (Option<String>, Vec<String>) {
    match (file, words.split_first()) {
        (Some(file), _) => (Some(file.clone()), words.to_vec()),
        (None, Some((first, rest))) if is_pipeline_name(first) => (Some(first.clone()), rest.to_vec()),
        (None, _) => (None, words.to_vec()),
    }
}

fn is_pipeline_name(word: &str) -> bool {
    word.ends_with(".yaml") || word.ends_with(".yml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn file_is_the_first_word_if_it_looks_like_one() {
        let words = |list: &[&str]| list.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        assert_eq!(split(&words(&["p.yaml", "a"]), None), (Some("p.yaml".into()), words(&["a"])));
        assert_eq!(split(&words(&["a", "p.yaml"]), None), (None, words(&["a", "p.yaml"])));
        assert_eq!(split(&words(&["out.yaml"]), Some(&"p.yaml".into())), (Some("p.yaml".into()), words(&["out.yaml"])));
    }
}
