//! Durations, sizes and the words of a `shell`.
//!
//! Owns their spelling. Never rounds: what can't be said exactly is refused.

use std::time::Duration;

/// `90s 5m 2h 1h30m 30d`; `None` if it is none of these.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: u64 = rest.get(..digits)?.parse().ok()?;
        let unit = match rest.as_bytes().get(digits)? {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86400,
            _ => return None,
        };
        if unit >= smallest {
            return None;
        }
        smallest = unit;
        total = total.checked_add(amount.checked_mul(unit)?)?;
        rest = rest.get(digits + 1..)?;
    }
    // A century is beyond any clock that has to add it to now.
    (!text.is_empty() && total <= 36_525 * 86_400).then(|| Duration::from_secs(total))
}

/// `512MiB 4GiB`, `4G` = GiB, `4GB` = 10⁹ bytes; `None` if it is none of these.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (amount, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start_matches(' ');
    let power = match unit.bytes().next()?.to_ascii_uppercase() {
        b'B' if unit.len() == 1 => 0,
        b'K' => 1,
        b'M' => 2,
        b'G' => 3,
        b'T' => 4,
        b'P' => 5,
        _ => return None,
    };
    let base: u64 = match unit.get(1..)? {
        "" | "i" | "iB" | "ib" => 1024,
        "B" | "b" => 1000,
        _ => return None,
    };
    let factor = base.checked_pow(power)?;
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = fraction.parse().ok()?;
    let part = u128::from(part) * u128::from(factor) / 10u128.pow(fraction.len() as u32);
    whole.checked_mul(factor)?.checked_add(u64::try_from(part).ok()?)
}

/// A program and its flags as words: blanks part them, quotes and `\` keep them together.
pub fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => {
                let Some(next) = chars.next() else { return Err("it ends in a `\\`") };
                word.get_or_insert_default().push(next);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote in it is never closed");
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) { Err("it names no program") } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("2h", Some(7200)),
            ("1h30m", Some(5400)),
            ("30d", Some(2_592_000)),
            ("1d2h3m4s", Some(93_784)),
            ("0s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("5 m", None),
            ("30m1h", None),
            ("1h1h", None),
            ("5min", None),
            ("1.5h", None),
            ("-1s", None),
            ("99999999999999999999d", None),
            ("99999999d", None),
            ("5é", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_secs()), want, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("512MiB", Some(512 << 20)),
            ("4GiB", Some(4 << 30)),
            ("4G", Some(4 << 30)),
            ("4g", Some(4 << 30)),
            ("4Gi", Some(4 << 30)),
            ("4GB", Some(4_000_000_000)),
            ("1.5GiB", Some(3 << 29)),
            ("10B", Some(10)),
            ("10 MiB", Some(10 << 20)),
            ("0B", Some(0)),
            ("10", None),
            ("G", None),
            (".5G", None),
            ("1.G", None),
            ("4GX", None),
            ("4 lots", None),
            ("99999999999P", None),
            ("1..5G", None),
            ("4é", None),
            ("", None),
        ] {
            assert_eq!(size(text), want, "{text}");
        }
    }

    #[test]
    fn shells() {
        let ok = |text: &str| words(text).unwrap();
        assert_eq!(ok("bash -euo pipefail -c"), ["bash", "-euo", "pipefail", "-c"]);
        assert_eq!(ok(" 'my shell' -c \"a b\" c\\ d '' "), ["my shell", "-c", "a b", "c d", ""]);
        for text in ["", "  ", "'a", "\"a", "a\\", "'' -c"] {
            assert!(words(text).is_err(), "{text}");
        }
    }
}
