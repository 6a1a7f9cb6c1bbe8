//! Entries of `inputs`, `outputs` and `needs`.
//!
//! Owns the forms an entry has: one path, a list, names, a map with `path`, `glob` or `from`. Never
//! looks at whether a path exists. Must hold: one path alone is told from a list of one.

use crate::diag::Span;
use crate::pipeline::read::{Reader, is_null, short};
use crate::pipeline::spec::{Entries, From, Input, Output, Where, Words};
use crate::pipeline::words::{self, Place};
use crate::value::{Data, Key, Value};

/// Whether a map is one entry, not names and their entries.
fn is_entry(entries: &[(Key, Value)]) -> bool {
    entries.iter().any(|(key, _)| matches!(key.text.as_str(), "path" | "glob" | "from"))
}

/// Reads one entry; the flag tells whether it is written as one path.
type One<T> = fn(&mut Reader, Value) -> Option<(T, bool)>;

impl Reader {
    pub(super) fn inputs(&mut self, value: Value) -> Entries<Input> {
        self.entries("inputs", value, |reader, value| match value.data {
            Data::Map(entries) => reader.input(entries, value.at),
            _ => reader.path("inputs", value).map(|path| (Input::Text(path), true)),
        })
    }

    pub(super) fn outputs(&mut self, value: Value) -> Entries<Output> {
        self.entries("outputs", value, |reader, value| match value.data {
            Data::Map(entries) => reader.output(entries, value.at).map(|output| (output, true)),
            _ => reader.path("outputs", value).map(|path| (Output { path, optional: false }, true)),
        })
    }

    /// A text that is a path, or a template that yields one.
    fn path(&mut self, key: &str, value: Value) -> Option<Words> {
        if is_null(&value) {
            let at = self.mark(&value);
            self.error("missing", at, format!("an empty entry of `{}`", short(key)), "a path is missing");
            return None;
        }
        if let Data::List(_) = value.data {
            self.error("wrong_type", value.at, format!("an entry of `{}` is a list", short(key)), "one path for each name or `-`");
            return None;
        }
        self.filled(key, value)
    }

    fn entries<T>(&mut self, key: &str, value: Value, one: One<T>) -> Entries<T> {
        let at = self.mark(&value);
        let mut list = Vec::new();
        let mut single = false;
        match value.data {
            Data::List(items) => {
                list.reserve(items.len());
                for item in items {
                    if let Data::Map(entries) = &item.data
                        && !is_entry(entries)
                        && self.named_in_list(key, entries)
                    {
                        continue;
                    }
                    list.extend(one(self, item).map(|(entry, _)| (None, entry)));
                }
            }
            Data::Map(entries) if !is_entry(&entries) => {
                for (name, value) in entries {
                    self.key_at = name.at;
                    let what = if key == "inputs" { "an input" } else { "an output" };
                    self.name(what, &name);
                    if let Data::Map(entries) = &value.data
                        && !is_entry(entries)
                        && !entries.iter().any(|(word, _)| self.is_word(key, word))
                    {
                        let at = self.mark(&value);
                        let message = format!("`{}` is a map that is no entry", short(&name.text));
                        self.error(
                            "wrong_type",
                            at,
                            message,
                            if key == "inputs" { "`path`, `glob` or `from` is missing" } else { "`path` is missing" },
                        );
                        continue;
                    }
                    list.extend(one(self, value).map(|(entry, _)| (Some(name), entry)));
                }
            }
            _ => {
                if let Some((entry, path)) = one(self, value) {
                    single = path;
                    list.push((None, entry));
                }
            }
        }
        Entries { list, single, at }
    }

    /// Whether a key means something in an entry, here, later or elsewhere.
    fn is_word(&self, key: &str, word: &Key) -> bool {
        let place = if key == "inputs" { Place::Input } else { Place::Output };
        let word = word.text.as_str();
        words::keys(place).contains(&word) || words::is_later(place, word) || words::foreign(place, word).is_some()
    }

    /// `- raw: a.csv`: names in a list. Whether that was it, and was said.
    fn named_in_list(&mut self, key: &str, entries: &[(Key, Value)]) -> bool {
        let [(name, value)] = entries else { return false };
        if !matches!(value.data, Data::Scalar(_)) || is_null(value) || self.is_word(key, name) {
            return false;
        }
        let message = format!("`{}` names an entry of a list", short(&name.text));
        self.error("wrong_type", name.at, message, "names make a map: leave out every `-`");
        true
    }

