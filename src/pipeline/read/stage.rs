//! A stage and its keys.
//!
//! Owns what each key of a stage takes. Never looks at another stage. Must hold: a stage with faults
//! is in the spec under its name, so that what names it finds it.

use crate::diag::Span;
use crate::pipeline::read::{Reader, is_null, short, stand_in, units};
use crate::pipeline::spec::{Amount, Axis, Command, Entries, Exclusion, Items, Runs, Stage, Tool, Words};
use crate::pipeline::words::{self, Place};
use crate::value::{Data, Key, Meaning, Value};

/// Names that templates give a meaning to, so that no axis may have them.
const TAKEN: &[&str] = &[
    "config",
    "secrets",
    "env",
    "inputs",
    "outputs",
    "stage",
    "item",
    "attempt",
    "resources",
    "run",
    "tmp",
    "here",
    "root",
    "os",
    "arch",
    "profile",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
];

/// What was seen of a stage besides what its spec shows.
#[derive(Default)]
struct Seen {
    /// The places of the keys `cmd` and `argv`.
    cmd: Option<Span>,
    argv: Option<Span>,
    exclude: Option<Value>,
}

impl Reader {
    pub(super) fn stages(&mut self, value: Value, whole: bool) -> Vec<Stage> {
        let at = self.mark(&value);
        let entries = match value.data {
            Data::Map(entries) => entries,
            Data::Scalar(_) if is_null(&value) => Vec::new(),
            _ => {
                let fault = self.wrong("stages", "a map", &value, "each stage stands under its name");
                fault.hint = Some("write `clean:` and the stage's keys below it, without `-`".to_owned());
                return Vec::new();
            }
        };
        if entries.is_empty() && whole {
            let fault = self.error("missing", at, "`stages` is empty", "a pipeline needs a stage");
            fault.hint = Some(format!("the smallest pipeline is\n{}", super::SMALLEST));
        }
        entries.into_iter().map(|(name, value)| self.stage(name, value, whole)).collect()
    }

    fn stage(&mut self, name: Key, value: Value, whole: bool) -> Stage {
        self.key_at = name.at;
        let at = self.mark(&value);
        self.name("a stage", &name);
        let entries = match value.data {
            Data::Map(entries) => entries,
            Data::Scalar(_) if is_null(&value) => Vec::new(),
            _ => {
                self.error(
                    "wrong_type",
                    at,
                    format!("stage `{}` is {}", short(&name.text), value.kind()),
                    "a map with `cmd` is needed here",
                );
                return blank(name, at);
            }
        };
        let mut stage = blank(name, at);
        let mut seen = Seen::default();
        let mut meant: Vec<(&str, Key, Value)> = Vec::new();
        let mut excused = false;
        for (key, value) in entries {
            self.key_at = key.at;
            if let Err(value) = self.stage_key(&mut stage, &mut seen, &key.text, key.at, value) {
                let what = format!("stage `{}`", short(&stage.name.text));
                excused |= matches!(key.text.as_str(), "steps" | "tasks" | "uses");
                if let Some(means) = self.unknown(Place::Stage, &key, &what, &value) {
                    excused |= means == "cmd" || means == "argv";
                    meant.push((means, key, value));
                }
            }
        }
        for (means, key, value) in meant {
            if !given(&stage, &seen, means) {
                self.quietly(|reader| {
                    reader.key_at = key.at;
                    let _ = reader.stage_key(&mut stage, &mut seen, means, key.at, value);
                });
            }
        }
        match (seen.cmd, seen.argv) {
            (Some(cmd), Some(argv)) => {
                let (first, second) = if cmd < argv { (cmd, argv) } else { (argv, cmd) };
                let message = format!("stage `{}` has both `cmd` and `argv`", short(&stage.name.text));
                let fault = self.error("both", second, message, "one command is one of them");
                fault.also.push(crate::diag::Also { at: first, label: "the other one".to_owned() });
            }
            (None, None) if whole && !excused => {
                let message = format!("stage `{}` has no command", short(&stage.name.text));
                self.error("missing", stage.name.at, message, "`cmd` or `argv` is missing");
            }
            _ => {}
        }
        if let Some(value) = seen.exclude {
            stage.exclude = self.exclude(value, &stage.foreach);
        }
        stage
    }

