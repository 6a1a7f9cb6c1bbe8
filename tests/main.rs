//! All tests that need the program or real processes: one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_days;
mod cli;
mod common;
mod docs;
mod exec;
mod kills;
mod pipelines;
mod staleness;
mod yard;
