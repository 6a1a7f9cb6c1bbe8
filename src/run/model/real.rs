//! The same histories on a real folder.
