//! The expression engine: minijinja, with the values of lookups as its variables.
//!
//! Owns the one environment, how a [`Val`] is handed over and taken back, and the filters. Never sees
//! a scope: lookups are answered before. Must hold: what no operator touches comes back exactly as it
//! went in (spelling of numbers, fields of items), and nothing undefined is printed as nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::scan::{Handed, TESTS};
use crate::pipeline::scope::Val;
use crate::value::{Meaning, Scalar};

/// The one environment.
pub(super) fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        // Without it errors have no place.
        env.set_debug(true);
        env.add_filter("bool", to_bool);
        env.add_filter("default", default);
        env.add_filter("each", each);
        env.add_filter("float", to_float);
        env.add_filter("first", |value: &Value| Ok::<_, Error>(members(value, "first")?.into_iter().next().unwrap_or_default()));
        env.add_filter("int", to_int);
        env.add_filter("join", join);
        env.add_filter("json", |value: &Value| Ok::<_, Error>(take(value)?.to_json()));
        env.add_filter("last", |value: &Value| Ok::<_, Error>(members(value, "last")?.pop().unwrap_or_default()));
        env.add_filter("length", length);
        env.add_filter("count", length);
        env.add_filter("list", |value: &Value| members(value, "list"));
        env.add_filter("lower", |value: &Value| Ok::<_, Error>(text(value, "lower")?.to_lowercase()));
        env.add_filter("upper", |value: &Value| Ok::<_, Error>(text(value, "upper")?.to_uppercase()));
        env.add_filter("trim", |value: &Value| Ok::<_, Error>(text(value, "trim")?.trim().to_string()));
        env.add_filter("map", |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
            let mut args = vec![one_by_one(value)];
            args.extend(rest.into_values());
            state.apply_filter("map_each", &args)
        });
        env.add_filter("map_each", minijinja::filters::map);
        for name in ["select", "reject", "selectattr", "rejectattr"] {
            let inner: &'static str = match name {
                "select" => "select_each",
                "reject" => "reject_each",
                "selectattr" => "selectattr_each",
                _ => "rejectattr_each",
            };
            env.add_filter(name, move |state: &mut State, value: Value, rest: Rest<ValueOrKwargs>| {
                let mut args = vec![one_by_one(value)];
                args.extend(rest.into_values());
                state.apply_filter(inner, &args)
            });
        }
        env.add_filter("select_each", minijinja::filters::select);
        env.add_filter("reject_each", minijinja::filters::reject);
        env.add_filter("selectattr_each", minijinja::filters::selectattr);
        env.add_filter("rejectattr_each", minijinja::filters::rejectattr);
        env.add_filter("max", |value: &Value| Ok::<_, Error>(sorted(value, "max", None)?.pop().unwrap_or_default()));
        env.add_filter("min", |value: &Value| Ok::<_, Error>(sorted(value, "min", None)?.into_iter().next().unwrap_or_default()));
        env.add_filter("replace", |value: &Value, from: &Value, to: &Value| {
            Ok::<_, Error>(text(value, "replace")?.replace(&text(from, "replace")?, &text(to, "replace")?))
        });
        env.add_filter("reverse", |value: &Value| {
            let mut all = members(value, "reverse")?;
            all.reverse();
            Ok::<_, Error>(all)
        });
        env.add_filter("sort", |value: &Value, kwargs: Kwargs| {
            let attribute: Option<String> = kwargs.get("attribute")?;
            let reverse = kwargs.get::<Option<bool>>("reverse")?.unwrap_or(false);
            kwargs.assert_all_used()?;
            let mut all = sorted(value, "sort", attribute.as_deref())?;
            if reverse {
                all.reverse();
            }
            Ok::<_, Error>(all)
        });
        env.add_filter("split", split);
        env.add_filter("unique", |value: &Value| {
            let mut seen = BTreeSet::new();
            let all = members(value, "unique")?;
            all.into_iter()
                .filter_map(|value| take(&value).map(|val| seen.insert(val.to_json()).then_some(value)).transpose())
                .collect::<Result<Vec<_>, _>>()
        });
        env.add_filter("zip", |value: &Value, others: Rest<Value>| {
            let mut columns = vec![members(value, "zip")?];
            for other in &others.0 {
                columns.push(members(other, "zip")?);
            }
            let rows = columns.iter().map(Vec::len).min().unwrap_or(0);
            Ok::<_, Error>(
                (0..rows)
                    .map(|row| Value::from(columns.iter().filter_map(|column| column.get(row).cloned()).collect::<Vec<_>>()))
                    .collect::<Vec<_>>(),
            )
        });
        for (name, test) in [
            ("eq", (|order| order == Some(std::cmp::Ordering::Equal)) as fn(Option<std::cmp::Ordering>) -> bool),
            ("ne", |order| order != Some(std::cmp::Ordering::Equal)),
            ("lt", |order| order == Some(std::cmp::Ordering::Less)),
            ("gt", |order| order == Some(std::cmp::Ordering::Greater)),
            ("le", |order| matches!(order, Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal))),
            ("ge", |order| matches!(order, Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal))),
        ] {
            env.add_test(name, move |value: &Value, other: &Value| {
                test(plain(value).partial_cmp(&plain(other)).filter(|_| comparable(value, other)))
            });
        }
        env.add_test("in", |value: &Value, other: &Value| {
            if let (Some(part), Some(whole)) = (plain(value).as_str(), plain(other).as_str()) {
                return Ok(whole.contains(part));
            }
            Ok::<_, Error>(members(other, "in")?.iter().any(|member| plain(member) == plain(value)))
        });
        env.add_test("startingwith", |value: &Value, part: &Value| {
            Ok::<_, Error>(text(value, "startingwith")?.starts_with(text(part, "startingwith")?.as_str()))
        });
        env.add_test("endingwith", |value: &Value, part: &Value| {
            Ok::<_, Error>(text(value, "endingwith")?.ends_with(text(part, "endingwith")?.as_str()))
        });
        debug_assert!(TESTS.contains(&"in"));
        env
    })
}

