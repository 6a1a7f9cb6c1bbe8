//! The values an expression sees: what a name means, and how it prints.
//!
//! Owns [`Val`] and [`Scope`], and what the volatile names (`attempt`, `resources.*`, `tmp`, `run.*`)
//! stand for. Never evaluates anything. Must hold: a number keeps its spelling (`1.10` prints as
//! `1.10`), an item prints as its key, and a scope can be kept and read back (a task whose command is
//! rendered late has its scope in the `state` file).

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::value::{Data, Meaning, Scalar, Value, write_json_text};

/// Names that mean something in every template, and the words of expressions; an axis of such a name is
/// an error.
pub const RESERVED: &[&str] = &[
    "False",
    "None",
    "True",
    "and",
    "else",
    "false",
    "if",
    "in",
    "is",
    "none",
    "not",
    "null",
    "or",
    "true",
    "arch",
    "attempt",
    "config",
    "env",
    "here",
    "inputs",
    "item",
    "os",
    "outputs",
    "profile",
    "resources",
    "root",
    "run",
    "secrets",
    "stage",
    "task",
    "tmp",
];

/// The names whose value differs from run to run: they count in a key by name.
pub const VOLATILE: &[&str] = &["attempt", "resources", "run", "tmp"];

/// One value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Val {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, spelled as it was written.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Val>),
    /// A map, in its order.
    Map(Vec<(String, Val)>),
    /// An item of an axis, or a path: prints as its key and has fields.
    Item {
        /// What it prints as.
        key: String,
        /// Its fields.
        fields: Vec<(String, Val)>,
    },
    /// Inputs or outputs: a list whose entries may have names. What was written as one path is an
    /// [`Val::Item`] instead. A name may occur more than once (a named glob), or its value be a list.
    Entries(Vec<(Option<String>, Val)>),
}

impl Val {
    /// Text.
    pub fn text(text: impl Into<String>) -> Val {
        Val::Text(text.into())
    }

    /// A whole number.
    pub fn number(number: impl Into<i128>) -> Val {
        Val::Number(number.into().to_string())
    }

    /// What a value of a file means, spelling kept.
    pub fn from_value(value: &Value) -> Val {
        match &value.data {
            Data::List(items) => Val::List(items.iter().map(Val::from_value).collect()),
            Data::Map(entries) => Val::Map(entries.iter().map(|(key, value)| (key.text.clone(), Val::from_value(value))).collect()),
            Data::Scalar(scalar) => match scalar.meaning() {
                Meaning::Null => Val::Null,
                Meaning::Bool(flag) => Val::Bool(flag),
                Meaning::Int(_) | Meaning::Float(_) => Val::Number(scalar.text.clone()),
                Meaning::Text(text) => Val::Text(text.to_string()),
            },
        }
    }

    /// A path as an item: prints without its trailing slash, with the fields `path`, `name`, `stem`,
    /// `ext` (without the dot) and `dir` (`.` for a path without a folder).
    pub fn path(path: &str) -> Val {
        Val::path_shown(path, path)
    }

