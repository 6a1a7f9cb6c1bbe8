//! One hole: compiled once, evaluated for many scopes.
//!
//! Owns the split between lookups and the engine, and the text of a hole in a key. Must hold: a hole
//! that is one lookup never meets the engine.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{ErrorKind, Value};

use super::engine::{self, Read};
use super::lookup::{Absent, Root, look, note, note_path, note_whole};
use super::scan::{self, Comparison, Handed, Lookup, Side};
use super::{Fault, Reads};
use crate::pipeline::scope::{Scope, VOLATILE, Val, Volatile, Volatiles};

/// A hole, or an expression without delimiters.
#[derive(Clone, Debug)]
pub(super) struct Hole {
    /// With its delimiters.
    pub at: Range<usize>,
    /// The expression alone, without a last `| raw`.
    pub inner: Range<usize>,
    pub lookups: Vec<Lookup>,
    /// `None`: it is one lookup.
    computed: Option<Computed>,
    /// It ends in `| raw`.
    pub raw: bool,
    /// It ends in `| json`.
    pub json: bool,
    /// It mentions a volatile name.
    pub volatile: bool,
}

/// An expression for the engine.
#[derive(Clone)]
struct Computed {
    expression: Arc<minijinja::Expression<'static, 'static>>,
    /// Where pieces of the engine's text stand in ours, by their starts.
    map: Vec<(usize, usize)>,
    comparisons: Vec<Comparison>,
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Computed")
    }
}

/// Words of one expression; the engine's stack grows with them.
const LONGEST: usize = 1000;

/// Compiles one hole.
pub(super) fn hole(text: &str, at: Range<usize>, tokens: Vec<scan::Token>, faults: &mut Vec<Fault>) -> Option<Hole> {
    if tokens.is_empty() {
        faults.push(Fault::new("template_syntax", at, "an empty expression").label("nothing in it"));
        return None;
    }
    if tokens.len() > LONGEST {
        let fault = Fault::new("template_syntax", at, format!("the expression has more than {LONGEST} words")).label("too long");
        faults.push(fault.hint("put parts of it into `config`"));
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
    Some(Hole { at, inner: first..last, lookups: scanned.lookups, computed, raw: scanned.raw, json: scanned.json, volatile })
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
                let word = &text[token.at.clone()];
                match word {
                    "null" => source.push_str("none"),
                    // A field such as `.my-key`, after what is no lookup.
                    "." if scanned
                        .tokens
                        .get(n + 1)
                        .is_some_and(|next| next.kind == scan::Kind::Name && text[next.at.clone()].contains('-')) => {}
                    _ if n > 0 && token.kind == scan::Kind::Name && word.contains('-') => source.push_str(&format!("['{word}']")),
                    _ => source.push_str(word),
                }
                n += 1;
            }
        }
    }
    let end = scanned.tokens.last().map_or(0, |token| token.at.end);
    map.push((source.len(), end));
    match engine::environment().compile_expression_owned(source) {
        Ok(expression) => Ok(Computed { expression: Arc::new(expression), map, comparisons: scanned.comparisons.clone() }),
        Err(error) => {
            let start = scanned.tokens.first().map_or(0, |token| token.at.start);
            let range = error.range().map_or(start..end, |range| back(text, &map, range));
            let message = format!("the expression is not understood: {}", error.detail().unwrap_or("wrong syntax"));
            Err(Fault::new("template_syntax", range, message).label("here"))
        }
    }
}

/// A range of the engine's text in ours.
fn back(text: &str, map: &[(usize, usize)], range: Range<usize>) -> Range<usize> {
    let start = map.iter().rev().find(|(theirs, _)| *theirs <= range.start).map_or(0, |&(theirs, ours)| ours + (range.start - theirs));
    let end = map.iter().find(|(theirs, _)| *theirs >= range.end).map_or(start, |&(_, ours)| ours);
    let limit = map.last().map_or(start, |&(_, ours)| ours);
    let start = start.min(limit.saturating_sub(1));
    let end = end.clamp(start + 1, limit.max(start + 1));
    // From the start of one word to the start of the next: without the space between.
    text.get(start..end).map_or(start..end, |part| start..start + part.trim_end().len().max(1))
}

