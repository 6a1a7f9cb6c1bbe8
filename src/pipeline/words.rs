//! The words of the language, those that come later, and those of other tools.
//!
//! Owns the lists: what a key may be in each place, and what is said of one that is none. Never
//! reads a file. Must hold: a word is in one list of its place only.

/// Where a key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The top of the file.
    File,
    /// In a stage.
    Stage,
    /// In an entry of `inputs`.
    Input,
    /// In an entry of `outputs`.
    Output,
    /// In an entry of `needs`.
    Need,
    /// Under `cache` at the top.
    Cache,
}

/// The keys that mean something in a place.
pub fn keys(place: Place) -> &'static [&'static str] {
    match place {
        Place::File => &["version", "name", "description", "root", "env", "pools", "keep_going", "cache", "config", "stages"],
        Place::Stage => &[
            "cmd",
            "argv",
            "inputs",
            "outputs",
            "tools",
            "params",
            "env",
            "tags",
            "description",
            "foreach",
            "exclude",
            "needs",
            "runs",
            "shell",
            "dir",
            "resources",
            "timeout",
            "grace",
            "retries",
            "cache",
        ],
        Place::Input => &["path", "glob", "from", "optional", "exclude", "output", "where"],
        Place::Output => &["path", "optional"],
        Place::Need => &["from", "where"],
        Place::Cache => &["store", "dir", "size"],
    }
}

/// Keys of the language that this version does not know yet; an entry goes when its key comes.
const LATER: &[(Place, &[&str])] = &[
    (Place::File, &["include", "config_files", "secrets", "profiles", "defaults", "queues", "outside", "notify", "keep"]),
    (Place::Stage, &["checks", "when", "take", "give", "allow_failure", "checkpoint", "depfile"]),
    (Place::Output, &["persist", "report"]),
];

/// Forms of an axis that this version does not know yet.
pub const LATER_AXES: &[&str] = &["glob", "table", "lines", "dates", "from"];

/// Whether a key is one of a later version.
pub fn is_later(place: Place, word: &str) -> bool {
    LATER.iter().any(|(at, words)| *at == place && words.contains(&word))
}

/// All keys that come with a later version.
pub fn all_later() -> impl Iterator<Item = (Place, &'static str)> {
    LATER.iter().flat_map(|(place, words)| words.iter().map(|word| (*place, *word)))
}

/// What is said of anything that comes with a later version; a key in `what` stands in backquotes.
pub fn later(what: &str) -> String {
    format!("{what} is not in this version of flow yet")
}

/// A word of another tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// Where it is looked for.
    pub place: Place,
    /// The word.
    pub word: &'static str,
    /// The key it is another word for, if its value would do as it is.
    pub means: Option<&'static str>,
    /// What to write, as a label under the mark; empty: `did you mean` that key.
    pub say: &'static str,
}

