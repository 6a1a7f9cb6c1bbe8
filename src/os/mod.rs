//! All contact with the machine: files, processes, signals, locks, clocks.

pub mod beneath;
//! os

pub mod process;
pub mod signal;
pub mod clock;
