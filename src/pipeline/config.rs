//! The user's settings: what the file says, and what may change it.
//!
//! Owns the layers of `config` (later: files, profiles) and the conversion to the declared type. The
//! inline value is the declaration. Must hold: a setting never changes its type silently, and a name
//! nobody declared is an error.

use crate::diag::{Diagnostic, Span};
use crate::near::nearest;
use crate::value::{Data, Key, Meaning, Scalar, Style, Value};

/// A `--set key=value` that cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SetFault {
    /// Nobody declared it.
    #[error("no setting `{key}` in `config`")]
    Unknown {
        /// As given.
        key: String,
        /// The nearest that is there.
        near: Option<String>,
    },
    /// Another type.
    #[error("`{key}` is {wants} in the file, and `{value}` is not")]
    Type {
        /// The setting.
        key: String,
        /// The declared type.
        wants: &'static str,
        /// As given.
        value: String,
    },
    /// No `=`.
    #[error("`--set {text}` has no `=`: write `--set key=value`")]
    NoValue {
        /// As given.
        text: String,
    },
}

/// Splits `key=value`.
pub fn split_set(text: &str) -> Result<(String, String), SetFault> {
    text.split_once('=')
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .ok_or_else(|| SetFault::NoValue { text: text.to_string() })
}

/// The settings of a file under these `--set`s, later ones beating earlier ones.
pub fn settle(config: Option<&Value>, set: &[(String, String)]) -> Result<Value, SetFault> {
    let mut settings = config.cloned().unwrap_or(Value { at: Span::default(), data: Data::Map(Vec::new()) });
    for (key, text) in set {
        let declared = config.and_then(|config| config.at_path(key));
        let Some(declared) = declared else {
            let names = config.map(names).unwrap_or_default();
            return Err(SetFault::Unknown { key: key.clone(), near: nearest(key, &names) });
        };
        let value = convert(key, declared, text)?;
        if let Some(place) = at_path_mut(&mut settings, key) {
            *place = value;
        }
    }
    Ok(settings)
}

/// A text as a value of the declared type.
fn convert(key: &str, declared: &Value, text: &str) -> Result<Value, SetFault> {
    let wrong = |wants| Err(SetFault::Type { key: key.into(), wants, value: text.into() });
    let plain = Value::scalar(declared.at, Scalar::plain(text));
    match &declared.data {
        Data::Scalar(scalar) => match scalar.meaning() {
            Meaning::Text(_) => Ok(Value::scalar(declared.at, Scalar::text(text))),
            Meaning::Bool(_) if matches!(plain.meaning(), Some(Meaning::Bool(_))) => Ok(plain),
            Meaning::Bool(_) => wrong("true or false"),
            Meaning::Int(_) | Meaning::Float(_) if matches!(plain.meaning(), Some(Meaning::Int(_) | Meaning::Float(_))) => Ok(plain),
            Meaning::Int(_) | Meaning::Float(_) => wrong("a number"),
            // `null` takes any type: as it would be read in the file.
            Meaning::Null => Ok(parsed(text).unwrap_or(plain)).map(|value| moved(value, declared.at)),
        },
        Data::List(_) => match parsed(text) {
            Some(value) if value.items().is_some() => Ok(moved(value, declared.at)),
            _ => wrong("a list"),
        },
        Data::Map(_) => match parsed(text) {
            Some(value) if value.entries().is_some() => Ok(moved(value, declared.at)),
            _ => wrong("a map"),
        },
    }
}

fn parsed(text: &str) -> Option<Value> {
    let (value, faults) = crate::pipeline::yaml::read(text, 0);
    value.filter(|_| !faults.iter().any(Diagnostic::is_error))
}

/// The same value at another place: what the command line says is shown where it is declared.
fn moved(mut value: Value, at: Span) -> Value {
    value.at = at;
    match &mut value.data {
        Data::Scalar(_) => {}
        Data::List(items) => {
            for item in items {
                *item = moved(std::mem::replace(item, Value::scalar(at, Scalar { text: String::new(), style: Style::Plain })), at);
            }
        }
        Data::Map(entries) => {
            for (key, item) in entries {
                *key = Key { text: std::mem::take(&mut key.text), at };
                *item = moved(std::mem::replace(item, Value::scalar(at, Scalar { text: String::new(), style: Style::Plain })), at);
            }
        }
    }
    value
}

