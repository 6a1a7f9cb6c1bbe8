//! Axes into items, items into combinations.
//!
//! Owns what an item is: it prints as its key and has fields. Pure. Must hold: the order of the
//! combinations is that of the axes, the last one moving fastest; two items with one key are an
//! error, never one task.

use std::collections::BTreeSet;

use crate::diag::{Diagnostic, Span};
use crate::pipeline::scope::{RESERVED, Scope, Val, Volatile};
use crate::pipeline::spec::{Axis, Items, Stage, Words};
use crate::pipeline::template::{Fault, Template, expression};
use crate::value::{Data, Scalar, Style, Value};

/// One combination of a stage's axes.
#[derive(Clone, Debug, Default)]
pub struct Combination {
    /// Each axis and its item's key: the task's name.
    pub axes: Vec<(String, String)>,
    /// Each axis and its item: what templates see.
    pub items: Vec<(String, Val)>,
}

/// Most tasks that one pipeline may have.
pub const MOST_TASKS: usize = 2_000_000;

/// All combinations of a stage's axes. `scope` is what an expression may name besides earlier axes.
/// `variables` takes the caller's variables that the axes read: with others the graph is another. No
/// setting an axis reads is a part of a task: an item that is added must not make the others stale, and
/// what a task uses of its item stands in its texts.
pub fn combinations(
    stage: &Stage,
    scope: &Scope,
    source: &str,
    variables: &mut BTreeSet<String>,
    faults: &mut Vec<Diagnostic>,
) -> Vec<Combination> {
    let mut all = vec![Combination::default()];
    for axis in &stage.foreach {
        if RESERVED.contains(&axis.name.text.as_str()) {
            faults.push(
                Diagnostic::error("reserved_axis", axis.name.at, format!("an axis can't be called `{}`", axis.name.text))
                    .label("templates have this name already"),
            );
            return Vec::new();
        }
        let mut next = Vec::new();
        for combination in &all {
            let mut inner = scope.clone();
            for (name, item) in &combination.items {
                inner.set(name, item.clone());
            }
            let Some(items) = items(axis, &inner, source, variables, faults) else { return Vec::new() };
            if next.len() + items.len() > MOST_TASKS {
                faults.push(Diagnostic::error(
                    "too_many_tasks",
                    axis.name.at,
                    format!("stage `{}` would have more than {MOST_TASKS} tasks", stage.name.text),
                ));
                return Vec::new();
            }
            for (key, item) in items {
                let mut grown = combination.clone();
                grown.axes.push((axis.name.text.clone(), key));
                grown.items.push((axis.name.text.clone(), item));
                next.push(grown);
            }
        }
        all = next;
    }
    all.retain(|combination| !stage.exclude.iter().any(|rule| excluded(rule, combination)));
    all
}

fn excluded(rule: &[(crate::value::Key, Vec<Value>)], combination: &Combination) -> bool {
    rule.iter().all(|(axis, values)| {
        combination.axes.iter().any(|(name, key)| *name == axis.text && values.iter().any(|value| value.spelling() == Some(key)))
    })
}

type Keyed = Vec<(String, Val)>;

/// The items of one axis, with their keys.
fn items(axis: &Axis, scope: &Scope, source: &str, variables: &mut BTreeSet<String>, faults: &mut Vec<Diagnostic>) -> Option<Keyed> {
    let (value, at) = match &axis.items {
        Items::Expression(words) => (evaluate(words, scope, source, variables, faults)?, words.at),
        Items::Literal(value) => (fill(value, scope, source, variables, faults)?, value.at),
    };
    let keyed = keyed(value, at, &axis.name.text, faults)?;
    let mut seen = std::collections::HashSet::new();
    for (key, _) in &keyed {
        if !seen.insert(key.as_str()) {
            faults.push(
                Diagnostic::error("same_item", at, format!("axis `{}` has two items with the key `{key}`", axis.name.text))
                    .label("each item must have a key of its own"),
            );
            return None;
        }
    }
    Some(keyed)
}

fn evaluate(words: &Words, scope: &Scope, source: &str, variables: &mut BTreeSet<String>, faults: &mut Vec<Diagnostic>) -> Option<Val> {
    let result = expression(&words.text).and_then(|expression| expression.value(scope, Volatile::ByName));
    match result {
        Ok((value, reads)) => {
            variables.extend(reads.env);
            Some(value)
        }
        Err(list) => {
            for fault in list {
                let word = words.text.trim();
                let mut diagnostic = at_words(&fault, words, source);
                if word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') && diagnostic.hint.is_none() {
                    diagnostic = diagnostic.hint(format!("a text here is an expression; for the one item `{word}` write `[{word}]`"));
                }
                faults.push(diagnostic);
            }
            None
        }
    }
}

/// A template's fault at its place in the file.
pub fn at_words(fault: &Fault, words: &Words, source: &str) -> Diagnostic {
    let mut diagnostic =
        Diagnostic::error(fault.code, words.place(source, fault.range.clone()), fault.message.clone()).label(fault.label.clone());
    diagnostic.hint = fault.hint.clone();
    diagnostic
}

