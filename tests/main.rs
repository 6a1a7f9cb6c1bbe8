//! All tests that need the program or real processes: one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod common;
mod exec;
