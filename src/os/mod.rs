//! os

pub mod clock;