/// Words that are another name of a key.
const RENAMED: &[(Place, &str, &[&str])] = &[
    (
        Place::Stage,
        "inputs",
        &[
            "deps",
            "dep",
            "dependencies",
            "input",
            "sources",
            "source",
            "src",
            "srcs",
            "infiles",
            "reads",
            "requires_files",
            "in",
            "params_files",
        ],
    ),
    (
        Place::Stage,
        "outputs",
        &["outs", "out", "output", "generates", "products", "produces", "outfiles", "targets", "artifacts", "writes", "metrics", "plots"],
    ),
    (
        Place::Stage,
        "cmd",
        &[
            "run",
            "script",
            "scripts",
            "cmds",
            "command",
            "commands",
            "shell_cmd",
            "shell_command",
            "exec",
            "execute",
            "entrypoint",
            "bash",
            "recipe",
            "action",
            "program",
        ],
    ),
    (
        Place::Stage,
        "foreach",
        &["matrix", "for", "for_each", "each", "with_items", "loop", "scatter", "wildcards", "expand", "strategy", "axes"],
    ),
    (
        Place::Stage,
        "needs",
        &["depends_on", "depends", "dependsOn", "after", "requires", "prereqs", "prerequisites", "upstream", "order_only"],
    ),
    (Place::Stage, "env", &["environment", "environ", "envs"]),
    (Place::Stage, "tools", &["tool", "programs", "requirements", "scripts_used"]),
    (Place::Stage, "params", &["param", "parameters"]),
    (Place::Stage, "description", &["desc", "doc", "docs", "help", "summary", "comment", "message", "title"]),
    (Place::Stage, "dir", &["cwd", "wdir", "workdir", "working_dir", "working-dir", "working-directory", "working_directory", "chdir"]),
    (Place::Stage, "retries", &["retry", "attempts", "max_retries", "errors"]),
    (Place::Stage, "timeout", &["time", "timelimit", "time_limit", "walltime", "timeout-minutes", "max_time"]),
    (Place::Stage, "tags", &["tag", "group", "groups", "label", "labels"]),
    (
        Place::File,
        "stages",
        &[
            "stage",
            "tasks",
            "task",
            "jobs",
            "job",
            "steps",
            "rules",
            "rule",
            "targets",
            "target",
            "workflow",
            "pipeline",
            "processes",
            "nodes",
        ],
    ),
    (Place::File, "config", &["vars", "variables", "params", "parameters", "settings", "configuration", "options"]),
    (Place::File, "env", &["environment", "environ", "envs"]),
    (Place::File, "description", &["desc", "doc", "docs", "help", "summary"]),
    (Place::File, "name", &["title", "project"]),
    (Place::File, "root", &["workspace", "workdir", "working_dir", "working-directory", "wdir", "cwd", "dir"]),
    (Place::File, "pools", &["resources", "pool", "limits", "semaphores", "concurrency"]),
    (Place::File, "keep_going", &["keep-going", "keepgoing", "keep_on"]),
    (Place::Input, "path", &["file", "files", "folder", "paths", "dir"]),
    (Place::Input, "glob", &["pattern", "globs", "wildcard"]),
    (Place::Input, "from", &["stage", "task", "rule", "of"]),
    (Place::Input, "output", &["outputs", "name", "out"]),
    (Place::Input, "exclude", &["except", "ignore", "not", "excluding"]),
    (Place::Input, "where", &["filter", "match", "with"]),
    (Place::Output, "path", &["file", "files", "folder", "paths", "dir"]),
    (Place::Need, "from", &["stage", "task", "rule", "of"]),
    (Place::Need, "where", &["filter", "match", "with"]),
    (Place::Cache, "dir", &["path", "folder", "location"]),
    (Place::Cache, "size", &["max_size", "limit", "max"]),
    (Place::Cache, "store", &["mode", "enabled", "policy"]),
];

/// Words that need more than another name.
const REWORDED: &[(Place, &[&str], &str)] = &[
    (Place::Stage, &["always", "phony"], "write `runs: always`"),
    (Place::Stage, &["manual"], "write `runs: manual`"),
    (Place::Stage, &["frozen"], "write `runs: never`"),
    (Place::Stage, &["if", "only", "condition", "unless", "rules"], "flow calls this `when`, which is not in this version yet"),
    (Place::Stage, &["vars", "variables", "config"], "settings stand under `config` at the top of the file; `env` sets variables"),
    (Place::Stage, &["threads", "cpus", "cores", "cpu", "ncpus"], "write `resources: {cpus: 4}`"),
    (Place::Stage, &["resources.mem", "resources.memory", "mem", "mem_mb", "memory", "ram"], "write `resources: {memory: 4GiB}`"),
    (Place::Stage, &["resources.cpus", "resources.threads"], "write `resources: {cpus: 4}`"),
    (Place::Stage, &["pool", "pools"], "write `resources: {db: 1}` with the pool's name; its size stands under `pools` at the top"),
    (
        Place::Stage,
        &["continue-on-error", "continue_on_error", "ignore_error", "ignore_errors", "allow-failure"],
        "flow calls this `allow_failure`, which is not in this version yet",
    ),
    (Place::Stage, &["stdin"], "write `< file` in `cmd` and name the file under `inputs`"),
    (Place::Stage, &["stdout", "stderr"], "write `> file` in `cmd` and name the file under `outputs`"),
    (
        Place::Stage,
        &["parallel", "jobs", "max_parallel", "max-parallel"],
        "stages run in parallel where they can; `flow run -j 4` sets how many",
    ),
    (Place::Stage, &["log", "logs"], "flow keeps what a command prints: `flow log` shows it"),
    (Place::Stage, &["benchmark", "profile"], "flow measures every task: `flow status --json` and `events.jsonl` have it"),
    (Place::Stage, &["priority"], "flow orders by the longest path; `needs` puts one stage before another"),
    (
        Place::Stage,
        &["container", "image", "docker", "singularity", "apptainer", "conda", "envmodules"],
        "flow starts no containers or environments: start them in `cmd`",
    ),
    (Place::Stage, &["temp", "temporary", "tmp", "protected"], "outputs stay; `${{ tmp }}` is a scratch folder"),
    (Place::Stage, &["persist"], "it belongs to an output: `outputs: {path: p, persist: true}`; not in this version yet"),
    (Place::Stage, &["optional"], "it belongs to an entry: `{path: p, optional: true}`"),
    (Place::Stage, &["steps", "tasks"], "a stage has one command: write several lines below `cmd: |`, or several stages"),
    (
        Place::Stage,
        &["status", "preconditions", "checksum", "method"],
        "flow compares contents by itself: name the files under `inputs` and `outputs`",
    ),
    (Place::Stage, &["silent", "quiet", "interactive"], "flow shows a command's output only where it failed: `flow log` has it all"),
    (
        Place::Stage,
        &["uses", "with", "on", "triggers", "schedule", "executor", "runs-on", "runs_on"],
        "flow has no such key: a stage is a command with its files",
    ),
    (Place::Stage, &["name"], "a stage's name is its key under `stages`; `description` is free text"),
    (Place::File, &["on", "triggers", "trigger", "schedule", "cron"], "flow runs when it is called: `flow run` from cron or CI"),
    (Place::File, &["jobs_limit", "parallel", "threads", "cores", "max_parallel"], "`flow run -j 4` sets how many run at once"),
    (Place::File, &["includes", "import", "imports"], "flow calls this `include`, which is not in this version yet"),
    (Place::File, &["configfile", "config_file", "configfiles"], "flow calls this `config_files`, which is not in this version yet"),
    (
        Place::File,
        &["executor", "services", "containers", "container", "image"],
        "flow starts no services or containers: start them in a stage",
    ),
    (Place::File, &["fail_fast", "fail-fast"], "failing fast is the default: `keep_going: true` is the other"),
    (Place::Output, &["glob", "pattern"], "outputs are files and folders by name: end a folder with `/`"),
    (Place::Output, &["from"], "`from` belongs to `inputs`"),
    (Place::Output, &["cache", "temp", "protected"], "an output has no such key; `cache: false` belongs to the stage"),
    (Place::Input, &["persist"], "`persist` belongs to `outputs`"),
    (Place::Need, &["output", "optional"], "`needs` is order only: put it under `inputs` if its files are read"),
];

