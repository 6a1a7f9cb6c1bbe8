//! The front door: parse, ask the library, print.
//!
//! Owns the terminal and the exit code. One file a command, each named after it. Must hold: results go
//! to stdout and everything else to stderr; nothing is decided here.

use std::process::ExitCode;

use clap::Parser;

pub mod check;
pub mod error;
pub mod graph;
pub mod listing;
pub mod log;
pub mod options;
pub mod plan;
pub mod render;
pub mod resume;
pub mod run;
pub mod status;
pub mod terminal;
pub mod why;

use error::{CliError, FINE, WRONG};
use options::{Command, CommandLine};

/// Runs the command line.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == crate::run::exec::local::LAUNCH) {
        return crate::run::exec::launcher::main();
    }
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Help and version are results, all else is a mistake.
            let code = if error.use_stderr() { WRONG } else { FINE };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match line.command {
        Command::Run(args) => run::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Check(args) => check::run(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(complain(&error)),
    }
}

/// Says an error and its hints; its exit code.
fn complain(error: &CliError) -> u8 {
    let style = terminal::stderr();
    let mut text = String::new();
    if !error.message.is_empty() {
        for (n, line) in error.message.lines().enumerate() {
            let head = if n == 0 || error.many { style.paint(crate::report::Paint::Bad, "error: ") } else { String::new() };
            text.push_str(&format!("{head}{}\n", crate::report::words::printable(line)));
        }
    }
    for hint in &error.hints {
        text.push_str(&format!(" {}\n", crate::report::words::printable(hint)));
    }
    terminal::say(&text);
    error.code
}
