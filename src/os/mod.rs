//! os

pub mod stat;