fn at_path_mut<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(value, |value, key| match &mut value.data {
        Data::Map(entries) => entries.iter_mut().find(|(name, _)| name.text == key).map(|(_, value)| value),
        _ => None,
    })
}

/// Every setting's dotted name.
pub fn names(config: &Value) -> Vec<String> {
    places(config).into_iter().map(|(name, _)| name).collect()
}

/// Every setting's dotted name and place, maps and leaves, sorted by name.
pub fn places(config: &Value) -> Vec<(String, Span)> {
    let mut places = Vec::new();
    let mut stack: Vec<(String, &Value)> = vec![(String::new(), config)];
    while let Some((name, value)) = stack.pop() {
        for (key, value) in value.entries().unwrap_or_default() {
            let full = if name.is_empty() { key.text.clone() } else { format!("{name}.{}", key.text) };
            places.push((full.clone(), value.at));
            stack.push((full, value));
        }
    }
    places.sort();
    places
}

/// Settings that must be given and are not: an error for each, and for texts with references, which
/// later versions will have.
pub fn check(config: &Value) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let mut stack: Vec<(String, &Value)> = vec![(String::new(), config)];
    while let Some((name, value)) = stack.pop() {
        match &value.data {
            Data::Map(entries) => {
                for (key, value) in entries.iter().rev() {
                    stack.push((if name.is_empty() { key.text.clone() } else { format!("{name}.{}", key.text) }, value));
                }
            }
            Data::List(items) => stack.extend(items.iter().rev().filter(|item| !item.is_null()).map(|item| (name.clone(), item))),
            Data::Scalar(scalar) if scalar.meaning() == Meaning::Null => faults.push(
                Diagnostic::error("setting_missing", value.at, format!("setting `{name}` must be given"))
                    .label(format!("give it with `--set {name}=…`")),
            ),
            Data::Scalar(scalar) if scalar.text.contains("${{") => faults.push(
                Diagnostic::error("not_yet", value.at, "references between settings are not in this version of flow yet")
                    .label("write the value itself"),
            ),
            Data::Scalar(_) => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Value {
        crate::pipeline::yaml::read(text, 0).0.unwrap()
    }

    fn set(text: &str, key: &str, value: &str) -> Result<String, SetFault> {
        settle(Some(&config(text)), &[(key.into(), value.into())]).map(|value| value.canonical())
    }

    #[test]
    fn the_declared_type_holds() {
        let file = "a: x\nn: 1.5\nb: true\nl: [1]\nm: {k: 1}\nz: null\n";
        assert_eq!(set(file, "a", "08"), Ok("{\"a\":\"08\",\"n\":1.5,\"b\":true,\"l\":[1],\"m\":{\"k\":1},\"z\":null}".into()));
        assert_eq!(set("n: 1", "n", "2.50"), Ok("{\"n\":2.50}".into()));
        assert_eq!(set("m: {k: 1}", "m.k", "2"), Ok("{\"m\":{\"k\":2}}".into()));
        assert_eq!(set("l: [1]", "l", "[a, b]"), Ok("{\"l\":[\"a\",\"b\"]}".into()));
        assert_eq!(set("z: null", "z", "5"), Ok("{\"z\":5}".into()));
        assert!(matches!(set("n: 1", "n", "x"), Err(SetFault::Type { wants: "a number", .. })));
        assert!(matches!(set("b: true", "b", "yes"), Err(SetFault::Type { .. })));
        assert!(matches!(set("l: [1]", "l", "1"), Err(SetFault::Type { .. })));
        assert_eq!(set("threshold: 1", "treshold", "2"), Err(SetFault::Unknown { key: "treshold".into(), near: Some("threshold".into()) }));
        assert!(split_set("x").is_err());
    }

    #[test]
    fn what_is_null_must_be_given() {
        assert_eq!(check(&config("a: null\nb: {c: ~}\nd: 1")).len(), 2);
    }
}