    /// A key of a stage; gives the value back if there is no such key.
    fn stage_key(&mut self, stage: &mut Stage, seen: &mut Seen, key: &str, at: Span, value: Value) -> Result<(), Value> {
        if is_null(&value) && words::keys(Place::Stage).contains(&key) {
            return Ok(());
        }
        match key {
            "cmd" => {
                seen.cmd = Some(at);
                stage.command_at = value.at;
                stage.command = Command::Shell(self.cmd(value));
            }
            "argv" => {
                seen.argv = Some(at);
                stage.command_at = value.at;
                stage.command = Command::Argv(self.argv(value));
            }
            "inputs" => stage.inputs = self.inputs(value),
            "outputs" => stage.outputs = self.outputs(value),
            "tools" => stage.tools = self.tools(value),
            "params" => stage.params = self.texts(key, value),
            "env" => stage.env = self.env(value),
            "tags" => stage.tags = self.texts(key, value),
            "description" => stage.description = self.text(key, value),
            "foreach" => stage.foreach = self.foreach(value),
            "exclude" => seen.exclude = Some(value),
            "needs" => stage.needs = self.needs(value),
            "runs" => stage.runs = self.runs(&value),
            "shell" => stage.shell = self.shell(value),
            "dir" => stage.dir = self.filled(key, value),
            "resources" => stage.resources = self.resources(value),
            "timeout" => {
                stage.timeout = self.duration(key, &value);
                if stage.timeout.is_some_and(|timeout| timeout.is_zero()) {
                    self.error("duration", value.at, "a `timeout` of nothing stops every attempt at once", "leave it out for none");
                }
            }
            "grace" => stage.grace = self.duration(key, &value),
            "retries" => stage.retries = self.retries(&value),
            "cache" => {
                if matches!(value.data, Data::Map(_)) {
                    self.wrong(key, "true or false", &value, "in a stage only; a map belongs to the top of the file");
                } else {
                    stage.cache = self.boolean(key, &value).unwrap_or(true);
                }
            }
            _ => return Err(value),
        }
        Ok(())
    }

    fn cmd(&mut self, value: Value) -> Words {
        let at = value.at;
        if let Data::List(items) = &value.data {
            let lines: Vec<&str> = items.iter().filter_map(Value::spelling).collect();
            let block: String = lines.iter().take(4).map(|line| format!("\n  {}", short(line))).collect();
            let argv: Vec<String> = lines.iter().take(6).map(|line| serde_json::Value::from(short(line)).to_string()).collect();
            let more = if lines.len() > 4 { "\n  …" } else { "" };
            let hint = format!(
                "one script, a line each:\ncmd: |{block}{more}\nor one command without a shell, a word each:\nargv: [{}{}]",
                argv.join(", "),
                if lines.len() > 6 { ", …" } else { "" }
            );
            let fault = self.error("wrong_type", at, "`cmd` takes one text, not a list", "one script for the shell");
            fault.hint = Some(hint);
            return stand_in(at);
        }
        let Some(words) = self.filled("cmd", value) else { return stand_in(at) };
        if words.text.starts_with("#!") {
            let mark = words.at;
            self.error(
                "not_yet",
                mark,
                words::later("a script that starts with `#!`"),
                "name the interpreter: `shell: python3 -c`, or call a script file",
            );
        }
        words
    }

    fn argv(&mut self, value: Value) -> Vec<Words> {
        let at = self.mark(&value);
        let items = match value.data {
            Data::List(items) => items,
            Data::Map(_) => {
                self.wrong("argv", "a list", &value, "the program and its arguments, a word each");
                return Vec::new();
            }
            Data::Scalar(_) => vec![value],
        };
        if items.is_empty() {
            self.error("missing", at, "`argv` is an empty list", "the program and its arguments, a word each");
        }
        // An argument may be empty, the program not.
        let mut words: Vec<Words> = items.into_iter().filter_map(|item| self.text("argv", item)).collect();
        if let Some(program) = words.first_mut()
            && program.text.trim().is_empty()
        {
            let at = program.at;
            self.error("missing", at, "`argv` names no program", "the program comes first");
        }
        words
    }

    fn tools(&mut self, value: Value) -> Vec<Tool> {
        let items = match value.data {
            Data::List(items) => items,
            _ => vec![value],
        };
        let mut tools = Vec::new();
        for item in items {
            match item.data {
                Data::Map(entries) => {
                    for (name, value) in entries {
                        self.key_at = name.at;
                        if let Some(command) = self.filled(&name.text, value) {
                            tools.push(Tool::Asked { name, command });
                        }
                    }
                }
                Data::List(_) => {
                    self.error("wrong_type", item.at, "an entry of `tools` is a list", "a program or a file, or `name: command`");
                }
                Data::Scalar(_) => tools.extend(self.filled("tools", item).map(Tool::Named)),
            }
        }
        tools
    }

    fn runs(&mut self, value: &Value) -> Runs {
        match value.spelling() {
            Some("always") => Runs::Always,
            Some("manual") => Runs::Manual,
            Some("never") => Runs::Never,
            said => {
                let near = said.and_then(|said| words::nearest(said, ["always", "manual", "never"]));
                let label = near.map_or("one of these three".to_owned(), |near| format!("did you mean `{near}`?"));
                let at = self.mark(value);
                self.error("wrong_type", at, "`runs` is `always`, `manual` or `never`", label);
                Runs::Auto
            }
        }
    }

