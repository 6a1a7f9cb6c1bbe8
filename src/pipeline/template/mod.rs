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
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{ErrorKind, Value};

use super::scope::{RESERVED, Scope, VOLATILE, Val, Volatile, Volatiles};
use super::shell::{self, ShellKind, Shelled};
use engine::Read;
pub use scan::{FILTERS, FUNCTIONS, TESTS};
use scan::{Handed, Lookup, Step};

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

#[derive(Clone, Debug)]
struct Hole {
    /// With its delimiters.
    at: Range<usize>,
    /// The expression alone.
    inner: Range<usize>,
    lookups: Vec<Lookup>,
    /// `None`: it is one lookup.
    computed: Option<Computed>,
    raw: bool,
    json: bool,
    volatile: bool,
}

#[derive(Clone)]
struct Computed {
    expression: Arc<minijinja::Expression<'static, 'static>>,
    /// Where pieces of the engine's text stand in ours, by their starts.
    map: Vec<(usize, usize)>,
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Computed")
    }
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
    match hole(text, 0..text.len(), 0..text.len(), tokens, &mut faults) {
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
        names(std::slice::from_ref(&self.hole))
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
        unknown_names(std::slice::from_ref(&self.hole), scope)?;
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
                        Fault::new("template_unclosed", open, "`${{` without `}}`").label("opened here").hint(format!(
                            "{}; `${{{{` itself is written `${{{{ '${{{{' }}}}`",
                            scan::CUT
                        )),
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
            holes.extend(hole(text, at, open.end..end, tokens, &mut faults));
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
        names(&self.holes)
    }

    /// Whether it mentions a volatile name.
    pub fn uses_volatile(&self) -> bool {
        self.holes.iter().any(|hole| hole.volatile)
    }

    /// Whether it mentions `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.holes.iter().any(|hole| hole.lookups.iter().any(|lookup| lookup.name == name))
    }

    /// The value of a template that is exactly one hole, with its type; of any other its text.
    pub fn value(&self, scope: &Scope, volatile: Volatile<'_>) -> Result<(Val, Reads), Vec<Fault>> {
        match self.holes.as_slice() {
            [hole] if self.single() => {
                unknown_names(&self.holes, scope)?;
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
                    .hint("values are quoted by themselves in `cmd` for a POSIX shell only; `$FLOW_TASK` names a JSON file with inputs and outputs")
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
        unknown_names(&self.holes, scope)?;
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

fn names(holes: &[Hole]) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for lookup in holes.iter().flat_map(|hole| &hole.lookups) {
        if !all.contains(&lookup.name.as_str()) {
            all.push(&lookup.name);
        }
    }
    all
}

fn no_text(hole: &Hole, val: &Val) -> Fault {
    let fault = |message: &str| Fault::new("template_type", hole.at.clone(), message);
    match val {
        Val::Null => fault("this is nothing (`null`), it can't stand in text").label("nothing").hint("`| default('…')` says what to write instead"),
        Val::Map(_) => fault("a map can't stand in text").label("a map").hint("name one of its keys, or write `| json`"),
        val => fault("a list can't stand in text").label(val.kind()).hint("write `| join(' ')`, or name one entry, as `[0]`"),
    }
}

/// Compiles one hole.
fn hole(text: &str, at: Range<usize>, inner: Range<usize>, tokens: Vec<scan::Token>, faults: &mut Vec<Fault>) -> Option<Hole> {
    if tokens.is_empty() {
        faults.push(Fault::new("template_syntax", at, "an empty expression").label("nothing in it"));
        return None;
    }
    let before = faults.len();
    let scanned = scan::scan(text, tokens, faults);
    if faults.len() > before {
        return None;
    }
    let word = |token: &scan::Token| if token.kind == scan::Kind::Name { &text[token.at.clone()] } else { "" };
    let count = |name: &str| scanned.tokens.iter().filter(|token| word(token) == name).count();
    if count("if") > count("else") {
        let place = scanned.tokens.iter().find(|token| word(token) == "if").map_or(at, |token| token.at.clone());
        faults.push(
            Fault::new("template_syntax", place, "an `if` needs an `else`")
                .label("without `else`")
                .hint("write `A if TEST else B`; in a list of entries `else none` leaves the entry out"),
        );
        return None;
    }
    let (first, last) = (scanned.tokens.first()?.at.start, scanned.tokens.last()?.at.end);
    let computed = match scanned.spans.as_slice() {
        [span] if *span == (0..scanned.tokens.len()) => None,
        _ => match compile(text, &scanned) {
            Ok(computed) => Some(computed),
            Err(fault) => {
                faults.push(fault);
                return None;
            }
        },
    };
    let volatile = scanned.lookups.iter().any(|lookup| VOLATILE.contains(&lookup.name.as_str()));
    debug_assert!(inner.start <= first && last <= inner.end);
    Some(Hole { at, inner, lookups: scanned.lookups, computed, raw: scanned.raw, json: scanned.json, volatile })
}

/// Hands the expression to the engine with `v0`, `v1`, … in place of its lookups.
fn compile(text: &str, scanned: &scan::Scanned) -> Result<Computed, Fault> {
    let mut source = String::new();
    let mut map = Vec::new();
    let mut n = 0;
    let mut spans = scanned.spans.iter().enumerate().peekable();
    while let Some(token) = scanned.tokens.get(n) {
        if n > 0 && !matches!(scanned.tokens.get(n - 1), Some(last) if last.at.end == token.at.start) {
            source.push(' ');
        }
        map.push((source.len(), token.at.start));
        match spans.peek() {
            Some((slot, span)) if span.start == n => {
                source.push_str(&format!("v{slot}"));
                n = span.end;
                spans.next();
            }
            _ => {
                source.push_str(match &text[token.at.clone()] {
                    "null" => "none",
                    word => word,
                });
                n += 1;
            }
        }
    }
    let end = scanned.tokens.last().map_or(0, |token| token.at.end);
    map.push((source.len(), end));
    match engine::environment().compile_expression_owned(source) {
        Ok(expression) => Ok(Computed { expression: Arc::new(expression), map }),
        Err(error) => {
            let start = scanned.tokens.first().map_or(0, |token| token.at.start);
            let range = error.range().map_or(start..end, |range| back(&map, range));
            let message = format!("the expression is not understood: {}", error.detail().unwrap_or("wrong syntax"));
            Err(Fault::new("template_syntax", range, message).label("here"))
        }
    }
}

/// A range of the engine's text in ours.
fn back(map: &[(usize, usize)], range: Range<usize>) -> Range<usize> {
    let start = map.iter().rev().find(|(theirs, _)| *theirs <= range.start).map_or(0, |&(theirs, ours)| ours + (range.start - theirs));
    let end = map.iter().find(|(theirs, _)| *theirs >= range.end).map_or(start, |&(_, ours)| ours);
    let limit = map.last().map_or(start, |&(_, ours)| ours);
    let start = start.min(limit.saturating_sub(1));
    start..end.clamp(start + 1, limit.max(start + 1))
}

/// All names that mean nothing, also in branches that are not taken.
fn unknown_names(holes: &[Hole], scope: &Scope) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    for lookup in holes.iter().flat_map(|hole| &hole.lookups) {
        let name = lookup.name.as_str();
        if lookup.guarded || VOLATILE.contains(&name) || scope.get(name).is_some() {
            continue;
        }
        let fault = Fault::new("unknown_name", lookup.name_at.clone(), format!("`{name}` is not defined"));
        faults.push(match name {
            "secrets" => Fault { message: "`secrets` may stand only in `env:` values".into(), ..fault }
                .label("visible in process lists and logs here")
                .hint("give it to the command as a variable: `env: {NAME: \"${{ secrets.x }}\"}`"),
            "item" => Fault { message: "`item` is for stages with `take`".into(), ..fault }.label("no queue here"),
            name if RESERVED.contains(&name) => {
                Fault { message: format!("`{name}` has no value here"), ..fault }.label("not known at this place")
            }
            name => {
                let known: Vec<&str> = scope.names.iter().map(|(name, _)| name.as_str()).chain(VOLATILE.iter().copied()).collect();
                let setting = matches!(scope.get("config"), Some(config) if config.field(name).is_some());
                match (setting, nearest(name, known.iter().copied())) {
                    (true, _) => fault.label(format!("write `config.{name}`")),
                    (false, Some(near)) => fault.label(format!("did you mean `{near}`?")),
                    (false, None) if name.contains('-') => {
                        fault.label("no such name").hint(format!("a difference needs spaces: `{}`", name.replace('-', " - ")))
                    }
                    (false, None) => fault.label("no such name").hint(format!("known here: {}", sorted(known).join(", "))),
                }
            }
        });
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names.dedup();
    names
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

/// What is read below which root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Root {
    Config,
    Env,
    Other,
}

/// An answered lookup.
struct Found<'a> {
    val: Cow<'a, Val>,
    root: Root,
    /// Dotted, below the root; stops at a list.
    path: String,
}

impl Hole {
    /// Its value. By name and volatile: its text, and a value like the one it will have if that can be
    /// computed.
    fn value<'a>(
        &self,
        text: &str,
        scope: &'a Scope,
        volatile: Volatile<'_>,
        reads: &mut Reads,
    ) -> Result<(Cow<'a, Val>, Option<Option<Val>>), Fault>
    where
        Self: 'a,
    {
        reads.inputs |= self.lookups.iter().any(|lookup| lookup.name == "inputs");
        if !self.volatile {
            return Ok((self.evaluate(text, scope, None, reads)?, None));
        }
        reads.volatile = true;
        match volatile {
            Volatile::Are(volatiles) => Ok((self.evaluate(text, scope, Some(volatiles), reads)?, None)),
            Volatile::ByName => {
                let name = self.by_name(text, scope, reads)?;
                // Any values do: only faults that hold for all are looked for.
                let like = Volatiles { attempt: 1, cpus: 1, memory: 1 << 30, tmp: "tmp".into(), run: "1".into() };
                let like = self.evaluate(text, scope, Some(&like), &mut Reads::default()).ok().map(Cow::into_owned);
                Ok((Cow::Owned(Val::Text(name)), Some(like)))
            }
        }
    }

    fn by_name(&self, text: &str, scope: &Scope, reads: &mut Reads) -> Result<String, Fault> {
        let mut out = format!("${{{{ {}", text[self.inner.clone()].trim());
        for lookup in self.lookups.iter().filter(|lookup| !VOLATILE.contains(&lookup.name.as_str())) {
            out.push_str(", ");
            out.push_str(&text[lookup.at()]);
            out.push('=');
            match look(lookup, scope, None) {
                Ok(found) => {
                    out.push_str(&found.val.to_json());
                    note(&found, reads);
                }
                Err((_, root, path)) => {
                    out.push('?');
                    note_path(root, path, reads);
                }
            }
        }
        // A volatile name that does not exist, such as `resources.cpu`, is a fault now, not at the start.
        let like = Volatiles { attempt: 1, cpus: 1, memory: 1, tmp: String::new(), run: String::new() };
        for lookup in self.lookups.iter().filter(|lookup| VOLATILE.contains(&lookup.name.as_str()) && !lookup.guarded) {
            look(lookup, scope, Some(&like)).map_err(|(fault, ..)| fault)?;
        }
        out.push_str(" }}");
        Ok(out)
    }

    fn evaluate<'a>(&self, text: &str, scope: &'a Scope, volatiles: Option<&Volatiles>, reads: &mut Reads) -> Result<Cow<'a, Val>, Fault> {
        match (&self.computed, self.lookups.first()) {
            (None, Some(lookup)) => {
                let found = look(lookup, scope, volatiles).map_err(|(fault, ..)| fault)?;
                note(&found, reads);
                Ok(found.val)
            }
            (Some(computed), _) => self.compute(computed, text, scope, volatiles, reads).map(Cow::Owned),
            (None, None) => Ok(Cow::Owned(Val::Null)),
        }
    }

    fn compute(
        &self,
        computed: &Computed,
        text: &str,
        scope: &Scope,
        volatiles: Option<&Volatiles>,
        reads: &mut Reads,
    ) -> Result<Val, Fault> {
        let (config, env) = (Read::default(), Read::default());
        let slots = self.lookups.iter().map(|lookup| match look(lookup, scope, volatiles) {
            Ok(found) => {
                let read = match found.root {
                    Root::Config => Some((found.path.clone(), Arc::clone(&config))),
                    Root::Env => Some((found.path.clone(), Arc::clone(&env))),
                    Root::Other => None,
                };
                Slot::Found(found.val.into_owned(), lookup.handed, read)
            }
            Err((fault, root, path)) => Slot::Missing(fault, root, path),
        });
        let variables = Arc::new(Variables { slots: slots.collect(), missed: Mutex::default() });
        let result = computed.expression.eval(Value::from_dyn_object(Arc::clone(&variables))).and_then(|value| engine::take(&value));
        let missed = std::mem::take(&mut *variables.missed.lock().unwrap_or_else(PoisonError::into_inner));
        for slot in missed.iter().filter_map(|&n| variables.slots.get(n)) {
            if let Slot::Missing(_, root, path) = slot {
                note_path(*root, path.clone(), reads);
            }
        }
        let taken = |read: &Read| std::mem::take(&mut *read.lock().unwrap_or_else(PoisonError::into_inner));
        for path in taken(&config) {
            note_whole(Root::Config, path, scope, reads);
        }
        for path in taken(&env) {
            note_whole(Root::Env, path, scope, reads);
        }
        result.map_err(|error| {
            if error.kind() == ErrorKind::UndefinedError
                && let Some(Slot::Missing(fault, ..)) = missed.iter().rev().find_map(|&n| variables.slots.get(n))
            {
                return fault.clone();
            }
            let range = error.range().map_or(self.inner.clone(), |range| back(&computed.map, range));
            if error.kind() == ErrorKind::UndefinedError {
                let label = text.get(range.clone()).map_or_else(String::new, |part| format!("`{}` is not there", part.trim()));
                return Fault::new("missing_field", range, "there is no such value").label(label).hint("`| default('…')` says what to take instead");
            }
            let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
            let fault = Fault::new("template_type", range, message).label("here");
            match error.kind() {
                ErrorKind::InvalidOperation if text[self.inner.clone()].contains('+') => fault.hint("`~` puts texts together; `| int` makes a number of text"),
                _ => fault,
            }
        })
    }
}

