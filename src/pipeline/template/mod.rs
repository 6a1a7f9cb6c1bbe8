//! Templates: text with `${{ … }}` holes, and expressions without.
//!
//! A hole is either a *lookup* (a name, its fields, literal indexes), answered here exactly as the
//! value is spelled, or a computation, done by minijinja with the lookups in it as variables. Owns
//! parsing, faults with places, what was read, and how the volatile names count in a key. Never
//! touches files, never decides what a name means ([`Scope`]). Must hold: nothing undefined is ever
//! printed; two equal scopes give equal text; a template is parsed once and rendered often.
//!
//! In [`Volatile::ByName`] a hole that mentions `attempt`, `resources`, `tmp` or `run` renders as its
//! own text, followed by the values of all other lookups in it, as JSON:
//! `${{ n * resources.cpus, n=4 }}`. So a key changes with the expression and with what else it reads,
//! and never with the attempt or the machine.

mod engine;
mod hole;
mod lookup;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::scope::{Scope, Val, Volatile};
use super::shell::{self, ShellKind, Shelled};
use hole::{Hole, hole};
use lookup::unknown_names;
use scan::Lookup;
pub use scan::{FILTERS, FUNCTIONS, TESTS};

/// Something wrong in a text, at bytes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// A stable word for programs, lower_snake.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Said beside the mark.
    pub label: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault at bytes of a text.
    pub fn new(code: &'static str, range: Range<usize>, message: impl Into<String>) -> Fault {
        Fault { range, code, message: message.into(), label: String::new(), hint: None }
    }

    /// With words beside the mark.
    pub fn label(mut self, label: impl Into<String>) -> Fault {
        self.label = label.into();
        self
    }

    /// With a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }
}

/// What an evaluation really read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reads {
    /// Dotted paths below `config`: a scalar's own, or that of a map or list read whole.
    pub config: BTreeSet<String>,
    /// Names below `env`.
    pub env: BTreeSet<String>,
    /// A volatile name.
    pub volatile: bool,
    /// `inputs`.
    pub inputs: bool,
}

impl Reads {
    /// Adds what another evaluation read.
    pub fn add(&mut self, other: Reads) {
        self.config.extend(other.config);
        self.env.extend(other.env);
        self.volatile |= other.volatile;
        self.inputs |= other.inputs;
    }
}

/// A parsed text with holes.
#[derive(Clone)]
pub struct Template {
    text: Box<str>,
    holes: Vec<Hole>,
    /// Where the holes stand in shell text; found at the first [`Template::command`].
    shelled: OnceLock<Result<Arc<Shelled>, Vec<Fault>>>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        self.text == other.text
    }
}

/// An expression without `${{ }}`.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Box<str>,
    hole: Hole,
}

/// Parses an expression; with `${{ }}` around it it means the same. Faults at bytes of `text`.
pub fn expression(text: &str) -> Result<Expression, Vec<Fault>> {
    let trimmed = text.trim_start();
    if trimmed.starts_with("${{") {
        let template = Template::parse(text)?;
        let mut holes = template.holes.into_iter();
        if let (Some(hole), None) = (holes.next(), holes.next())
            && text[..hole.at.start].trim().is_empty()
            && text[hole.at.end..].trim().is_empty()
        {
            return no_raw(Expression { text: text.into(), hole });
        }
    }
    if let Some(at) = text.find("${{") {
        let fault = Fault::new("template_syntax", at..at + 3, "a `${{ }}` inside an expression");
        return Err(vec![fault.label("not needed here").hint("this is an expression already: write the names without `${{ }}`")]);
    }
    let mut faults = Vec::new();
    let (tokens, _) = scan::tokens(text, 0, true);
    match hole(text, 0..text.len(), tokens, &mut faults) {
        Some(hole) if faults.is_empty() => no_raw(Expression { text: text.into(), hole }),
        _ => Err(faults),
    }
}

fn no_raw(expression: Expression) -> Result<Expression, Vec<Fault>> {
    match expression.hole.raw {
        true => Err(vec![Fault::new("template_syntax", expression.hole.inner, "`raw` is for holes in a `cmd`")]),
        false => Ok(expression),
    }
}

impl Expression {
    /// Its text.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The names in it, each once, in order.
    pub fn names(&self) -> Vec<&str> {
        names(self.hole.lookups.iter())
    }

    /// Whether it mentions a volatile name.
    pub fn uses_volatile(&self) -> bool {
        self.hole.volatile
    }