    fn shell(&mut self, value: Value) -> Option<(Vec<String>, Span)> {
        let at = value.at;
        if let Data::List(_) = value.data {
            let words: Vec<String> = self.texts("shell", value).into_iter().map(|words| words.text).collect();
            if words.is_empty() {
                self.error("missing", at, "`shell` names no program", "as `bash -euo pipefail -c`");
                return None;
            }
            return Some((words, at));
        }
        let words = self.filled("shell", value)?;
        if words.text.contains("${{") {
            self.error("not_yet", at, words::later("a template in `shell`"), "a program and its flags");
            return None;
        }
        match units::words(&words.text) {
            Ok(list) => Some((list, at)),
            Err(why) => {
                self.error("wrong_type", at, format!("`shell` can't be read: {why}"), "as `bash -euo pipefail -c`");
                None
            }
        }
    }

    fn resources(&mut self, value: Value) -> Vec<(Key, Amount)> {
        let mut resources = Vec::new();
        for (name, value) in self.map("resources", value, "as `{cpus: 2, memory: 4GiB}`") {
            self.key_at = name.at;
            if is_null(&value) {
                continue;
            }
            let at = self.mark(&value);
            let amount = match name.text.as_str() {
                "memory" => self.size("memory", &value),
                "mem" | "mem_mb" | "memory_mb" | "ram" | "threads" | "cpu" | "cores" | "ncpus" => {
                    let right = if name.text.starts_with(['m', 'r']) { "memory" } else { "cpus" };
                    let message = format!("unknown resource `{}`", name.text);
                    self.error("unknown_key", name.at, message, format!("did you mean `{right}`?"));
                    continue;
                }
                key => match value.meaning() {
                    Some(Meaning::Int(0)) if key == "cpus" => {
                        self.error("wrong_type", at, "a task takes at least 1 of `cpus`", "1 or more");
                        None
                    }
                    Some(Meaning::Int(amount)) if amount >= 0 => Some(amount as u64),
                    _ => {
                        self.wrong(key, "a whole number", &value, "1 or more");
                        None
                    }
                },
            };
            if let Some(amount) = amount {
                resources.push((name, Amount { amount, at }));
            }
        }
        resources
    }

    fn retries(&mut self, value: &Value) -> u16 {
        let at = self.mark(value);
        match (&value.data, value.meaning()) {
            (Data::Map(_), _) => {
                self.error("not_yet", at, words::later("`retries` as a map"), "a number: how often it is tried again");
                0
            }
            (_, Some(Meaning::Int(times))) if u16::try_from(times).is_ok() => times as u16,
            _ => {
                self.wrong("retries", "a whole number", value, "how often it is tried again");
                0
            }
        }
    }

    fn foreach(&mut self, value: Value) -> Vec<Axis> {
        let at = self.mark(&value);
        let entries = match value.data {
            Data::Map(entries) => entries,
            _ => {
                let written = match &value.data {
                    Data::Scalar(_) => value.spelling().map(short).unwrap_or_default(),
                    _ => "[a, b]".to_owned(),
                };
                let fault = self.wrong("foreach", "a map", &value, "each axis needs a name");
                fault.hint = Some(format!("write `foreach: {{x: {written}}}`, and `${{{{ x }}}}` where the item stands"));
                return Vec::new();
            }
        };
        if entries.is_empty() {
            self.error("missing", at, "`foreach` has no axis", "as `{city: [sf, nyc]}`");
        }
        let mut axes = Vec::new();
        for (name, value) in entries {
            self.key_at = name.at;
            self.axis_name(&name);
            let at = self.mark(&value);
            let items = match value.data {
                Data::Map(ref entries) if entries.iter().any(|(key, _)| words::LATER_AXES.contains(&key.text.as_str())) => {
                    let source = entries.iter().find(|(key, _)| words::LATER_AXES.contains(&key.text.as_str()));
                    let (source, at) = source.map_or((String::new(), at), |(key, _)| (key.text.clone(), key.at));
                    self.error("not_yet", at, words::later(&format!("`{{{source}: …}}` as an axis")), "comes with a later version");
                    Items::Literal(Value { at: value.at, data: Data::List(Vec::new()) })
                }
                Data::List(_) | Data::Map(_) => Items::Literal(value),
                Data::Scalar(ref scalar) => match scalar.meaning() {
                    Meaning::Text(text) if !text.trim().is_empty() => {
                        let Data::Scalar(scalar) = value.data else { continue };
                        Items::Expression(Words { text: scalar.text, at: value.at, style: scalar.style })
                    }
                    _ => {
                        let label = match value.spelling() {
                            Some(text) if !text.is_empty() => format!("a list of one is `[{}]`", short(text)),
                            _ => "as `[sf, nyc]` or `config.cities`".to_owned(),
                        };
                        self.wrong(&name.text, "a list, a map or an expression", &value, &label);
                        Items::Literal(Value { at: value.at, data: Data::List(Vec::new()) })
                    }
                },
            };
            axes.push(Axis { name, items });
        }
        axes
    }

