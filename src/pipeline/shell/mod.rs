//! Shell text: where a value stands in it, how it is quoted there, and what a command runs.
//!
//! Owns the lexer of the POSIX shell (with what bash adds), the quoting rule, and two questions about a
//! finished command: does it mean the same without a shell, and which files does it run. Never starts
//! anything and never expands anything. Must hold: a value arrives in the shell byte for byte as it is,
//! or the hole is a fault; when in doubt a command is not direct.

mod direct;
mod lexer;
mod nested;
mod place;
mod quote;
mod scripts;
#[cfg(test)]
mod tests;

pub use direct::{BUILTINS, Direct, KEYWORDS, direct};
pub use lexer::lex;
pub use place::{Marks, Place, Shelled};
pub use quote::{nul, word};
pub use scripts::{INTERPRETERS, Interpreter, WRAPPERS, scripts};

/// What a shell understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShellKind {
    /// The POSIX shell's language: flow quotes values by their place.
    Posix,
    /// Anything else: a hole says how it is written.
    Other,
}

/// Shells whose text flow can quote for.
pub const POSIX_SHELLS: &[&str] = &["ash", "bash", "dash", "ksh", "ksh93", "mksh", "posh", "rbash", "sh", "yash", "zsh"];

/// What the stage key `shell` names: a POSIX shell, also by path, through `env`, or as `busybox sh`.
pub fn kind(shell: &[String]) -> ShellKind {
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_string();
    let mut words = shell.iter().map(name);
    let mut first = words.next();
    if first.as_deref() == Some("env") {
        first = words.by_ref().find(|word| !word.starts_with('-') && !word.contains('='));
    }
    if first.as_deref() == Some("busybox") {
        first = words.next();
    }
    match first {
        Some(first) if POSIX_SHELLS.contains(&first.as_str()) => ShellKind::Posix,
        _ => ShellKind::Other,
    }
}
