//! The nearest of some names, for "did you mean".
//!
//! Owns how near is near. Pure. Must hold: a suggestion is only made when most of the word agrees.

/// The nearest of some names, if one is near.
pub fn nearest<S: AsRef<str>>(name: &str, names: &[S]) -> Option<String> {
    names
        .iter()
        .map(AsRef::as_ref)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(name.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_near() {
        assert_eq!(nearest("input", &["outputs", "inputs", "cmd"]), Some("inputs".into()));
        assert_eq!(nearest("x", &["something"]), None);
        assert_eq!(nearest("a", &[] as &[&str]), None);
    }
}
