//! One component of a pattern: a name, a name with wildcards, or `**`.
//!
//! Must hold: a wildcard never means a name that [`is_left_out`], nor one whose leading dot is not
//! written.

use super::{PatternFault, is_escapable, is_left_out};

/// What one component of a path may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// This name.
    Name(String),
    /// A name with wildcards.
    Wild(Wild),
    /// `**`: any number of folders.
    Folders,
}

/// One component with wildcards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wild(Vec<Token>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Char(char),
    One,
    Many,
    Class { not: bool, ranges: Vec<(char, char)> },
}

impl Part {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Part::Name(name) => Some(name),
            _ => None,
        }
    }

    /// One component, not `**`.
    pub(super) fn parse(text: &str, whole: &str) -> Result<Part, PatternFault> {
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '?' => Token::One,
                '*' if tokens.last() == Some(&Token::Many) => return Err(PatternFault::Glued(whole.into())),
                '*' => Token::Many,
                '[' => class(&mut rest, whole)?,
                '\\' => match rest.clone().next() {
                    Some(next) if is_escapable(next) => {
                        rest.next();
                        Token::Char(next)
                    }
                    _ => Token::Char(c),
                },
                _ => Token::Char(c),
            });
        }
        let literal: Option<String> = tokens
            .iter()
            .map(|token| match token {
                Token::Char(c) => Some(*c),
                _ => None,
            })
            .collect();
        Ok(literal.map_or_else(|| Part::Wild(Wild(tokens)), Part::Name))
    }
}

/// What follows a `[`, up to its `]`. As in shells a `]` that comes first is a member.
fn class(rest: &mut std::str::Chars<'_>, whole: &str) -> Result<Token, PatternFault> {
    let open = || PatternFault::OpenClass(whole.into());
    let not = matches!(rest.clone().next(), Some('!' | '^'));
    if not {
        rest.next();
    }
    let mut ranges: Vec<(char, char)> = Vec::new();
    loop {
        let from = match rest.next().ok_or_else(open)? {
            ']' if !ranges.is_empty() => return Ok(Token::Class { not, ranges }),
            '\\' => rest.next().ok_or_else(open)?,
            c => c,
        };
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(']')) | (_, None) => from,
            (Some('-'), Some(to)) => {
                *rest = ahead;
                if to == '\\' { rest.next().ok_or_else(open)? } else { to }
            }
            _ => from,
        };
        if to < from {
            return Err(PatternFault::Range { pattern: whole.into(), from, to });
        }
        ranges.push((from, to));
    }
}

impl Wild {
    /// Any name: `*`.
    pub(super) fn any() -> Wild {
        Wild(vec![Token::Many])
    }

    /// Whether a name is meant. Names with a leading dot are only meant where the dot is written,
    /// those that are left out never.
    pub fn matches(&self, name: &str) -> bool {
        if is_left_out(name) || (name.starts_with('.') && self.0.first() != Some(&Token::Char('.'))) {
            return false;
        }
        let mut at = 0;
        let mut rest = name.chars();
        // Where to take up again: behind the last `*`, with one more character given to it.
        let mut again: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let mut ahead = rest.clone();
            match (self.0.get(at), ahead.next()) {
                (Some(Token::Many), _) => {
                    at += 1;
                    again = Some((at, rest.clone()));
                    continue;
                }
                (None, None) => return true,
                (Some(token), Some(c)) if token.takes(c) => {
                    at += 1;
                    rest = ahead;
                    continue;
                }
                _ => {}
            }
            let Some((behind, from)) = &mut again else { return false };
            if from.next().is_none() {
                return false;
            }
            at = *behind;
            rest = from.clone();
        }
    }

    /// The text that every name it means begins with.
    pub fn beginning(&self) -> String {
        let chars = self.0.iter().map_while(|token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        });
        chars.collect()
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Char(wanted) => *wanted == c,
            Token::One | Token::Many => true,
            Token::Class { not, ranges } => ranges.iter().any(|&(from, to)| (from..=to).contains(&c)) != *not,
        }
    }
}