/// What is read of the maps that are handed over whole: dotted paths below `config` or `env`.
pub(super) type Read = Arc<Mutex<BTreeSet<String>>>;

/// A value the engine has no plain form for: an item or map with its fields, entries with names, a
/// number whose spelling says more than its value.
#[derive(Debug)]
struct Held {
    val: Val,
    /// Where it stands below `config` or `env`, and who wants to know what is read of it.
    read: Option<(String, Read)>,
}

impl Held {
    /// Its entries are used as a whole.
    fn whole(&self) {
        if let Some((path, read)) = &self.read {
            read.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        }
    }
}

impl Object for Held {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.val {
            Val::Map(_) | Val::Item { .. } => ObjectRepr::Map,
            Val::Entries(_) | Val::List(_) => ObjectRepr::Seq,
            _ => ObjectRepr::Plain,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if let (Val::Entries(_), Some(at)) = (&self.val, key.as_i64()) {
            return self.val.index(at).map(|val| hand(val, Handed::Whole, None));
        }
        let name = match take(key).ok()? {
            val @ (Val::Text(_) | Val::Number(_) | Val::Item { .. } | Val::Bool(_)) => val.print()?.to_string(),
            _ => return None,
        };
        let below = self.read.as_ref().map(|(path, read)| (format!("{path}.{name}"), Arc::clone(read)));
        match self.val.field(&name) {
            Some(val) => Some(hand(&val, Handed::Whole, below)),
            None => {
                // That it is not there was read too.
                if let Some((path, read)) = below {
                    read.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
                }
                None
            }
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.whole();
        match &self.val {
            Val::Entries(_) => Enumerator::Seq(self.val.members().map_or(0, |all| all.len())),
            Val::Map(_) | Val::Item { .. } => Enumerator::Values(self.val.field_names().into_iter().map(Value::from).collect()),
            _ => Enumerator::NonEnumerable,
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.whole();
        match &self.val {
            Val::Item { key, .. } => !key.is_empty(),
            Val::Map(entries) => !entries.is_empty(),
            Val::Entries(entries) => !entries.is_empty(),
            Val::Number(_) => plain_number(&self.val).is_none_or(|number| number.is_true()),
            _ => true,
        }
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.whole();
        match self.val.print() {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.val.to_json()),
        }
    }
}

/// Hands a value over.
pub(super) fn hand(val: &Val, how: Handed, read: Option<(String, Read)>) -> Value {
    let note = |read: &Option<(String, Read)>| {
        if let Some((path, read)) = read {
            read.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        }
    };
    let held = |read| Value::from_object(Held { val: val.clone(), read });
    match val {
        Val::Map(_) => held(read),
        Val::Entries(_) if how != Handed::Plain => held(read),
        Val::Item { .. } if how == Handed::Whole => {
            note(&read);
            held(None)
        }
        Val::Item { key, .. } => {
            note(&read);
            Value::from(key.as_str())
        }
        _ => {
            note(&read);
            let inside = if how == Handed::Plain { Handed::Plain } else { Handed::Whole };
            match val {
                Val::Null => Value::from(()),
                Val::Bool(flag) => Value::from(*flag),
                Val::Text(text) => Value::from(text.as_str()),
                Val::Number(text) => match plain_number(val) {
                    Some(number) if how != Handed::Whole || number.to_string() == *text => number,
                    _ => held(None),
                },
                _ => Value::from(val.members().unwrap_or_default().into_iter().map(|val| hand(val, inside, None)).collect::<Vec<_>>()),
            }
        }
    }
}

fn plain_number(val: &Val) -> Option<Value> {
    let Val::Number(text) = val else { return None };
    match Scalar::plain(text.as_str()).meaning() {
        Meaning::Int(number) => Some(Value::from(number)),
        Meaning::Float(number) if number.is_finite() => Some(text.parse::<i128>().map_or_else(|_| Value::from(number), Value::from)),
        _ => None,
    }
}

/// A value as an operator would get it.
fn plain(value: &Value) -> Value {
    match value.downcast_object_ref::<Held>() {
        Some(Held { val: Val::Item { key, .. }, .. }) => Value::from(key.as_str()),
        Some(Held { val, .. }) => plain_number(val).unwrap_or_else(|| value.clone()),
        None => value.clone(),
    }
}

/// Whether an order between two values means anything.
fn comparable(a: &Value, b: &Value) -> bool {
    let (a, b) = (plain(a).kind(), plain(b).kind());
    a == b
}

/// Takes a value back; an undefined one is an error.
pub(super) fn take(value: &Value) -> Result<Val, Error> {
    if let Some(held) = value.downcast_object_ref::<Held>() {
        held.whole();
        return Ok(held.val.clone());
    }
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(Error::new(ErrorKind::UndefinedError, "there is no such value")),
        ValueKind::None => Val::Null,
        ValueKind::Bool => Val::Bool(value.is_true()),
        ValueKind::Number => {
            let text = value.to_string();
            match text.as_str() {
                "inf" | "-inf" | "NaN" | "nan" => return Err(wrong("the result is not a finite number")),
                _ => Val::Number(text),
            }
        }
        ValueKind::String => Val::Text(value.as_str().unwrap_or_default().to_string()),
        ValueKind::Seq | ValueKind::Iterable => Val::List(value.try_iter()?.map(|value| take(&value)).collect::<Result<_, _>>()?),
        ValueKind::Map => {
            let mut entries = Vec::new();
            for key in value.try_iter()? {
                let name = text(&key, "a map")?;
                entries.push((name, take(&value.get_item(&key)?)?));
            }
            Val::Map(entries)
        }
        _ => return Err(wrong("the result is no value")),
    })
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn text(value: &Value, filter: &str) -> Result<String, Error> {
    let val = take(value)?;
    match val.print() {
        Some(text) => Ok(text.to_string()),
        None => Err(wrong(format!("`{filter}` takes text, this is {}", val.kind()))),
    }
}

