//! Braces: one text as all the texts it stands for. Knows nothing of wildcards but the backslash.

use super::MOST_BRANCHES;

/// All texts that the braces of a text make; `None` if there are too many.
pub(super) fn expand(text: &str) -> Option<Vec<String>> {
    let mut done = Vec::new();
    let mut open = vec![text.to_string()];
    while let Some(one) = open.pop() {
        let Some(braces) = first_braces(&one) else {
            done.push(one);
            continue;
        };
        if open.len() + done.len() + braces.len() - 1 > MOST_BRANCHES {
            return None;
        }
        // `braces` are the places of `{`, each comma and `}`; the last alternative goes on the stack
        // first, so that they come out in the order of the text.
        let (before, after) = (&one[..braces[0]], &one[braces[braces.len() - 1] + 1..]);
        for ends in braces.windows(2).rev() {
            open.push(format!("{before}{}{after}", &one[ends[0] + 1..ends[1]]));
        }
    }
    Some(done)
}

/// The first braces with a comma of their own: the places of `{`, of the commas and of `}`.
pub(super) fn first_braces(text: &str) -> Option<Vec<usize>> {
    let mut open: Vec<Vec<usize>> = Vec::new();
    let mut first: Option<Vec<usize>> = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        let plain = escaped;
        escaped = byte == b'\\' && !plain;
        match byte {
            _ if plain => {}
            b'{' => open.push(vec![at]),
            b',' => {
                if let Some(braces) = open.last_mut() {
                    braces.push(at);
                }
            }
            b'}' => {
                if let Some(mut braces) = open.pop().filter(|braces| braces.len() > 1) {
                    braces.push(at);
                    if first.as_ref().is_none_or(|first| braces[0] < first[0]) {
                        first = Some(braces);
                    }
                }
            }
            _ => {}
        }
    }
    first
}