    fn input(&mut self, entries: Vec<(Key, Value)>, at: Span) -> Option<(Input, bool)> {
        let (mut path, mut glob, mut stage) = (None, None, None);
        let (mut output, mut filter, mut exclude) = (Vec::new(), Vec::new(), Vec::new());
        let mut optional = false;
        let (mut of_from, mut of_files) = (None, None);
        let mut kinds: Vec<(Span, String)> = Vec::new();
        let mut unknown = false;
        for (key, value) in entries {
            self.key_at = key.at;
            let word = key.text.as_str();
            if matches!(word, "path" | "glob" | "from") {
                kinds.push((key.at, key.text.clone()));
            } else if is_null(&value) && words::keys(Place::Input).contains(&word) {
                continue;
            }
            match word {
                "path" => path = self.path(word, value),
                "glob" => glob = self.path(word, value),
                "from" => stage = self.filled(word, value),
                "optional" => optional = self.boolean(word, &value).unwrap_or_default(),
                "output" => {
                    output = self.texts(word, value);
                    of_from = Some(key);
                }
                "where" => {
                    filter = self.filter(value);
                    of_from = Some(key);
                }
                "exclude" => {
                    exclude = self.texts(word, value);
                    of_files = Some(key);
                }
                _ => {
                    unknown = true;
                    self.unknown(Place::Input, &key, "an entry of `inputs`", &value);
                }
            }
        }
        if let [first, second, ..] = kinds.as_slice() {
            let message = format!("an entry has both `{}` and `{}`", first.1, second.1);
            let fault = self.error("both", second.0, message, "one entry is one of them");
            fault.also.push(crate::diag::Also { at: first.0, label: "the other one".to_owned() });
        }
        if kinds.is_empty() {
            if !unknown {
                self.error("missing", at, "an entry of `inputs` without a path", "`path`, `glob` or `from` is missing");
            }
            return None;
        }
        let from = kinds.iter().any(|(_, kind)| kind == "from");
        if !from && let Some(key) = of_from {
            let message = format!("`{}` belongs to an entry with `from`", key.text);
            self.error("wrong_type", key.at, message, "there is no `from` beside it");
        }
        if from && let Some(key) = of_files {
            let message = format!("`{}` belongs to an entry with `path` or `glob`", key.text);
            self.error("wrong_type", key.at, message, "`where` chooses among tasks");
        }
        if let Some(path) = path {
            return Some((Input::Path { path, optional, exclude }, true));
        }
        if let Some(glob) = glob {
            return Some((Input::Glob { glob, exclude, optional }, false));
        }
        Some((Input::From(From { stage: stage?, output, filter, optional, at }), false))
    }

    fn output(&mut self, entries: Vec<(Key, Value)>, at: Span) -> Option<Output> {
        let mut path = None;
        let mut optional = false;
        let mut said = false;
        for (key, value) in entries {
            self.key_at = key.at;
            match key.text.as_str() {
                "path" => {
                    said = true;
                    path = self.path("path", value);
                }
                "optional" if is_null(&value) => {}
                "optional" => optional = self.boolean("optional", &value).unwrap_or_default(),
                _ => {
                    let means = self.unknown(Place::Output, &key, "an entry of `outputs`", &value);
                    said |= means.is_some() || matches!(key.text.as_str(), "glob" | "from");
                    if means == Some("path") && path.is_none() {
                        self.quietly(|reader| path = reader.path("path", value));
                    }
                }
            }
        }
        if !said {
            self.error("missing", at, "an entry of `outputs` without a path", "`path` is missing");
        }
        Some(Output { path: path?, optional })
    }

    pub(super) fn needs(&mut self, value: Value) -> Vec<From> {
        let items = match value.data {
            Data::List(items) => items,
            _ => vec![value],
        };
        let mut needs = Vec::new();
        for item in items {
            let at = self.mark(&item);
            let Data::Map(entries) = item.data else {
                if let Some(stage) = self.filled("needs", item) {
                    needs.push(From { at: stage.at, stage, output: Vec::new(), filter: Vec::new(), optional: false });
                }
                continue;
            };
            let (mut stage, mut filter, mut said) = (None, Vec::new(), false);
            for (key, value) in entries {
                self.key_at = key.at;
                match key.text.as_str() {
                    "from" => {
                        said = true;
                        stage = self.filled("from", value);
                    }
                    "where" if is_null(&value) => {}
                    "where" => filter = self.filter(value),
                    _ => said |= self.unknown(Place::Need, &key, "an entry of `needs`", &value) == Some("from"),
                }
            }
            match stage {
                Some(stage) => needs.push(From { stage, output: Vec::new(), filter, optional: false, at }),
                None if !said => {
                    self.error("missing", at, "an entry of `needs` without a stage", "`from` is missing");
                }
                None => {}
            }
        }
        needs
    }

    /// `where`: names of axes, or axes with what they must be.
    fn filter(&mut self, value: Value) -> Vec<Where> {
        match value.data {
            Data::Map(entries) => {
                let mut filter = Vec::with_capacity(entries.len());
                for (axis, value) in entries {
                    self.key_at = axis.at;
                    let values = if is_null(&value) { None } else { Some(self.texts(&axis.text, value)) };
                    if values.is_none() {
                        self.error(
                            "missing",
                            axis.at,
                            format!("`{}` under `where` has no value", short(&axis.text)),
                            "equal to mine is `where: [axis]`",
                        );
                    }
                    filter.push(Where { axis, values });
                }
                filter
            }
            _ => {
                let names = self.texts("where", value);
                names.into_iter().map(|words| Where { axis: Key { text: words.text, at: words.at }, values: None }).collect()
            }
        }
    }
}
