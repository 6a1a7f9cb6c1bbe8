//! What the file means.

pub mod draw;