/// The members of a list; an item, a text or a number is a list of itself.
fn members(value: &Value, filter: &str) -> Result<Vec<Value>, Error> {
    if let Some(held) = value.downcast_object_ref::<Held>() {
        return match held.val {
            Val::Entries(_) => Ok(value.try_iter()?.collect()),
            Val::Map(_) => {
                held.whole();
                Ok(held.val.field_names().into_iter().map(Value::from).collect())
            }
            _ => Ok(vec![value.clone()]),
        };
    }
    match value.kind() {
        ValueKind::Undefined => Err(Error::new(ErrorKind::UndefinedError, "there is no such value")),
        ValueKind::String | ValueKind::Number | ValueKind::Bool => Ok(vec![value.clone()]),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(value.try_iter()?.collect()),
        _ => Err(wrong(format!("`{filter}` takes a list, this is nothing"))),
    }
}

fn one_by_one(value: Value) -> Value {
    match value.downcast_object_ref::<Held>() {
        Some(Held { val: Val::Item { .. } | Val::Number(_), .. }) => Value::from(vec![value]),
        _ if matches!(value.kind(), ValueKind::String | ValueKind::Number | ValueKind::Bool) => Value::from(vec![value]),
        _ => value,
    }
}

fn length(value: &Value) -> Result<usize, Error> {
    match value.as_str() {
        Some(text) => Ok(text.chars().count()),
        None => members(value, "length").map(|all| all.len()),
    }
}