/// The lookups of one evaluation, as the engine's variables.
#[derive(Debug)]
struct Variables {
    slots: Vec<Slot>,
    /// Those that were asked for and are missing.
    missed: Mutex<Vec<usize>>,
}

enum Slot {
    Found(Val, Handed, Option<(String, Read)>),
    Missing(Fault, Root, String),
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl Object for Variables {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let n = key.strip_prefix('v')?.parse().ok()?;
        match self.slots.get(n)? {
            Slot::Found(val, handed, read) => Some(engine::hand(val, *handed, read.clone())),
            Slot::Missing(..) => {
                self.missed.lock().unwrap_or_else(PoisonError::into_inner).push(n);
                None
            }
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

/// Answers a lookup; the fault of a missing one comes with the path that was read in vain.
fn look<'a>(lookup: &Lookup, scope: &'a Scope, volatiles: Option<&Volatiles>) -> Result<Found<'a>, (Fault, Root, String)> {
    let name = lookup.name.as_str();
    let root = match name {
        "config" => Root::Config,
        "env" => Root::Env,
        _ => Root::Other,
    };
    let start = match volatiles.and_then(|volatiles| volatiles.get(name, scope)) {
        Some(val) => Some(Cow::Owned(val)),
        None => scope.get(name).map(Cow::Borrowed),
    };
    let Some(mut val) = start else {
        return Err((Fault::new("unknown_name", lookup.name_at.clone(), format!("`{name}` is not defined")).label("no such name"), root, String::new()));
    };
    let mut path = String::new();
    let mut below = true;
    let mut said = name.to_string();
    for (step, at) in &lookup.steps {
        let next = match (&val, step) {
            (Cow::Borrowed(val), step) => take_step(val, step),
            (Cow::Owned(val), step) => take_step(val, step).map(|val| Cow::Owned(val.into_owned())),
        };
        below &= matches!(*val, Val::Map(_));
        if below {
            if !path.is_empty() {
                path.push('.');
            }
            match step {
                Step::Field(name) => path.push_str(name),
                Step::Index(index) => path.push_str(&index.to_string()),
            }
        }
        val = match next {
            Some(next) => next,
            None => return Err((missing(&said, &val, step, at), root, path)),
        };
        match step {
            Step::Field(name) => said.push_str(&format!(".{name}")),
            Step::Index(index) => said.push_str(&format!("[{index}]")),
        }
    }
    Ok(Found { val, root, path })
}

fn take_step<'a>(val: &'a Val, step: &Step) -> Option<Cow<'a, Val>> {
    match step {
        Step::Field(name) => val.field(name),
        Step::Index(index) => match val {
            Val::Map(_) => val.field(&index.to_string()),
            val => val.index(*index).map(Cow::Borrowed),
        },
    }
}