    fn axis_name(&mut self, name: &Key) {
        if TAKEN.contains(&name.text.as_str()) {
            let message = format!("`{}` can't be the name of an axis", name.text);
            self.error("reserved_name", name.at, message, "templates use this name for something else");
        } else if name.text.contains('-') && super::is_name(&name.text) {
            let message = format!("`{}` can't be the name of an axis", name.text);
            let label = format!("`-` is minus in a template: `{}`", name.text.replace('-', "_"));
            self.error("name", name.at, message, label);
        } else {
            self.name("an axis", name);
        }
    }

    fn exclude(&mut self, value: Value, axes: &[Axis]) -> Vec<Exclusion> {
        let items = match value.data {
            Data::List(items) => items,
            _ => vec![value],
        };
        let mut exclusions = Vec::new();
        for item in items {
            let entries = match item.data {
                Data::Map(entries) => entries,
                _ => {
                    let fault = self.wrong("exclude", "maps of axes", &item, "as `{city: sf, year: [2023, 2024]}`");
                    fault.hint = Some("to leave files out, put it into an entry of `inputs`: `{glob: \"*.o\", exclude: lua.o}`".to_owned());
                    continue;
                }
            };
            let mut exclusion = Vec::new();
            for (axis, value) in entries {
                self.key_at = axis.at;
                if !axes.is_empty() && !axes.iter().any(|known| known.name.text == axis.text) {
                    let near = words::nearest(&axis.text, axes.iter().map(|axis| axis.name.text.as_str()));
                    let label = near.map_or("not under `foreach` of this stage".to_owned(), |near| format!("did you mean `{near}`?"));
                    self.error("unknown_axis", axis.at, format!("`exclude` names the unknown axis `{}`", short(&axis.text)), label);
                    continue;
                }
                let values = match value.data {
                    Data::List(items) => items,
                    _ => vec![value],
                };
                for value in &values {
                    if !matches!(&value.data, Data::Scalar(_)) {
                        self.wrong(&axis.text, "keys of items", value, "an item's key, as it is printed");
                    }
                }
                exclusion.push((axis, values));
            }
            if !exclusion.is_empty() {
                exclusions.push(exclusion);
            }
        }
        exclusions
    }
}

/// Whether a key of a stage was given, for those that other words may stand for.
fn given(stage: &Stage, seen: &Seen, key: &str) -> bool {
    match key {
        "cmd" | "argv" => seen.cmd.is_some() || seen.argv.is_some(),
        "inputs" => !stage.inputs.list.is_empty(),
        "outputs" => !stage.outputs.list.is_empty(),
        "tools" => !stage.tools.is_empty(),
        "params" => !stage.params.is_empty(),
        "env" => !stage.env.is_empty(),
        "tags" => !stage.tags.is_empty(),
        "description" => stage.description.is_some(),
        "foreach" => !stage.foreach.is_empty(),
        "exclude" => seen.exclude.is_some(),
        "needs" => !stage.needs.is_empty(),
        "runs" => stage.runs != Runs::Auto,
        "shell" => stage.shell.is_some(),
        "dir" => stage.dir.is_some(),
        "resources" => !stage.resources.is_empty(),
        "timeout" => stage.timeout.is_some(),
        "grace" => stage.grace.is_some(),
        "retries" => stage.retries > 0,
        _ => !stage.cache,
    }
}

/// A stage of which nothing is known but its name.
fn blank(name: Key, at: Span) -> Stage {
    let name_at = name.at;
    Stage {
        name,
        at,
        description: None,
        tags: Vec::new(),
        command: Command::Shell(stand_in(name_at)),
        command_at: name_at,
        foreach: Vec::new(),
        exclude: Vec::new(),
        inputs: Entries { list: Vec::new(), single: false, at: name_at },
        outputs: Entries { list: Vec::new(), single: false, at: name_at },
        tools: Vec::new(),
        params: Vec::new(),
        env: Vec::new(),
        needs: Vec::new(),
        runs: Runs::Auto,
        shell: None,
        dir: None,
        resources: Vec::new(),
        timeout: None,
        grace: None,
        retries: 0,
        cache: true,
    }
}
