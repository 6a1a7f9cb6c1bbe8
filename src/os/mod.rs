//! os

pub mod process;
pub mod signal;
