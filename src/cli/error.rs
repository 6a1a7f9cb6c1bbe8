//! What ends a command early: message, hints, exit code.
//!
//! Owns the exit codes. Must hold: an error is worded where it was found; here it only gets its number
//! and its hints.

/// Everything went well.
pub const FINE: u8 = 0;
/// A task failed.
pub const FAILED: u8 = 1;
/// The pipeline or the command line is wrong.
pub const WRONG: u8 = 2;
/// Something is stale (`status --check`).
pub const STALE: u8 = 3;
/// Another run of this pipeline is going on.
pub const BUSY: u8 = 4;
/// flow itself could not go on.
pub const BROKEN: u8 = 5;

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// The exit code.
    pub code: u8,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hints: Vec<String>,
    /// Each line of the message is an error of its own.
    pub many: bool,
}

impl CliError {
    /// The pipeline or the command line is wrong.
    pub fn wrong(message: impl Into<String>) -> CliError {
        CliError { code: WRONG, message: message.into(), hints: Vec::new(), many: false }
    }

    /// flow itself could not go on.
    pub fn broken(message: impl Into<String>) -> CliError {
        CliError { code: BROKEN, message: message.into(), hints: Vec::new(), many: false }
    }

    /// Another run is going on.
    pub fn busy(message: impl Into<String>) -> CliError {
        CliError { code: BUSY, message: message.into(), hints: Vec::new(), many: false }
    }

    /// With what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> CliError {
        self.hints.push(hint.into());
        self
    }
}
