//! YAML into our own tree.

use std::ops::Range;

use crate::diag::Span;
use crate::value::Style;

/// The place of a range of a scalar's decoded text in its source.
pub fn inside(_source: &str, at: Span, _style: Style, _range: Range<usize>) -> Span {
    at
}
