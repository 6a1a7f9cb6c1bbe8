//! The terminal: what stdout and stderr are, how wide, in colour or not.
//!
//! Owns every question about the terminal and every write to stdout. Must hold: a closed stdout ends a
//! listing quietly; control characters of files never reach a terminal.

use std::io::{self, IsTerminal, Write};

use crate::report::Style;

/// Whether stdout is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// How stderr looks.
pub fn stderr() -> Style {
    style(io::stderr().is_terminal())
}

/// How stdout looks.
pub fn stdout() -> Style {
    style(io::stdout().is_terminal())
}

fn style(terminal: bool) -> Style {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let width = if terminal { width() } else { 0 };
    Style { colour: terminal && !plain, width, live: terminal && std::env::var_os("TERM").is_none_or(|value| value != "dumb") }
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr())
        .or_else(|_| rustix::termios::tcgetwinsize(io::stdout()))
        .map_or(80, |size| usize::from(size.ws_col))
        .max(20)
}

/// Prints a result. A reader that went away is no error.
pub fn print(text: &str) -> io::Result<()> {
    write(text.as_bytes()).map(|_| ())
}

/// Writes bytes of a result as they are. False: the reader went away.
pub fn write(bytes: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says something on stderr; a closed stderr stops nothing.
pub fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
