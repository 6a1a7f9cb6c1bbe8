//! What the file says.

pub mod scope;
