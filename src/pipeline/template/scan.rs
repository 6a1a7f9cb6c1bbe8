//! The words of an expression, and the lookups in it.
//!
//! Owns where a hole ends (strings and brackets inside it respected), which words are lookups
//! (`config.db.host`, `inputs[0]`), and the faults that need no value: strange signs, habits of other
//! tools, filters and tests that don't exist. Never computes: what is not a lookup is handed to the
//! expression engine as it stands.

use std::ops::Range;

use super::{Fault, nearest};

/// Filters an expression may use; `raw` and `json` also say how a value enters a command.
pub const FILTERS: &[&str] = &[
    "abs",
    "bool",
    "count",
    "default",
    "each",
    "first",
    "float",
    "format",
    "int",
    "items",
    "join",
    "json",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "raw",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "sum",
    "to_file",
    "trim",
    "unique",
    "upper",
    "zip",
];

/// Tests an expression may use after `is`, and in `select` and `reject`.
pub const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "undefined",
    "upper",
];

/// Functions an expression may call.
pub const FUNCTIONS: &[&str] = &["range"];

const WORDS: &[&str] = &["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None", "null"];

/// A word of an expression.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub at: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A name or a keyword.
    Name,
    /// A number.
    Number,
    /// A string with its quotes.
    Text,
    /// An operator or bracket.
    Sign,
    /// A byte no expression has.
    Strange,
    /// A string without an end.
    Open,
}

/// One step of a lookup.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Step {
    Field(String),
    Index(i64),
}

/// A name with its fields and literal indexes.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Lookup {
    pub name: String,
    /// Place of the name, and of each step up to its end.
    pub name_at: Range<usize>,
    pub steps: Vec<(Step, Range<usize>)>,
    /// It may be missing: `| default(…)` or `is defined` follows.
    pub guarded: bool,
    /// How it is handed to the engine.
    pub handed: Handed,
}

impl Lookup {
    /// Its whole place.
    pub fn at(&self) -> Range<usize> {
        self.name_at.start..self.steps.last().map_or(self.name_at.end, |(_, at)| at.end)
    }
}

/// How the value of a lookup is handed to the engine, whose own operators know only plain texts and
/// plain numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handed {
    /// With fields and spelling.
    Whole,
    /// As plain text or number, and so the entries of a list: what an operator gets.
    Plain,
    /// As plain text or number, but the entries of a list whole.
    PlainOutside,
}

/// The words from `from` on: up to the `}}` that ends the hole (its place is returned), or to the end
/// of the text if `whole`.
pub(super) fn tokens(text: &str, from: usize, whole: bool) -> (Vec<Token>, Option<usize>) {
    let bytes = text.as_bytes();
    let at = |pos: usize| bytes.get(pos).copied().unwrap_or(0);
    let (mut tokens, mut pos, mut depth) = (Vec::new(), from, 0usize);
    while pos < bytes.len() {
        let start = pos;
        let byte = bytes[pos];
        if byte.is_ascii_whitespace() {
            pos += 1;
            continue;
        }
        if !whole && depth == 0 && byte == b'}' && at(pos + 1) == b'}' {
            return (tokens, Some(pos));
        }
        let kind = if byte.is_ascii_alphabetic() || byte == b'_' {
            pos = name_end(bytes, pos);
            Kind::Name
        } else if byte.is_ascii_digit() {
            let after_dot = matches!(tokens.last(), Some(Token { kind: Kind::Sign, at }) if &text[at.clone()] == ".");
            pos = number_end(bytes, pos, after_dot);
            Kind::Number
        } else if byte == b'\'' || byte == b'"' {
            pos += 1;
            while pos < bytes.len() && bytes[pos] != byte {
                pos += if bytes[pos] == b'\\' { 2 } else { 1 };
            }
            pos += 1;
            if pos > bytes.len() {
                pos = bytes.len();
                Kind::Open
            } else {
                Kind::Text
            }
        } else {
            pos += match (byte, at(pos + 1)) {
                (b'*', b'*') | (b'/', b'/') | (b'=' | b'!' | b'<' | b'>', b'=') | (b'&', b'&') | (b'|', b'|') => 2,
                _ => text[pos..].chars().next().map_or(1, char::len_utf8),
            };
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            match &text[start..pos] {
                "." | "," | ":" | "(" | ")" | "[" | "]" | "{" | "}" | "+" | "-" | "*" | "/" | "//" | "%" | "**" | "~" | "|" | "<" | ">"
                | "<=" | ">=" | "==" | "!=" | "=" => Kind::Sign,
                _ => Kind::Strange,
            }
        };
        tokens.push(Token { kind, at: start..pos });
    }
    (tokens, None)
}

