//! All tests that need the program or real processes: one binary.

mod exec;
