//! The front door.

pub mod error;
pub mod options;
pub mod render;

use std::process::ExitCode;

/// Runs the command line.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == crate::run::exec::local::LAUNCH) {
        return crate::run::exec::launcher::main();
    }
    ExitCode::SUCCESS
}