/// Names of stages, axes and settings may hold `-` before a letter: `my-axis` is a name, `n-1` is not.
fn name_end(bytes: &[u8], mut pos: usize) -> usize {
    loop {
        match bytes.get(pos) {
            Some(b) if b.is_ascii_alphanumeric() || *b == b'_' => pos += 1,
            Some(b'-') if bytes.get(pos + 1).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_') => pos += 1,
            _ => return pos,
        }
    }
}

fn number_end(bytes: &[u8], mut pos: usize, after_dot: bool) -> usize {
    let digits = |mut pos: usize| {
        while bytes.get(pos).is_some_and(u8::is_ascii_digit) {
            pos += 1;
        }
        pos
    };
    if !after_dot && bytes[pos] == b'0' && matches!(bytes.get(pos + 1), Some(b'x' | b'o' | b'b')) {
        pos += 2;
        while bytes.get(pos).is_some_and(u8::is_ascii_hexdigit) {
            pos += 1;
        }
        return pos;
    }
    pos = digits(pos);
    if after_dot {
        return pos;
    }
    if bytes.get(pos) == Some(&b'.') && bytes.get(pos + 1).is_some_and(u8::is_ascii_digit) {
        pos = digits(pos + 1);
    }
    if matches!(bytes.get(pos), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(pos + 1), Some(b'+' | b'-')));
        if bytes.get(pos + 1 + sign).is_some_and(u8::is_ascii_digit) {
            pos = digits(pos + 1 + sign);
        }
    }
    pos
}

/// What the words of one expression are.
#[derive(Debug)]
pub(super) struct Scanned {
    pub lookups: Vec<Lookup>,
    /// For each lookup the tokens it is made of.
    pub spans: Vec<Range<usize>>,
    /// Tokens of the expression without a closing `| raw`.
    pub tokens: Vec<Token>,
    /// It ends in `| raw`.
    pub raw: bool,
    /// It ends in `| json` (before `| raw`).
    pub json: bool,
    /// Comparisons that are always made.
    pub comparisons: Vec<Comparison>,
}

/// A comparison whose sides are lookups or literals.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub sides: [Side; 2],
    /// `==` or `!=`; else an order.
    pub equality: bool,
    pub at: Range<usize>,
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub(super) enum Side {
    Lookup(usize),
    Number(String),
    Text(String),
}

/// Finds lookups and the faults that need no value.
pub(super) fn scan(text: &str, mut tokens: Vec<Token>, faults: &mut Vec<Fault>) -> Scanned {
    let before = faults.len();
    for token in &tokens {
        if let Some(fault) = strange(text, token) {
            faults.push(fault);
        }
    }
    let mut raw = false;
    if faults.len() == before {
        raw = ends_in(text, &tokens, "raw", faults);
        if raw {
            let cut = tokens.len() - if is(text, tokens.last(), ")") { 4 } else { 2 };
            tokens.truncate(cut);
        }
    }
    let json = faults.len() == before && ends_in(text, &tokens, "json", &mut Vec::new());
    let mut scanned = Scanned { lookups: Vec::new(), spans: Vec::new(), tokens, raw, json, comparisons: Vec::new() };
    if faults.len() == before {
        find_lookups(text, &mut scanned, faults);
        scanned.comparisons = comparisons(text, &scanned);
    }
    scanned
}

fn is(text: &str, token: Option<&Token>, word: &str) -> bool {
    token.is_some_and(|token| &text[token.at.clone()] == word && token.kind != Kind::Text)
}

