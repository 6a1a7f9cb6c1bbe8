//! The tree of a pipeline file into its spec.
//!
//! Owns what each key takes, and what is said where something else stands there. Never looks at
//! what names mean: that is `graph`'s. Must hold: all faults of a file are found in one reading, each
//! with its place; what was understood is in the spec all the same, with a stand-in for what was
//! not, so that no fault causes a second one.

mod entries;
mod stage;
mod units;

pub use units::{duration, size};

use crate::diag::{Diagnostic, Span};
use crate::pipeline::spec::{CacheSettings, Pipeline, Store, Variable, Words};
use crate::pipeline::words::{self, Place};
use crate::pipeline::yaml;
use crate::value::{Data, Key, Meaning, Style, Value};

/// The language version this flow knows.
pub const VERSION: i64 = 1;

/// The smallest pipeline, shown where a file holds none.
const SMALLEST: &str = "stages:\n  clean:\n    cmd: sort -u raw.txt > clean.txt\n    inputs: raw.txt\n    outputs: clean.txt";

/// Reads a pipeline file; `file` is the number its places carry. With a fault that is an error the
/// spec is for finding more faults only: stand-ins fill what was not understood. After a syntax
/// fault, and for a newer version, it is empty.
pub fn read(text: &str, file: u32) -> (Pipeline, Vec<Diagnostic>) {
    let read = yaml::read_all(text, file);
    let start = Span { file, start: 0, end: 0 };
    let mut reader = Reader { faults: read.faults, key_at: start };
    let Some(value) = read.value.filter(|value| !value.is_null()) else {
        if read.whole {
            let fault = Diagnostic::error("empty", start, "there is no pipeline in this file").label("a pipeline needs `stages`");
            reader.faults.push(fault.hint(format!("the smallest one is\n{SMALLEST}")));
        }
        return (Pipeline::default(), reader.faults);
    };
    let pipeline = reader.pipeline(value, read.whole);
    match read.whole {
        true => (pipeline.unwrap_or_default(), reader.faults),
        false => (Pipeline::default(), reader.faults),
    }
}

/// What is read of a file, and the faults so far.
struct Reader {
    faults: Vec<Diagnostic>,
    /// The key whose value is read: the place of a value that is nothing.
    key_at: Span,
}

/// Whether a value is `null`, `~` or nothing.
fn is_null(value: &Value) -> bool {
    value.is_null()
}

/// A name: `[A-Za-z_][A-Za-z0-9_-]*`.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A text inside a sentence, not longer than a sentence bears.
fn short(text: &str) -> String {
    let mut out: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out.replace("\\\"", "\"").replace("\\'", "'")
}

impl Reader {
    fn error(&mut self, code: &'static str, at: Span, message: impl Into<String>, label: impl Into<String>) -> &mut Diagnostic {
        let n = self.faults.len();
        self.faults.push(Diagnostic::error(code, at, message).label(label));
        &mut self.faults[n]
    }

    /// The place of a value; of one that is nothing its key.
    fn mark(&self, value: &Value) -> Span {
        if value.at.start == value.at.end { self.key_at } else { value.at }
    }

    /// A value of another kind than the key takes.
    fn wrong(&mut self, key: &str, takes: &str, value: &Value, label: &str) -> &mut Diagnostic {
        let at = self.mark(value);
        let what = match &value.data {
            Data::Scalar(scalar) if !is_null(value) => match scalar.style {
                Style::Plain => format!("`{}`", short(&scalar.text)),
                _ => format!("the text `{}`", short(&scalar.text)),
            },
            _ => value.kind().to_owned(),
        };
        self.error("wrong_type", at, format!("`{}` takes {takes}, not {what}", short(key)), label)
    }

    /// A value that must be text; numbers and the like are, as they were written.
    fn text(&mut self, key: &str, value: Value) -> Option<Words> {
        match value {
            Value { at, data: Data::Scalar(scalar) } if scalar.meaning() != Meaning::Null => {
                Some(Words { text: scalar.text, at, style: scalar.style })
            }
            value => {
                self.wrong(key, "text", &value, "a text is needed here");
                None
            }
        }
    }