impl Hole {
    /// Its value. By name and volatile: its text, and a value like the one it will have if that can be
    /// computed.
    pub fn value<'a>(
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
                Err(absent) => {
                    out.push('?');
                    note_path(absent.root, absent.path, reads);
                }
            }
        }
        // A volatile name that does not exist, such as `resources.cpu`, is a fault now, not at the start.
        let like = Volatiles { attempt: 1, cpus: 1, memory: 1, tmp: String::new(), run: String::new() };
        for lookup in self.lookups.iter().filter(|lookup| VOLATILE.contains(&lookup.name.as_str()) && !lookup.guarded) {
            look(lookup, scope, Some(&like)).map_err(|absent| absent.fault)?;
        }
        out.push_str(" }}");
        Ok(out)
    }

    fn evaluate<'a>(&self, text: &str, scope: &'a Scope, volatiles: Option<&Volatiles>, reads: &mut Reads) -> Result<Cow<'a, Val>, Fault> {
        match (&self.computed, self.lookups.first()) {
            (None, Some(lookup)) => {
                let found = look(lookup, scope, volatiles).map_err(|absent| absent.fault)?;
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
            Err(absent) => Slot::Missing(absent),
        });
        let variables = Arc::new(Variables { slots: slots.collect(), missed: Mutex::default() });
        for comparison in &computed.comparisons {
            comparable(comparison, &variables.slots, text)?;
        }
        let result = computed.expression.eval(Value::from_dyn_object(Arc::clone(&variables))).and_then(|value| engine::take(&value));
        let missed = std::mem::take(&mut *variables.missed.lock().unwrap_or_else(PoisonError::into_inner));
        for slot in missed.iter().filter_map(|&n| variables.slots.get(n)) {
            if let Slot::Missing(absent) = slot {
                note_path(absent.root, absent.path.clone(), reads);
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
                && let Some(Slot::Missing(absent)) = missed.iter().rev().find_map(|&n| variables.slots.get(n))
            {
                return absent.fault.clone();
            }
            let range = error.range().map_or(self.inner.clone(), |range| back(text, &computed.map, range));
            if error.kind() == ErrorKind::UndefinedError {
                let label = text.get(range.clone()).map_or_else(String::new, |part| format!("nothing is there for `{}`", part.trim()));
                return Fault::new("missing_field", range, "there is no such value")
                    .label(label)
                    .hint("`| default('…')` says what to take instead");
            }
            let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
            // The engine may add a name that only it knows.
            let message = message.split(" (`").next().unwrap_or_default().to_string();
            let fault = Fault::new("template_type", range, message).label("here");
            match error.kind() {
                ErrorKind::InvalidOperation if text[self.inner.clone()].contains('+') => {
                    fault.hint("`~` puts texts together; `| int` makes a number of text")
                }
                _ => fault,
            }
        })
    }
}

/// A text and a number have no order, and are never equal, also if they look the same.
fn comparable(comparison: &Comparison, slots: &[Slot], text: &str) -> Result<(), Fault> {
    let sides = comparison.sides.iter().map(|side| match side {
        Side::Number(number) => Some((true, number.as_str())),
        Side::Text(text) => Some((false, text.as_str())),
        Side::Lookup(n) => match slots.get(*n)? {
            Slot::Found(Val::Number(number), ..) => Some((true, number.as_str())),
            Slot::Found(Val::Text(text) | Val::Item { key: text, .. }, ..) => Some((false, text.as_str())),
            _ => None,
        },
    });
    let [Some((left_number, left)), Some((right_number, right))] = sides.collect::<Vec<_>>()[..] else { return Ok(()) };
    if left_number == right_number || (comparison.equality && left != right) {
        return Ok(());
    }
    let (word, number) = if left_number { (right, left) } else { (left, right) };
    let part = text.get(comparison.at.clone()).unwrap_or_default();
    Err(Fault::new("template_type", comparison.at.clone(), format!("`{part}` compares the text `{word}` with the number {number}"))
        .label("text and number")
        .hint("`| int` or `| float` makes a number of text, quotes make text of a number"))
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
    Missing(Box<Absent>),
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