    /// A path that prints otherwise than it is called in the workspace: `shown` is relative to the
    /// command's `dir`, and so are its `name`, `stem`, `ext`, `dir`; the field `path` is `path`.
    pub fn path_shown(path: &str, shown: &str) -> Val {
        let (path, key) = (without_slash(path), without_slash(shown));
        let (dir, name) = match key.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((dir, name)) => (dir, name),
            None => (".", key),
        };
        let (stem, ext) = match name.rsplit_once('.') {
            Some((stem, ext)) if !stem.is_empty() && !stem.bytes().all(|b| b == b'.') => (stem, ext),
            _ => (name, ""),
        };
        let field = |name: &str, text: &str| (name.to_string(), Val::Text(text.to_string()));
        Val::Item {
            key: key.to_string(),
            fields: vec![field("path", path), field("name", name), field("stem", stem), field("ext", ext), field("dir", dir)],
        }
    }

    /// The same item with further fields (captures, columns); any other value unchanged.
    pub fn with_fields(self, more: impl IntoIterator<Item = (String, Val)>) -> Val {
        match self {
            Val::Item { key, mut fields } => {
                fields.extend(more);
                Val::Item { key, fields }
            }
            other => other,
        }
    }

    /// What it prints as; `None` for null, lists and maps.
    pub fn print(&self) -> Option<&str> {
        match self {
            Val::Bool(true) => Some("true"),
            Val::Bool(false) => Some("false"),
            Val::Number(text) | Val::Text(text) => Some(text),
            Val::Item { key, .. } => Some(key),
            Val::Null | Val::List(_) | Val::Map(_) | Val::Entries(_) => None,
        }
    }

    /// The members of a list or of entries, lists inside entries spliced; `None` for all else.
    pub fn members(&self) -> Option<Vec<&Val>> {
        match self {
            Val::List(items) => Some(items.iter().collect()),
            Val::Entries(entries) => {
                let mut all = Vec::with_capacity(entries.len());
                for (_, value) in entries {
                    match value {
                        Val::List(items) => all.extend(items),
                        value => all.push(value),
                    }
                }
                Some(all)
            }
            _ => None,
        }
    }

    /// A field of an item, a key of a map, or a name among entries (several of one name: a list).
    pub fn field(&self, name: &str) -> Option<Cow<'_, Val>> {
        match self {
            Val::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| Cow::Borrowed(value)),
            Val::Item { key, fields } => fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| Cow::Borrowed(value))
                .or_else(|| (name == "key").then(|| Cow::Owned(Val::Text(key.clone())))),
            Val::Entries(entries) => {
                let mut found = entries.iter().filter(|(key, _)| key.as_deref() == Some(name)).map(|(_, value)| value);
                let first = found.next()?;
                match found.next() {
                    None => Some(Cow::Borrowed(first)),
                    Some(second) => Some(Cow::Owned(Val::List([first, second].into_iter().chain(found).cloned().collect()))),
                }
            }
            _ => None,
        }
    }

    /// The names [`Val::field`] answers to, for hints.
    pub fn field_names(&self) -> Vec<&str> {
        match self {
            Val::Map(entries) => entries.iter().map(|(key, _)| key.as_str()).collect(),
            Val::Item { fields, .. } => fields.iter().map(|(key, _)| key.as_str()).collect(),
            Val::Entries(entries) => entries.iter().filter_map(|(key, _)| key.as_deref()).collect(),
            _ => Vec::new(),
        }
    }

    /// A member of a list or of entries; a negative index counts from the end.
    pub fn index(&self, at: i64) -> Option<&Val> {
        let members = self.members()?;
        let at = if at < 0 { members.len().checked_sub(usize::try_from(at.unsigned_abs()).ok()?)? } else { usize::try_from(at).ok()? };
        members.get(at).copied()
    }

    /// What it is, for messages: `a list`, `a map`, `text`, `a number`, `true or false`, `nothing`.
    pub fn kind(&self) -> &'static str {
        match self {
            Val::Null => "nothing",
            Val::Bool(_) => "true or false",
            Val::Number(_) => "a number",
            Val::Text(_) => "text",
            Val::List(_) | Val::Entries(_) => "a list",
            Val::Map(_) => "a map",
            Val::Item { .. } => "an item",
        }
    }

    /// The value as JSON text: numbers keep their spelling where JSON has it, an item is its key,
    /// entries are a map if all have names, else a list.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Val::Null => out.push_str("null"),
            Val::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Val::Number(text) => out.push_str(&Value::scalar(Default::default(), Scalar::plain(text.as_str())).canonical()),
            Val::Text(text) | Val::Item { key: text, .. } => write_json_text(text, out),
            Val::List(items) => write_list(items.iter(), out),
            Val::Map(entries) => write_map(entries.iter().map(|(key, value)| (key.as_str(), value)), out),
            Val::Entries(entries) => {
                let mut names: Vec<&str> = Vec::new();
                for name in entries.iter().filter_map(|(name, _)| name.as_deref()) {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                if names.is_empty() || entries.iter().any(|(name, _)| name.is_none()) {
                    write_list(self.members().unwrap_or_default().into_iter(), out);
                } else {
                    let values: Vec<(&str, Cow<'_, Val>)> = names.into_iter().filter_map(|name| Some((name, self.field(name)?))).collect();
                    write_map(values.iter().map(|(name, value)| (*name, value.as_ref())), out);
                }
            }
        }
    }
}

fn without_slash(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if !path.is_empty() => "/",
        path => path,
    }
}

fn write_list<'a>(items: impl Iterator<Item = &'a Val>, out: &mut String) {
    out.push('[');
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push(',');
        }
        item.write_json(out);
    }
    out.push(']');
}

fn write_map<'a>(entries: impl Iterator<Item = (&'a str, &'a Val)>, out: &mut String) {
    out.push('{');
    for (n, (key, value)) in entries.enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_json_text(key, out);
        out.push(':');
        value.write_json(out);
    }
    out.push('}');
}

/// The names of one template and their values, without the volatile ones. Values are shared: a
/// hundred thousand scopes hold one `config`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Name and value; the last of a name counts. `resources` here may hold what [`Volatiles`] lacks
    /// (the pools).
    pub names: Vec<(String, Arc<Val>)>,
}