/// What is known of a word of another tool.
pub fn foreign(place: Place, word: &str) -> Option<Foreign> {
    for (at, key, words) in RENAMED {
        if *at == place
            && let Some(word) = words.iter().find(|known| **known == word)
        {
            return Some(Foreign { place, word, means: Some(key), say: "" });
        }
    }
    for (at, words, say) in REWORDED {
        if *at == place
            && let Some(word) = words.iter().find(|known| **known == word)
        {
            return Some(Foreign { place, word, means: None, say });
        }
    }
    None
}

/// All words of other tools that get a hint.
pub fn all_foreign() -> impl Iterator<Item = Foreign> {
    let renamed =
        RENAMED.iter().flat_map(|(place, key, words)| words.iter().map(|word| Foreign { place: *place, word, means: Some(key), say: "" }));
    let reworded =
        REWORDED.iter().flat_map(|(place, words, say)| words.iter().map(|word| Foreign { place: *place, word, means: None, say }));
    renamed.chain(reworded)
}

/// The nearest of some words, if one is near enough to be a slip.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    // A long word is no slip of a key, and comparing it costs its square.
    if word.len() > 64 {
        return None;
    }
    let score = |known: &str| strsim::damerau_levenshtein(&word, known);
    let limit = |known: &str| (known.len().max(word.len()) / 3).max(1);
    known
        .into_iter()
        .map(|known| (score(known), known))
        .filter(|(score, known)| *score <= limit(known))
        .min_by_key(|(score, _)| *score)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_in_one_list() {
        let mut seen = std::collections::HashSet::new();
        for foreign in all_foreign() {
            assert!(seen.insert((foreign.place as u8, foreign.word)), "{foreign:?} twice");
            assert!(!keys(foreign.place).contains(&foreign.word), "{foreign:?} is a key");
            assert!(!is_later(foreign.place, foreign.word), "{foreign:?} comes later");
            assert_eq!(super::foreign(foreign.place, foreign.word), Some(foreign));
            if let Some(key) = foreign.means {
                assert!(keys(foreign.place).contains(&key), "{foreign:?}");
            } else {
                assert!(!foreign.say.is_empty() && !foreign.say.ends_with('.'), "{foreign:?}");
            }
        }
        for (place, words) in LATER {
            for word in *words {
                assert!(!keys(*place).contains(word), "{word} is a key by now");
            }
        }
    }

    #[test]
    fn slips_find_their_key() {
        let stage = |word| nearest(word, keys(Place::Stage).iter().copied());
        for (word, want) in [
            ("imputs", Some("inputs")),
            ("Inputs", Some("inputs")),
            ("comd", Some("cmd")),
            ("time-out", Some("timeout")),
            ("forech", Some("foreach")),
            ("zebra", None),
            ("x", None),
        ] {
            assert_eq!(stage(word), want, "{word}");
        }
        assert_eq!(stage(&"inputs".repeat(100_000)), None);
    }
}
