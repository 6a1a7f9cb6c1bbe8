//! All contact with the machine: files, processes, signals, locks, clocks.

pub mod beneath;
pub mod clock;
pub mod copy;
pub mod lock;
#[cfg(test)]
pub mod mounted;
pub mod process;
pub mod signal;
pub mod stat;