    /// A text that is not empty.
    fn filled(&mut self, key: &str, value: Value) -> Option<Words> {
        let words = self.text(key, value)?;
        if words.text.trim().is_empty() {
            self.error("missing", words.at, format!("`{}` is an empty text", short(key)), "something is needed here");
            return None;
        }
        Some(words)
    }

    /// A list of texts, or one.
    fn texts(&mut self, key: &str, value: Value) -> Vec<Words> {
        match value.data {
            Data::List(items) => items.into_iter().filter_map(|item| self.filled(key, item)).collect(),
            Data::Map(_) => {
                self.wrong(key, "a list of texts", &value, "a list is needed here");
                Vec::new()
            }
            Data::Scalar(_) => self.filled(key, value).into_iter().collect(),
        }
    }

    fn boolean(&mut self, key: &str, value: &Value) -> Option<bool> {
        if let Some(Meaning::Bool(answer)) = value.meaning() {
            return Some(answer);
        }
        let text = value.spelling().map(str::to_ascii_lowercase).unwrap_or_default();
        let label = match text.as_str() {
            "yes" | "on" | "y" | "1" | "true" => "write `true`",
            "no" | "off" | "n" | "0" | "false" => "write `false`",
            _ => "`true` or `false`",
        };
        self.wrong(key, "true or false", value, label);
        None
    }

    /// The entries of a map; nothing is an empty one.
    fn map(&mut self, key: &str, value: Value, label: &str) -> Vec<(Key, Value)> {
        match value.data {
            Data::Map(entries) => entries,
            _ if is_null(&value) => Vec::new(),
            _ => {
                self.wrong(key, "a map", &value, label);
                Vec::new()
            }
        }
    }