    /// Whether it mentions `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.hole.lookups.iter().any(|lookup| lookup.name == name)
    }

    /// Evaluates it. By name, one that mentions a volatile name gives text (see the module).
    pub fn value(&self, scope: &Scope, volatile: Volatile<'_>) -> Result<(Val, Reads), Vec<Fault>> {
        unknown_names(self.hole.lookups.iter(), scope)?;
        let mut reads = Reads::default();
        let val = self.hole.value(&self.text, scope, volatile, &mut reads).map_err(|fault| vec![fault])?;
        Ok((val.0.into_owned(), reads))
    }
}

impl Template {
    /// Parses a text. All faults that need no value are found here.
    pub fn parse(text: &str) -> Result<Template, Vec<Fault>> {
        let mut holes = Vec::new();
        let mut faults = Vec::new();
        let mut from = 0;
        while let Some(start) = text[from..].find("${{").map(|at| from + at) {
            let open = start..start + 3;
            let (tokens, end) = scan::tokens(text, open.end, false);
            let Some(end) = end else {
                match tokens.iter().find(|token| token.kind == scan::Kind::Open) {
                    Some(token) => faults.push(
                        Fault::new("template_unclosed", token.at.clone(), "the string has no closing quote")
                            .label("opened here")
                            .hint(scan::CUT),
                    ),
                    None => faults.push(
                        Fault::new("template_unclosed", open, "`${{` without `}}`")
                            .label("opened here")
                            .hint(format!("{}; `${{{{` itself is written `${{{{ '${{{{' }}}}`", scan::CUT)),
                    ),
                }
                break;
            };
            let at = start..end + 2;
            from = at.end;
            let trims = [(text[open.end..].starts_with('-'), open.end..open.end + 1), (text[..end].ends_with('-'), end.max(1) - 1..end)];
            if let Some((_, sign)) = trims.into_iter().find(|(trims, _)| *trims) {
                faults.push(
                    Fault::new("template_syntax", sign, "`${{-` and `-}}` are not used here: nothing trims the text around a hole")
                        .label("take the `-` away, or put a space before it"),
                );
                continue;
            }
            holes.extend(hole(text, at, tokens, &mut faults));
        }
        match faults.is_empty() {
            true => Ok(Template { text: text.into(), holes, shelled: OnceLock::new() }),
            false => Err(faults),
        }
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// Whether it has no hole.
    pub fn is_plain(&self) -> bool {
        self.holes.is_empty()
    }

    /// Whether it is exactly one hole, whose value keeps its type.
    pub fn single(&self) -> bool {
        matches!(self.holes.as_slice(), [hole] if hole.at == (0..self.text.len()))
    }

    /// The names in its holes, each once, in order.
    pub fn names(&self) -> Vec<&str> {
        names(self.lookups())
    }

    /// Whether it mentions a volatile name.
    pub fn uses_volatile(&self) -> bool {
        self.holes.iter().any(|hole| hole.volatile)
    }

    /// Whether it mentions `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.lookups().any(|lookup| lookup.name == name)
    }

    fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.holes.iter().flat_map(|hole| &hole.lookups)
    }

    /// The value of a template that is exactly one hole, with its type; of any other its text.
    pub fn value(&self, scope: &Scope, volatile: Volatile<'_>) -> Result<(Val, Reads), Vec<Fault>> {
        match self.holes.as_slice() {
            [hole] if self.single() => {
                unknown_names(self.lookups(), scope)?;
                let mut reads = Reads::default();
                let (val, _) = hole.value(&self.text, scope, volatile, &mut reads).map_err(|fault| vec![fault])?;
                Ok((val.into_owned(), reads))
            }
            _ => self.text(scope, volatile).map(|(text, reads)| (Val::Text(text), reads)),
        }
    }

    /// The text with all holes filled.
    pub fn text(&self, scope: &Scope, volatile: Volatile<'_>) -> Result<(String, Reads), Vec<Fault>> {
        self.fill(scope, volatile, |_, hole, val, out| match val.print() {
            Some(text) => {
                out.push_str(text);
                Ok(())
            }
            None => Err(no_text(hole, val)),
        })
    }

    /// A command for a shell: each value arrives literally where its hole stands.
    pub fn command(&self, scope: &Scope, volatile: Volatile<'_>, kind: ShellKind) -> Result<(String, Reads), Vec<Fault>> {
        if kind == ShellKind::Other || self.text.starts_with("#!") {
            return self.other_command(scope, volatile);
        }
        // Without these nothing can be unclosed.
        if self.holes.is_empty() && !self.text.contains(['\'', '"', '`', '$', '<', '\0']) {
            return Ok((self.text.to_string(), Reads::default()));
        }
        let ranges = || self.holes.iter().map(|hole| hole.at.clone()).collect::<Vec<_>>();
        let shelled = self.shelled.get_or_init(|| shell::lex(&self.text, &ranges()).map(Arc::new));
        let shelled = shelled.as_ref().map_err(Vec::clone)?;
        let mut marks = shelled.marks();
        let filled = self.fill(scope, volatile, |n, hole, val, out| {
            if hole.raw {
                match val.print() {
                    Some(text) if text.contains('\0') => return Err(shell::nul(&hole.at)),
                    Some(text) => out.push_str(text),
                    None => return Err(no_text(hole, val)),
                }
            } else {
                shelled.write(n, val, &hole.at, out)?;
            }
            marks.filled(&hole.at, out.len());
            Ok(())
        })?;
        // Text by name is hashed, never run.
        if !filled.1.volatile || volatile != Volatile::ByName {
            shelled.check(&marks, &filled.0).map_err(|fault| vec![fault])?;
        }
        Ok(filled)
    }

    fn other_command(&self, scope: &Scope, volatile: Volatile<'_>) -> Result<(String, Reads), Vec<Fault>> {
        let faults: Vec<Fault> = self
            .holes
            .iter()
            .filter(|hole| !hole.raw && !hole.json)
            .map(|hole| {
                Fault::new("quote_place", hole.at.clone(), "flow can't quote for this language")
                    .label("say how: `| json` or `| raw`")
                    .hint("values are quoted by themselves in `cmd` for a POSIX shell only")
            })
            .collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let filled = self.text(scope, volatile)?;
        match filled.0.contains('\0') {
            true => Err(vec![shell::nul(&(0..self.text.len()))]),
            false => Ok(filled),
        }
    }

    /// Fills the holes, each by `write(number, hole, value, out)`. By name, a hole that mentions a
    /// volatile name is written as text; `write` still sees a value like it where there is one, so
    /// that a value that can't stand there is found before the run.
    fn fill(
        &self,
        scope: &Scope,
        volatile: Volatile<'_>,
        mut write: impl FnMut(usize, &Hole, &Val, &mut String) -> Result<(), Fault>,
    ) -> Result<(String, Reads), Vec<Fault>> {
        if self.holes.is_empty() {
            return Ok((self.text.to_string(), Reads::default()));
        }
        unknown_names(self.lookups(), scope)?;
        let mut reads = Reads::default();
        let mut faults = Vec::new();
        let mut out = String::with_capacity(self.text.len() * 2);
        let mut from = 0;
        for (n, hole) in self.holes.iter().enumerate() {
            out.push_str(&self.text[from..hole.at.start]);
            from = hole.at.end;
            match hole.value(&self.text, scope, volatile, &mut reads) {
                Ok((val, None)) => faults.extend(write(n, hole, &val, &mut out).err()),
                Ok((name, Some(like))) => {
                    let start = out.len();
                    let written = like.map_or(Ok(()), |like| write(n, hole, &like, &mut out));
                    out.truncate(start);
                    faults.extend(written.err());
                    out.push_str(name.print().unwrap_or_default());
                }
                Err(fault) => faults.push(fault),
            }
        }
        out.push_str(&self.text[from..]);
        if faults.is_empty() { Ok((out, reads)) } else { Err(faults) }
    }
}

/// Where `${{ … }}` stands in a text that may be no template any more, such as one rendered by name.
pub(super) fn holes(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(start) = text[from..].find("${{").map(|at| from + at)
        && let (_, Some(end)) = scan::tokens(text, start + 3, false)
    {
        from = end + 2;
        found.push(start..from);
    }
    found
}

fn names<'a>(lookups: impl Iterator<Item = &'a Lookup>) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for lookup in lookups {
        if !all.contains(&lookup.name.as_str()) {
            all.push(&lookup.name);
        }
    }
    all
}

fn no_text(hole: &Hole, val: &Val) -> Fault {
    let fault = |message: &str| Fault::new("template_type", hole.at.clone(), message);
    match val {
        Val::Null => {
            fault("this is nothing (`null`), it can't stand in text").label("nothing").hint("`| default('…')` says what to write instead")
        }
        Val::Map(_) => fault("a map can't stand in text").label("a map").hint("name one of its keys, or write `| json`"),
        val => fault("a list can't stand in text").label(val.kind()).hint("write `| join(' ')`, or name one entry, as `[0]`"),
    }
}

/// The name nearest to a mistyped one.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = match name.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    known
        .map(|known| (strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= far && *distance < known.chars().count())
        .min()
        .map(|(_, known)| known)
}
