//! The tree a file is read into: text, lists and maps, each with its place.
//!
//! Owns what a YAML scalar means (1.2 core, strictly) and keeps how it was written: `1.10` stays
//! `1.10`. Never touches a parser. Must hold: nothing here loses the spelling of a scalar.

use serde::{Deserialize, Serialize};

use crate::diag::Span;

/// A value and where it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Value {
    /// Its place; of a list or map from its first to its last entry.
    pub at: Span,
    /// What it is.
    pub data: Data,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Data {
    /// A scalar as it was written.
    Scalar(Scalar),
    /// A list.
    List(Vec<Value>),
    /// A map; keys are unique.
    Map(Vec<(Key, Value)>),
}

/// A scalar: its text after quotes and escapes, and how it stood in the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scalar {
    /// The text.
    pub text: String,
    /// How it was written.
    pub style: Style,
}

/// How a scalar stood in the file. Only a plain one can be anything but text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`
    Single,
    /// `"…"`
    Double,
    /// A `|` or `>` block.
    Block,
}

/// The key of a map's entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Its place.
    pub at: Span,
}

/// What a scalar means by YAML 1.2's core schema.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Meaning<'a> {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(&'a str),
}

impl Scalar {
    /// A plain scalar.
    pub fn plain(text: impl Into<String>) -> Scalar {
        Scalar { text: text.into(), style: Style::Plain }
    }

    /// Text that can be nothing else.
    pub fn text(text: impl Into<String>) -> Scalar {
        Scalar { text: text.into(), style: Style::Double }
    }

    /// What it means.
    pub fn meaning(&self) -> Meaning<'_> {
        if self.style != Style::Plain {
            return Meaning::Text(&self.text);
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
            "true" | "True" | "TRUE" => return Meaning::Bool(true),
            "false" | "False" | "FALSE" => return Meaning::Bool(false),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Meaning::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
            _ => {}
        }
        number(&self.text).unwrap_or(Meaning::Text(&self.text))
    }
}

/// YAML 1.2 core numbers. `08`, `1_000` and dates are text; so is `0123`, which other readers take
/// for 123, 83 or an error.
fn number(text: &str) -> Option<Meaning<'static>> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let all = |digits: &str, ok: fn(u8) -> bool| !digits.is_empty() && digits.bytes().all(ok);
    if let Some(hex) = text.strip_prefix("0x") {
        return all(hex, |b| b.is_ascii_hexdigit()).then(|| i64::from_str_radix(hex, 16).ok().map(Meaning::Int))?;
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return all(octal, |b| (b'0'..=b'7').contains(&b)).then(|| i64::from_str_radix(octal, 8).ok().map(Meaning::Int))?;
    }
    if all(digits, |b| b.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        return Some(match text.parse::<i64>() {
            Ok(number) => Meaning::Int(number),
            Err(_) => Meaning::Float(text.parse().ok()?),
        });
    }
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let whole = mantissa.split('.').next().unwrap_or_default();
    let fraction = mantissa.split_once('.').map(|(_, fraction)| fraction);
    let digits_only = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits_only(whole) || !fraction.is_none_or(digits_only) || (whole.is_empty() && fraction.is_none_or(str::is_empty)) {
        return None;
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    if let Some(exponent) = exponent {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if unsigned.is_empty() || !digits_only(unsigned) {
            return None;
        }
    }
    let magnitude: f64 = match (whole, fraction) {
        ("", _) => format!("0{digits}").parse().ok()?,
        _ => digits.parse().ok()?,
    };
    Some(Meaning::Float(f64::from(sign) * magnitude))
}

impl Value {
    /// A scalar.
    pub fn scalar(at: Span, scalar: Scalar) -> Value {
        Value { at, data: Data::Scalar(scalar) }
    }

    /// What a scalar means; `None` for lists and maps.
    pub fn meaning(&self) -> Option<Meaning<'_>> {
        match &self.data {
            Data::Scalar(scalar) => Some(scalar.meaning()),
            _ => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.meaning() == Some(Meaning::Null)
    }