/// Whether the whole expression goes through a last `| FILTER`. `raw` at any other place is a fault.
fn ends_in(text: &str, tokens: &[Token], filter: &str, faults: &mut Vec<Fault>) -> bool {
    let word = |n: usize| tokens.get(n).filter(|token| token.kind != Kind::Text).map_or("", |token| &text[token.at.clone()]);
    let count = tokens.len();
    let empty_call = count >= 5 && word(count - 1) == ")" && word(count - 2) == "(";
    let pipe = (count - if empty_call { 2 } else { 0 }).wrapping_sub(2);
    let last = count >= 3 && word(pipe) == "|" && word(pipe + 1) == filter;
    for (n, token) in tokens.iter().enumerate().skip(1) {
        if word(n - 1) == "|" && word(n) == filter && (!last || n != pipe + 1) {
            faults.push(
                Fault::new("template_syntax", token.at.clone(), format!("`{filter}` must be the last filter of the whole expression"))
                    .label("not the last one"),
            );
            return false;
        }
    }
    if !last {
        return false;
    }
    // A filter binds tighter than any operator: `a ~ b | raw` would be `a ~ (b | raw)`.
    let mut depth = 0usize;
    for n in 0..pipe {
        match word(n) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "or" | "and" | "not" | "if" | "else" | "in" | "is" | "+" | "-" | "*" | "/" | "//" | "%" | "**" | "~" | "<" | ">" | "<="
            | ">=" | "=="
                if depth == 0 =>
            {
                faults.push(
                    Fault::new("template_syntax", tokens[pipe + 1].at.clone(), format!("`{filter}` would hold for the last part only"))
                        .label("of this part")
                        .hint(format!(
                            "put the rest in brackets: `({}) | {filter}`",
                            &text[tokens[0].at.start..tokens[pipe].at.start].trim_end()
                        )),
                );
                return false;
            }
            _ => {}
        }
    }
    true
}

fn strange(text: &str, token: &Token) -> Option<Fault> {
    let word = &text[token.at.clone()];
    let fault = |message: String| Some(Fault::new("template_syntax", token.at.clone(), message));
    match token.kind {
        Kind::Open => {
            Some(Fault::new("template_unclosed", token.at.clone(), "the string has no closing quote").label("opened here").hint(CUT))
        }
        Kind::Strange => {
            let instead = match word {
                "&&" => "write `and`",
                "||" => "write `or`",
                "!" => "write `not`",
                "?" => "write `A if TEST else B`",
                "$" => "names stand without `$` here",
                _ => return fault(format!("`{word}` means nothing in an expression")).map(|fault| fault.label("not expected here")),
            };
            fault(format!("`{word}` is no operator here")).map(|fault| fault.label(instead))
        }
        Kind::Name | Kind::Number | Kind::Text | Kind::Sign => None,
    }
}

pub(super) const CUT: &str = "in YAML ` #` begins a comment unless the value is quoted or a `|` block; it may have cut this text";