    /// A key that is none in its place. Gives the key it was most likely meant as.
    fn unknown(&mut self, place: Place, key: &Key, what: &str, value: &Value) -> Option<&'static str> {
        let word = key.text.as_str();
        if words::is_later(place, word) {
            self.error("not_yet", key.at, words::later(&format!("`{word}`")), "comes with a later version");
            return None;
        }
        let message = format!("unknown key `{}` in {what}", short(word));
        let (label, means) = match words::foreign(place, word) {
            Some(foreign) => match foreign.means {
                Some(key) => (format!("did you mean `{key}`?"), Some(key)),
                None => (foreign.say.to_owned(), None),
            },
            None if place == Place::File && (words::keys(Place::Stage).contains(&word) || words::is_later(Place::Stage, word)) => {
                ("this belongs to a stage, below `stages`".to_owned(), None)
            }
            None if place == Place::Stage && (words::keys(Place::File).contains(&word) || words::is_later(Place::File, word)) => {
                ("this belongs to the top of the file".to_owned(), None)
            }
            None if place == Place::File && (value.get("cmd").is_some() || value.get("argv").is_some()) => {
                ("a stage belongs below `stages`".to_owned(), None)
            }
            None => match words::nearest(word, words::keys(place).iter().copied()) {
                Some(near) => (format!("did you mean `{near}`?"), words::keys(place).iter().find(|key| **key == near).copied()),
                None => (String::from("not known here"), None),
            },
        };
        self.error("unknown_key", key.at, message, label);
        means
    }

    fn pipeline(&mut self, value: Value, whole: bool) -> Option<Pipeline> {
        let at = value.at;
        let entries = match value.data {
            Data::Map(entries) => entries,
            _ => {
                let kind = value.kind();
                let fault =
                    self.error("wrong_type", at, format!("a pipeline is a map with the key `stages`, not {kind}"), "a map is needed here");
                fault.hint = Some(format!("the smallest pipeline is\n{SMALLEST}"));
                return None;
            }
        };
        if let Some((key, version)) = entries.iter().find(|(key, _)| key.text == "version")
            && !self.version(key, version)
        {
            return None;
        }
        let mut pipeline = Pipeline::default();
        let mut stages = None;
        let mut meant = Vec::new();
        for (key, value) in entries {
            if key.text.starts_with("x-") || key.text == "version" {
                continue;
            }
            self.key_at = key.at;
            if key.text == "stages" {
                stages = Some((key.at, value));
            } else if let Err(value) = self.file_key(&mut pipeline, &key.text, value) {
                match self.unknown(Place::File, &key, "the file", &value) {
                    Some("stages") => meant.push((key.at, value)),
                    Some(means) => self.quietly(|reader| {
                        let _ = reader.file_key(&mut pipeline, means, value);
                    }),
                    None => {}
                }
            }
        }
        match (stages, meant.into_iter().next()) {
            (Some((at, value)), _) => {
                self.key_at = at;
                pipeline.stages = self.stages(value, whole);
            }
            (None, Some((at, value))) => self.quietly(|reader| {
                reader.key_at = at;
                pipeline.stages = reader.stages(value, whole);
            }),
            (None, None) if whole => {
                let start = Span { end: at.start, ..at };
                let fault = self.error("missing", start, "there are no `stages` in this file", "a pipeline needs the key `stages`");
                fault.hint = Some(format!("the smallest pipeline is\n{SMALLEST}"));
            }
            (None, None) => {}
        }
        Some(pipeline)
    }

    /// Does something whose faults follow from one that was said already.
    fn quietly(&mut self, work: impl FnOnce(&mut Reader)) {
        let faults = self.faults.len();
        work(self);
        self.faults.truncate(faults);
    }

    /// Whether the file's version is one that can be read.
    fn version(&mut self, key: &Key, value: &Value) -> bool {
        self.key_at = key.at;
        let at = self.mark(value);
        let number = match value.meaning() {
            Some(Meaning::Int(number)) => Some(number),
            Some(Meaning::Text(text)) => text.parse().ok(),
            Some(Meaning::Null) => return true,
            _ => None,
        };
        match number {
            Some(VERSION) => true,
            Some(number) if number > VERSION => {
                let message = format!("this file is written in version {number} of the language");
                let label = format!("flow {} knows version {VERSION}", env!("CARGO_PKG_VERSION"));
                self.error("version", at, message, label).hint = Some("a newer flow reads it".to_owned());
                false
            }
            _ => {
                self.error("version", at, format!("`version` is {VERSION} or absent"), format!("write `version: {VERSION}`"));
                true
            }
        }
    }

    /// A key at the top of the file; gives the value back if there is no such key.
    fn file_key(&mut self, pipeline: &mut Pipeline, key: &str, value: Value) -> Result<(), Value> {
        if is_null(&value) && words::keys(Place::File).contains(&key) {
            return Ok(());
        }
        match key {
            "name" => pipeline.name = self.filled(key, value),
            "description" => pipeline.description = self.text(key, value),
            "root" => pipeline.root = self.filled(key, value),
            "env" => pipeline.env = self.env(value),
            "pools" => pipeline.pools = self.pools(value),
            "keep_going" => pipeline.keep_going = self.boolean(key, &value).unwrap_or_default(),
            "cache" => pipeline.cache = self.cache(value),
            "config" => match value.data {
                Data::Map(_) => pipeline.config = Some(value),
                _ => {
                    self.wrong(key, "a map", &value, "names and their values are needed here");
                }
            },
            _ => return Err(value),
        }
        Ok(())
    }

    fn env(&mut self, value: Value) -> Vec<Variable> {
        if matches!(value.data, Data::List(_)) {
            self.wrong("env", "a map", &value, "write `NAME: value`, without `-` and `=`");
            return Vec::new();
        }
        let mut variables = Vec::new();
        for (name, value) in self.map("env", value, "names and their values are needed here") {
            if name.text.is_empty() || name.text.contains(['=', '\0']) {
                self.error("name", name.at, format!("`{}` can't be the name of a variable", short(&name.text)), "no `=` in a name");
                continue;
            }
            let value = if is_null(&value) { None } else { self.text(&name.text, value) };
            variables.push(Variable { name, value });
        }
        variables
    }

    fn pools(&mut self, value: Value) -> Vec<(Key, u32)> {
        let mut pools = Vec::new();
        for (name, value) in self.map("pools", value, "names and their sizes are needed here") {
            self.key_at = name.at;
            self.name("a pool", &name);
            if name.text == "cpus" || name.text == "memory" {
                let message = format!("`{}` can't be the name of a pool", name.text);
                self.error("name", name.at, message, "it is a resource of the machine");
                continue;
            }
            match value.meaning() {
                Some(Meaning::Int(size)) if u32::try_from(size).is_ok() => pools.push((name, size as u32)),
                _ => {
                    self.wrong(&name.text, "a whole number", &value, "how many there are of it");
                }
            }
        }
        pools
    }

    fn cache(&mut self, value: Value) -> CacheSettings {
        let mut cache = CacheSettings::default();
        if matches!(value.meaning(), Some(Meaning::Bool(_))) {
            self.wrong("cache", "a map", &value, "write `cache: {store: off}`, or `cache: false` in a stage");
            return cache;
        }
        for (key, value) in self.map("cache", value, "write `{store: auto, dir: …, size: …}`") {
            self.key_at = key.at;
            if is_null(&value) && words::keys(Place::Cache).contains(&key.text.as_str()) {
                continue;
            }
            match key.text.as_str() {
                "store" => match value.spelling() {
                    Some("auto") => cache.store = Some(Store::Auto),
                    Some("all") => cache.store = Some(Store::All),
                    Some("off" | "false") => cache.store = Some(Store::Off),
                    _ => {
                        let at = self.mark(&value);
                        self.error("wrong_type", at, "`store` is `auto`, `all` or `off`", "one of these three");
                    }
                },
                "dir" => cache.dir = self.filled("dir", value),
                "size" => cache.size = self.size("size", &value),
                _ => {
                    self.unknown(Place::Cache, &key, "`cache`", &value);
                }
            }
        }
        cache
    }

    fn size(&mut self, key: &str, value: &Value) -> Option<u64> {
        let at = self.mark(value);
        match value.spelling() {
            Some(text) => match units::size(text) {
                Some(size) => return Some(size),
                None if matches!(value.meaning(), Some(Meaning::Int(_) | Meaning::Float(_))) => {
                    let label = format!("a unit is missing: `{}MiB`?", short(text));
                    self.error("size", at, format!("`{}` is a bare number", short(key)), label);
                }
                None => {
                    self.error("size", at, format!("`{}` is no size", short(text)), "as `512MiB` or `4GiB`");
                }
            },
            None => {
                self.wrong(key, "a size", value, "as `512MiB` or `4GiB`");
            }
        }
        None
    }

    fn duration(&mut self, key: &str, value: &Value) -> Option<std::time::Duration> {
        let at = self.mark(value);
        match value.spelling() {
            Some(text) => match units::duration(text) {
                Some(duration) => return Some(duration),
                None if matches!(value.meaning(), Some(Meaning::Int(_) | Meaning::Float(_))) => {
                    let label = format!("a unit is missing: `{}s`?", short(text));
                    self.error("duration", at, format!("`{}` is a bare number", short(key)), label);
                }
                None => {
                    self.error("duration", at, format!("`{}` is no duration", short(text)), "as `90s`, `5m`, `1h30m` or `30d`");
                }
            },
            None => {
                self.wrong(key, "a duration", value, "as `90s`, `5m`, `1h30m` or `30d`");
            }
        }
        None
    }

    /// Whether a key is a name; a fault if not.
    fn name(&mut self, what: &str, key: &Key) -> bool {
        if is_name(&key.text) {
            return true;
        }
        let message = format!("`{}` can't be the name of {what}", short(&key.text));
        self.error("name", key.at, message, "a letter or `_` first, then letters, digits, `_` and `-`");
        false
    }
}

/// A text that stands in for one that was not understood.
fn stand_in(at: Span) -> Words {
    Words { text: String::new(), at, style: Style::Plain }
}

#[cfg(test)]
mod tests;