    /// A scalar's text as it was written, whatever it means; `None` for null, lists and maps.
    pub fn spelling(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(scalar) if scalar.meaning() != Meaning::Null => Some(&scalar.text),
            _ => None,
        }
    }

    /// The entries of a map.
    pub fn entries(&self) -> Option<&[(Key, Value)]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<&[Value]> {
        match &self.data {
            Data::List(items) => Some(items),
            _ => None,
        }
    }

    /// An entry of a map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries()?.iter().find(|(name, _)| name.text == key).map(|(_, value)| value)
    }

    /// The value at a dotted path of keys (`db.port`).
    pub fn at_path(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(self, |value, key| value.get(key))
    }

    /// What it is, for messages: `a list`, `a map`, `text`, `a number`, `true or false`, `nothing`.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
            Data::Scalar(scalar) => match scalar.meaning() {
                Meaning::Null => "nothing",
                Meaning::Bool(_) => "true or false",
                Meaning::Int(_) | Meaning::Float(_) => "a number",
                Meaning::Text(_) => "text",
            },
        }
    }

    /// The value as JSON text, the form that is compared and kept: spelling of scalars kept (a
    /// number that JSON cannot spell, such as `0x1F` or `.5`, by its value), keys in their order.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write_canonical(&mut out);
        out
    }

    fn write_canonical(&self, out: &mut String) {
        match &self.data {
            Data::List(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write_canonical(out);
                }
                out.push(']');
            }
            Data::Map(entries) => {
                out.push('{');
                for (n, (key, value)) in entries.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_json_text(&key.text, out);
                    out.push(':');
                    value.write_canonical(out);
                }
                out.push('}');
            }
            Data::Scalar(scalar) => match scalar.meaning() {
                Meaning::Null => out.push_str("null"),
                Meaning::Bool(true) => out.push_str("true"),
                Meaning::Bool(false) => out.push_str("false"),
                Meaning::Text(text) => write_json_text(text, out),
                Meaning::Int(_) | Meaning::Float(_) if serde_json::from_str::<serde_json::Number>(&scalar.text).is_ok() => {
                    out.push_str(&scalar.text)
                }
                Meaning::Int(number) => out.push_str(&number.to_string()),
                Meaning::Float(number) if number.is_finite() => out.push_str(&number.to_string()),
                Meaning::Float(_) => write_json_text(&scalar.text, out),
            },
        }
    }
}

/// Text in JSON's quotes.
pub fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_core_forms_are_not_text() {
        let meaning = |text: &str| match Scalar::plain(text).meaning() {
            Meaning::Text(_) => "text",
            Meaning::Null => "null",
            Meaning::Bool(_) => "bool",
            Meaning::Int(_) => "int",
            Meaning::Float(_) => "float",
        };
        for text in [
            "no",
            "on",
            "yes",
            "08",
            "012",
            "1_000",
            "2024-05-01",
            "12:30",
            "0x",
            "0xg",
            "1e",
            "e1",
            ".",
            "-",
            "+",
            "1.2.3",
            "0b1",
            "--1",
            "1 ",
            "١",
        ] {
            assert_eq!(meaning(text), "text", "{text}");
        }
        for text in ["0", "-1", "+12", "0x1F", "0o17", "9223372036854775807"] {
            assert_eq!(meaning(text), "int", "{text}");
        }
        for text in ["1.10", "-.5", ".5", "1.", "1e3", "-1.5E-3", ".inf", "-.INF", ".nan", "9223372036854775808"] {
            assert_eq!(meaning(text), "float", "{text}");
        }
        for text in ["", "~", "null"] {
            assert_eq!(meaning(text), "null", "{text}");
        }
        assert_eq!(meaning("True"), "bool");
        assert_eq!(Scalar::text("true").meaning(), Meaning::Text("true"));
    }

    #[test]
    fn canonical_keeps_spelling_and_is_json() {
        let plain = |text: &str| Value::scalar(Span::default(), Scalar::plain(text));
        for (text, want) in [
            ("1.10", "1.10"),
            ("0x1F", "31"),
            (".5", "0.5"),
            ("+1", "1"),
            ("no", "\"no\""),
            ("~", "null"),
            (".inf", "\".inf\""),
            ("a\"\u{1}", "\"a\\\"\\u0001\""),
        ] {
            let canonical = plain(text).canonical();
            assert_eq!(canonical, want);
            serde_json::from_str::<serde_json::Value>(&canonical).unwrap();
        }
    }
}