fn default(value: &Value, other: Option<Value>, falsy: Option<bool>) -> Value {
    let missing = value.is_undefined() || value.is_none() || (falsy == Some(true) && !value.is_true());
    if missing { other.unwrap_or_else(|| Value::from("")) } else { value.clone() }
}

fn each(value: &Value, prefix: &Value) -> Result<Vec<Value>, Error> {
    let prefix = Value::from(text(prefix, "each")?);
    Ok(members(value, "each")?.into_iter().flat_map(|value| [prefix.clone(), value]).collect())
}

fn join(value: &Value, between: Option<&Value>) -> Result<String, Error> {
    let between = between.map(|value| text(value, "join")).transpose()?.unwrap_or_default();
    let mut out = String::new();
    for (n, value) in members(value, "join")?.iter().enumerate() {
        if n > 0 {
            out.push_str(&between);
        }
        out.push_str(&text(value, "join")?);
    }
    Ok(out)
}

fn split(value: &Value, between: Option<&Value>, times: Option<usize>) -> Result<Vec<String>, Error> {
    let whole = text(value, "split")?;
    let between = between.filter(|value| !value.is_none()).map(|value| text(value, "split")).transpose()?;
    Ok(match (between.as_deref(), times) {
        (Some(""), _) => return Err(wrong("`split` needs a text to split at")),
        (Some(between), Some(times)) => whole.splitn(times.saturating_add(1), between).map(str::to_string).collect(),
        (Some(between), None) => whole.split(between).map(str::to_string).collect(),
        (None, _) => whole.split_whitespace().map(str::to_string).collect(),
    })
}

fn sorted(value: &Value, filter: &str, attribute: Option<&str>) -> Result<Vec<Value>, Error> {
    let mut keyed = Vec::new();
    for member in members(value, filter)? {
        let key = match attribute {
            None => plain(&member),
            Some(path) => path.split('.').try_fold(member.clone(), |value, name| value.get_attr(name)).map(|key| plain(&key))?,
        };
        if !matches!(key.kind(), ValueKind::String | ValueKind::Number | ValueKind::Bool) {
            return Err(wrong(format!("`{filter}` takes texts or numbers")));
        }
        keyed.push((key, member));
    }
    if keyed.iter().any(|(key, _)| keyed.first().is_some_and(|(first, _)| first.kind() != key.kind())) {
        return Err(wrong(format!("`{filter}` takes texts or numbers, not both")));
    }
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(keyed.into_iter().map(|(_, member)| member).collect())
}

fn to_bool(value: &Value) -> Result<bool, Error> {
    let text = text(value, "bool")?;
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(format!("`bool` takes `true` or `false`, not `{text}`"))),
    }
}

fn to_int(value: &Value) -> Result<Value, Error> {
    let text = text(value, "int")?;
    let trimmed = text.trim();
    if let Ok(number) = trimmed.parse::<i128>() {
        return Ok(Value::from(number));
    }
    let number = match Scalar::plain(trimmed).meaning() {
        Meaning::Int(number) => return Ok(Value::from(number)),
        Meaning::Float(number) => number,
        Meaning::Bool(flag) => f64::from(u8::from(flag)),
        _ => return Err(wrong(format!("`int` takes a number, not `{text}`"))),
    };
    if number.is_finite() && number.abs() < 1e30 {
        Ok(Value::from(number.trunc() as i128))
    } else {
        Err(wrong(format!("`{text}` is no whole number")))
    }
}

fn to_float(value: &Value) -> Result<f64, Error> {
    let text = text(value, "float")?;
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => match Scalar::plain(text.trim()).meaning() {
            Meaning::Int(number) => Ok(number as f64),
            _ => Err(wrong(format!("`float` takes a number, not `{text}`"))),
        },
    }
}