/// A literal list or map with the templates in its texts filled in.
fn fill(value: &Value, scope: &Scope, source: &str, variables: &mut BTreeSet<String>, faults: &mut Vec<Diagnostic>) -> Option<Val> {
    match &value.data {
        Data::Scalar(Scalar { text, style }) if text.contains("${{") => {
            let words = Words { text: text.clone(), at: value.at, style: *style };
            let template = match Template::parse(text) {
                Ok(template) => template,
                Err(list) => {
                    faults.extend(list.iter().map(|fault| at_words(fault, &words, source)));
                    return None;
                }
            };
            let result = if template.single() {
                template.value(scope, Volatile::ByName)
            } else {
                template.text(scope, Volatile::ByName).map(|(text, reads)| (Val::Text(text), reads))
            };
            match result {
                Ok((value, read)) => {
                    variables.extend(read.env);
                    Some(value)
                }
                Err(list) => {
                    faults.extend(list.iter().map(|fault| at_words(fault, &words, source)));
                    None
                }
            }
        }
        Data::Scalar(_) => Some(Val::from_value(value)),
        Data::List(list) => {
            let mut filled = Vec::with_capacity(list.len());
            for item in list {
                match fill(item, scope, source, variables, faults)? {
                    // A template that yields a list splices, null drops.
                    Val::List(inner) if is_hole(item) => filled.extend(inner),
                    Val::Null if is_hole(item) => {}
                    other => filled.push(other),
                }
            }
            Some(Val::List(filled))
        }
        Data::Map(entries) => {
            let mut filled = Vec::with_capacity(entries.len());
            for (key, item) in entries {
                filled.push((key.text.clone(), fill(item, scope, source, variables, faults)?));
            }
            Some(Val::Map(filled))
        }
    }
}

fn is_hole(value: &Value) -> bool {
    matches!(&value.data, Data::Scalar(Scalar { text, style: Style::Plain | Style::Single | Style::Double | Style::Block }) if text.contains("${{"))
}

/// Items with their keys: a list of scalars by themselves, a list of maps by `key` or `name`, else
/// by index; a map by its keys.
fn keyed(value: Val, at: Span, axis: &str, faults: &mut Vec<Diagnostic>) -> Option<Keyed> {
    let fail = |faults: &mut Vec<Diagnostic>, message: String, label: &str| {
        faults.push(Diagnostic::error("bad_axis", at, message).label(label));
        None
    };
    match value {
        Val::List(list) => {
            let mut keyed = Vec::with_capacity(list.len());
            for (index, item) in list.into_iter().enumerate() {
                match item {
                    Val::Map(fields) => {
                        let named =
                            fields.iter().find(|(name, _)| name == "key").or_else(|| fields.iter().find(|(name, _)| name == "name"));
                        let key = match named {
                            Some((field, value)) => match printed(value) {
                                Some(key) => key,
                                None => {
                                    return fail(
                                        faults,
                                        format!("item {} of axis `{axis}` has a `{field}` that is no text", index + 1),
                                        "a key is one text",
                                    );
                                }
                            },
                            None => index.to_string(),
                        };
                        keyed.push((key.clone(), item_of(key, fields)));
                    }
                    Val::Item { key, fields } => keyed.push((key.clone(), Val::Item { key, fields })),
                    Val::Null => return fail(faults, format!("item {} of axis `{axis}` is null", index + 1), "an item needs a value"),
                    scalar => match printed(&scalar) {
                        Some(key) => keyed.push((key, scalar)),
                        None => {
                            return fail(
                                faults,
                                format!("item {} of axis `{axis}` is a list", index + 1),
                                "an item is a text, a number or a map",
                            );
                        }
                    },
                }
            }
            Some(keyed)
        }
        Val::Map(entries) => Some(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let fields = match value {
                        Val::Map(fields) => fields,
                        other => vec![("value".into(), other)],
                    };
                    (key.clone(), item_of(key, fields))
                })
                .collect(),
        ),
        Val::Entries(list) => keyed_entries(list, at, axis, faults),
        Val::Null => fail(faults, format!("axis `{axis}` is null"), "a list or a map is needed"),
        other => {
            let shown = printed(&other).unwrap_or_default();
            fail(faults, format!("axis `{axis}` is one value, `{shown}`"), &format!("for one item write `[{shown}]`"))
        }
    }
}

/// What a value prints as; `None` for null, lists and maps.
pub fn printed(value: &Val) -> Option<String> {
    value.print().map(str::to_string)
}

/// An item of a map: its fields, and `key`.
fn item_of(key: String, mut fields: Vec<(String, Val)>) -> Val {
    fields.retain(|(name, _)| name != "key");
    fields.insert(0, ("key".into(), Val::Text(key.clone())));
    Val::Item { key, fields }
}

fn keyed_entries(list: Vec<(Option<String>, Val)>, at: Span, axis: &str, faults: &mut Vec<Diagnostic>) -> Option<Keyed> {
    keyed(Val::List(list.into_iter().map(|(_, item)| item).collect()), at, axis, faults)
}