fn find_lookups(text: &str, scanned: &mut Scanned, faults: &mut Vec<Fault>) {
    let tokens = &scanned.tokens;
    let word = |n: usize| tokens.get(n).filter(|token| token.kind != Kind::Text).map_or("", |token| &text[token.at.clone()]);
    let before = |n: usize| if n == 0 { "" } else { word(n - 1) };
    let computes = (0..tokens.len())
        .any(|n| matches!(word(n), "+" | "-" | "*" | "/" | "//" | "%" | "**" | "<" | ">" | "<=" | ">=" | "==" | "!=" | "in" | "is" | "{"));
    let (mut n, mut depth) = (0, 0usize);
    while n < tokens.len() {
        let token = &tokens[n];
        let name = word(n);
        match name {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if name == "=" && token.kind == Kind::Sign && !(n >= 2 && matches!(before(n - 1), "(" | ",")) {
            faults.push(Fault::new("template_syntax", token.at.clone(), "`=` is no operator here").label("write `==` to compare"));
        }
        if token.kind != Kind::Name {
            n += 1;
            continue;
        }
        let (known, what, code) = match (before(n), n >= 2 && before(n - 1) == "is") {
            ("|", _) => (FILTERS, "filter", "unknown_filter"),
            ("is", _) if name != "not" => (TESTS, "test", "unknown_test"),
            ("not", true) => (TESTS, "test", "unknown_test"),
            _ if word(n + 1) == "(" && before(n) != "." && !WORDS.contains(&name) => (FUNCTIONS, "function", "unknown_function"),
            _ => (&[] as &[&str], "", ""),
        };
        if !what.is_empty() {
            if !known.contains(&name) {
                faults.push(unknown(what, code, name, known, token.at.clone()));
            } else if name == "to_file" {
                faults.push(Fault::new("not_yet", token.at.clone(), "`to_file` comes with a later version of flow").label("not there yet"));
            }
            n += 1;
            continue;
        }
        if WORDS.contains(&name) || before(n) == "." || (word(n + 1) == "=" && matches!(before(n), "(" | ",")) {
            n += 1;
            continue;
        }
        let first = n;
        let mut lookup =
            Lookup { name: name.to_string(), name_at: token.at.clone(), steps: Vec::new(), guarded: false, handed: Handed::Whole };
        n += 1;
        loop {
            let end = |n: usize| tokens[n].at.end;
            if word(n) == "." && tokens.get(n + 1).is_some_and(|next| next.kind == Kind::Name) {
                if word(n + 2) == "(" {
                    break;
                }
                lookup.steps.push((Step::Field(word(n + 1).to_string()), tokens[n].at.start..end(n + 1)));
                n += 2;
            } else if word(n) == "." && tokens.get(n + 1).is_some_and(|next| next.kind == Kind::Number) {
                let Ok(index) = word(n + 1).parse() else { break };
                lookup.steps.push((Step::Index(index), tokens[n].at.start..end(n + 1)));
                n += 2;
            } else if word(n) == "[" && word(n + 2) == "]" && tokens[n + 1].kind == Kind::Text {
                let quoted = &text[tokens[n + 1].at.clone()];
                if quoted.contains('\\') {
                    break;
                }
                lookup.steps.push((Step::Field(quoted[1..quoted.len() - 1].to_string()), tokens[n].at.start..end(n + 2)));
                n += 3;
            } else if word(n) == "[" && (word(n + 2) == "]" || (word(n + 1) == "-" && word(n + 3) == "]")) {
                let minus = usize::from(word(n + 1) == "-");
                let Ok(index) = word(n + 1 + minus).parse::<i64>() else { break };
                lookup.steps.push((Step::Index(if minus == 1 { -index } else { index }), tokens[n].at.start..end(n + 2 + minus)));
                n += 3 + minus;
            } else {
                break;
            }
        }
        if word(n) == "." && word(n + 2) == "(" {
            let method = word(n + 1);
            let filter = match method {
                "toUpperCase" | "uppercase" => "upper",
                "toLowerCase" | "lowercase" => "lower",
                "strip" => "trim",
                method => method,
            };
            let mut fault = Fault::new("unknown_function", tokens[n + 1].at.clone(), "values have no methods");
            fault = match FILTERS.contains(&filter) {
                true => fault.label(format!("write it as a filter: `… | {filter}`")),
                false => fault.label("filters do this: `… | upper`"),
            };
            faults.push(fault);
            n += 2;
        }
        let next = word(n);
        let filter = if next == "|" { word(n + 1) } else { "" };
        lookup.guarded = filter == "default"
            || (next == "is" && matches!((word(n + 1), word(n + 2)), ("defined" | "undefined", _) | ("not", "defined" | "undefined")));
        // What a branch of the outermost `if` gives is the result itself.
        let result = depth == 0 && (n == tokens.len() || next == "if") && (first == 0 || before(first) == "else");
        lookup.handed = match (computes, next, filter) {
            (false, ..) | (_, "[", _) => Handed::Whole,
            _ if result => Handed::Whole,
            _ if next == "~" || before(first) == "~" => {
                let sums = |word: &str| matches!(word, "*" | "/" | "//" | "%" | "**" | "-" | "+");
                if sums(next) || sums(before(first)) { Handed::Plain } else { Handed::Whole }
            }
            (_, _, "replace" | "split" | "upper" | "lower" | "trim" | "join" | "each" | "json" | "length" | "count") => Handed::Whole,
            (_, _, "map" | "select" | "reject" | "selectattr" | "rejectattr" | "sort" | "unique" | "list" | "zip") => Handed::Whole,
            (_, _, "default") => Handed::PlainOutside,
            _ => Handed::Plain,
        };
        scanned.spans.push(first..n);
        scanned.lookups.push(lookup);
    }
}

/// The engine orders any two values, a text and a number too; these comparisons are checked before.
/// Only those before the first `and` or `or`: the others may be guarded by it.
fn comparisons(text: &str, scanned: &Scanned) -> Vec<Comparison> {
    let tokens = &scanned.tokens;
    let word = |n: usize| tokens.get(n).filter(|token| token.kind != Kind::Text).map_or("", |token| &text[token.at.clone()]);
    let binds = |word: &str| matches!(word, "+" | "-" | "*" | "/" | "//" | "%" | "**" | "~" | "|" | "." | "[" | "(");
    let side = |first: usize, last: usize| -> Option<Side> {
        if let Some(slot) = scanned.spans.iter().position(|span| *span == (first..last)) {
            return Some(Side::Lookup(slot));
        }
        let token = tokens.get(first).filter(|_| last == first + 1)?;
        let literal = &text[token.at.clone()];
        match token.kind {
            Kind::Number => Some(Side::Number(literal.to_string())),
            Kind::Text => Some(Side::Text(literal.get(1..literal.len() - 1)?.to_string())),
            _ => None,
        }
    };
    let mut found = Vec::new();
    for n in 1..tokens.len() {
        match word(n) {
            "and" | "or" => break,
            "<" | ">" | "<=" | ">=" | "==" | "!=" => {}
            _ => continue,
        }
        let first = scanned.spans.iter().find(|span| span.end == n).map_or(n - 1, |span| span.start);
        let last = scanned.spans.iter().find(|span| span.start == n + 1).map_or(n + 2, |span| span.end);
        let tight = (first > 0 && binds(word(first - 1)) && word(first - 1) != "(") || binds(word(last));
        if let (false, Some(left), Some(right)) = (tight, side(first, n), side(n + 1, last)) {
            let at = tokens[first].at.start..tokens[last - 1].at.end;
            found.push(Comparison { sides: [left, right], equality: matches!(word(n), "==" | "!="), at });
        }
    }
    found
}

fn unknown(what: &str, code: &'static str, name: &str, known: &[&str], at: Range<usize>) -> Fault {
    let fault = Fault::new(code, at, format!("there is no {what} `{name}`"));
    let instead = match name {
        "contains" => "write `'part' in text`",
        "startsWith" | "startswith" => "write `text is startingwith('part')`",
        "endsWith" | "endswith" => "write `text is endingwith('part')`",
        "toJSON" | "tojson" => "write `value | json`",
        "fromJSON" | "hashFiles" => "flow has nothing like it: declare the files as `inputs`",
        "success" | "failure" | "always" | "cancelled" => "see the stage keys `runs`, `allow_failure`",
        "length" | "len" | "size" => "write `value | length`",
        "basename" => "paths have fields: `.name`, `.stem`, `.ext`, `.dir`",
        "strip" => "write `trim`",
        "d" => "write `default`",
        "quote" | "shellquote" | "q" => "values in `cmd` are quoted by themselves",
        "capitalize" | "title" => "only `upper` and `lower` are there",
        _ => match nearest(name, known.iter().copied()) {
            Some(near) => return fault.label(format!("did you mean `{near}`?")),
            None if FILTERS.contains(&name) => return fault.label(format!("`{name}` is a filter: `value | {name}`")),
            None => return fault.label(format!("unknown {what}")).hint(format!("there are: {}", known.join(", "))),
        },
    };
    fault.label(instead)
}
