//! What the file means.
