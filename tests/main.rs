//! All tests that need the program or real processes: one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_days;
mod cli;
mod common;
mod exec;
mod kills;
mod staleness;
mod yard;