impl Scope {
    /// Says what a name means from now on.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Arc<Val>>) {
        self.names.push((name.into(), value.into()));
    }

    /// The same scope with one name more.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Arc<Val>>) -> Scope {
        self.set(name, value);
        self
    }

    /// What a name means.
    pub fn get(&self, name: &str) -> Option<&Val> {
        self.names.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }
}

/// How the volatile names are rendered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Volatile<'a> {
    /// By name, for a key: a hole that mentions one renders as its own text and the values of the
    /// other names in it.
    ByName,
    /// By value, for a command that is started.
    Are(&'a Volatiles),
}

/// The volatile values of one attempt.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Volatiles {
    /// `attempt`: counts from 1.
    pub attempt: u16,
    /// `resources.cpus`: slots this attempt has.
    pub cpus: u32,
    /// `resources.memory`: bytes.
    pub memory: u64,
    /// `tmp`: the scratch folder of this attempt.
    pub tmp: String,
    /// `run.id`.
    pub run: String,
}

impl Volatiles {
    /// What a volatile name means; `resources` also has what the scope says of it.
    pub fn get(&self, name: &str, scope: &Scope) -> Option<Val> {
        match name {
            "attempt" => Some(Val::number(self.attempt)),
            "tmp" => Some(Val::Text(self.tmp.clone())),
            "run" => Some(Val::Map(vec![("id".into(), Val::Text(self.run.clone()))])),
            "resources" => {
                let mut all = vec![("cpus".into(), Val::number(self.cpus)), ("memory".into(), Val::number(self.memory))];
                if let Some(Val::Map(more)) = scope.get(name) {
                    all.extend(more.iter().filter(|(key, _)| key != "cpus" && key != "memory").cloned());
                }
                Some(Val::Map(all))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Span;

    #[test]
    fn paths_have_fields() {
        let check = |path: &str, want: [&str; 5]| {
            let item = Val::path(path);
            let got = ["name", "stem", "ext", "dir"].map(|field| item.field(field).unwrap().print().unwrap().to_string());
            assert_eq!(item.print(), Some(want[0]), "{path}");
            assert_eq!(got, want[1..], "{path}");
        };
        check("raw/a.csv", ["raw/a.csv", "a.csv", "a", "csv", "raw"]);
        check("a.tar.gz", ["a.tar.gz", "a.tar.gz", "a.tar", "gz", "."]);
        check("out/", ["out", "out", "out", "", "."]);
        check(".bashrc", [".bashrc", ".bashrc", ".bashrc", "", "."]);
        check("..", ["..", "..", "..", "", "."]);
        check("/x", ["/x", "x", "x", "", "/"]);
        check("/", ["/", "", "", "", "/"]);
        let shown = Val::path_shown("sub/a.csv", "a.csv");
        assert_eq!((shown.print(), shown.field("path").as_deref()), (Some("a.csv"), Some(&Val::text("sub/a.csv"))));
        assert_eq!(shown.field("key").as_deref(), Some(&Val::text("a.csv")));
    }

    #[test]
    fn json_keeps_spelling() {
        let scalar = |text: &str| Value::scalar(Span::default(), Scalar::plain(text));
        let list = Value { at: Span::default(), data: Data::List(["1.10", "no", "~", "0x1F", "true"].map(scalar).into()) };
        assert_eq!(Val::from_value(&list).to_json(), r#"[1.10,"no",null,31,true]"#);
        let entries = |named: &[(Option<&str>, &str)]| {
            Val::Entries(named.iter().map(|(name, path)| (name.map(str::to_string), Val::path(path))).collect())
        };
        assert_eq!(entries(&[(Some("a"), "x"), (Some("b"), "y"), (Some("a"), "z")]).to_json(), r#"{"a":["x","z"],"b":"y"}"#);
        assert_eq!(entries(&[(Some("a"), "x"), (None, "y")]).to_json(), r#"["x","y"]"#);
        assert_eq!(entries(&[]).to_json(), "[]");
    }

    #[test]
    fn members_and_indexes() {
        let all = Val::Entries(vec![(Some("a".into()), Val::List(vec![Val::text("1"), Val::text("2")])), (None, Val::text("3"))]);
        assert_eq!(all.index(2), Some(&Val::text("3")));
        assert_eq!(all.index(-3), Some(&Val::text("1")));
        assert_eq!((all.index(3), all.index(-4), all.index(i64::MIN)), (None, None, None));
        assert_eq!(Val::text("x").index(0), None);
    }

    #[test]
    fn a_scope_can_be_kept() {
        let scope = Scope::default().with("config", Val::Map(vec![("a".into(), Val::Number("1.10".into()))])).with("x", Val::path("a/b.c"));
        let bytes = postcard::to_stdvec(&scope).unwrap();
        assert_eq!(postcard::from_bytes::<Scope>(&bytes).unwrap(), scope);
    }
}