fn missing(said: &str, val: &Val, step: &Step, at: &Range<usize>) -> Fault {
    let fault = |message: String| Fault::new("missing_field", at.clone(), message);
    let one_path = |fault: Fault| match said {
        "inputs" | "outputs" => fault.hint(format!("`{said}` is written as one path here, so it is that path: write `{said}`")),
        _ => fault,
    };
    match (val, step) {
        (Val::List(_) | Val::Entries(_), Step::Index(index)) => {
            let count = val.members().map_or(0, |all| all.len());
            let entries = if count == 1 { "1 entry".to_string() } else { format!("{count} entries") };
            fault(format!("`{said}` has {entries}, there is no `[{index}]`")).label("out of range")
        }
        (Val::List(_), Step::Field(name)) => {
            fault(format!("`{said}` is a list, it has no `{name}`")).label("a list").hint(format!("name an entry first, as `{said}[0].{name}`, or write `{said} | map(attribute='{name}')`"))
        }
        (Val::Map(_) | Val::Entries(_) | Val::Item { .. }, step) => {
            let name = match step {
                Step::Field(name) => name.clone(),
                Step::Index(index) => index.to_string(),
            };
            let names = val.field_names();
            let fault = match (val, step) {
                (Val::Item { .. }, Step::Index(_)) => one_path(fault(format!("`{said}` is an item, no list")).label("not a list")),
                (Val::Item { .. }, _) => one_path(fault(format!("`{said}` has no field `{name}`"))),
                (Val::Entries(_), _) => fault(format!("`{said}` has no entry named `{name}`")),
                _ => fault(format!("`{said}` has no `{name}`")),
            };
            match nearest(&name, names.iter().copied()) {
                _ if !fault.label.is_empty() => fault,
                Some(near) => fault.label(format!("did you mean `{near}`?")),
                None if names.is_empty() => fault.label("not there"),
                None => Fault { hint: fault.hint.clone().or_else(|| Some(format!("there are: {}", shown(&names)))), ..fault }.label("not there"),
            }
        }
        (Val::Null, _) => fault(format!("`{said}` is nothing (`null`)")).label("nothing to look into"),
        (val, _) => fault(format!("`{said}` is {}, it has no fields", val.kind())).label("not there"),
    }
}

fn shown(names: &[&str]) -> String {
    const MOST: usize = 12;
    let mut text = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(", …");
    }
    text
}

fn note(found: &Found<'_>, reads: &mut Reads) {
    let all = match found.root {
        Root::Config => &mut reads.config,
        Root::Env => &mut reads.env,
        Root::Other => return,
    };
    match found.path.as_str() {
        "" => all.extend(found.val.field_names().into_iter().map(str::to_string)),
        path => {
            all.insert(path.to_string());
        }
    }
}

fn note_path(root: Root, path: String, reads: &mut Reads) {
    match root {
        Root::Config if !path.is_empty() => reads.config.insert(path),
        Root::Env if !path.is_empty() => reads.env.insert(path),
        _ => false,
    };
}

/// A path noted by the engine's side: `` is the whole root.
fn note_whole(root: Root, path: String, scope: &Scope, reads: &mut Reads) {
    let path = path.trim_start_matches('.');
    let name = if root == Root::Config { "config" } else { "env" };
    match (path, scope.get(name)) {
        ("", Some(val)) => val.field_names().into_iter().for_each(|key| note_path(root, key.to_string(), reads)),
        (path, _) => note_path(root, path.to_string(), reads),
    }
}
