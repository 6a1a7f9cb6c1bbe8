//! Patterns by values, against a naive matcher, and against bash where the two mean the same.

use std::fs;
use std::process::Command;

use super::*;

fn parse(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

#[track_caller]
fn check(pattern: &str, yes: &[&str], no: &[&str]) {
    let parsed = parse(pattern);
    for path in yes {
        assert!(parsed.matches(path), "`{pattern}` must match `{path}`");
    }
    for path in no {
        assert!(!parsed.matches(path), "`{pattern}` must not match `{path}`");
    }
}

#[test]
fn what_matches() {
    check("*.csv", &["a.csv", "é.csv", "a.b.csv"], &["a/b.csv", ".a.csv", ".csv", "a.csvx", "../a.csv", "/a.csv"]);
    check("./x//y/../*.csv", &["x/a.csv"], &["x/y/a.csv", "a.csv"]);
    check("a?c", &["abc", "aéc"], &["ac", "abbc", "a/c"]);
    check("?a", &["xa"], &[".a"]);
    check("**/*.py", &["a.py", "l/a.py", "l/m/a.py"], &["l/.venv/a.py", ".a.py", "__pycache__/a.py", "l/.git/a.py"]);
    check("l/**", &["l/a", "l/m/a"], &["l", "l/.a", "l/.m/a", "la"]);
    check("**", &["a", "a/b"], &[".a", "../a", "/a"]);
    check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb", "a/.x/b"]);
    check("a/**/**/b", &["a/b", "a/x/b"], &["b"]);
    check("**/.conf/x", &[".conf/x", "a/.conf/x"], &[".a/.conf/x"]);
    check(".*", &[".a", ".gitignore"], &["a", ".git", ".flow", ".DS_Store", ".flow-aside.x"]);
    check("__pycache__/*.pyc", &["__pycache__/a.pyc"], &[]);
    check("{a,b/c}/*.{x,y}", &["a/1.x", "b/c/1.y"], &["b/1.x", "a/1.z"]);
    check("a{,.gz}", &["a", "a.gz"], &["ab"]);
    check("{a{b,c},d}*", &["ab", "ac1", "d"], &["a"]);
    check("{a}*", &["{a}", "{a}b"], &["a"]);
    check("{a,b*", &["{a,b1"], &["a"]);
    check("[a-c]x", &["ax", "cx"], &["dx", "x"]);
    check("[!a-c]x", &["dx"], &["ax", ".x", "/x"]);
    check("[^a]x", &["bx"], &["ax"]);
    check("[]a]x", &["]x", "ax"], &["bx"]);
    check("[a-]x", &["-x", "ax"], &["bx"]);
    check(r"[\]\-]x", &["]x", "-x"], &["\\x"]);
    check("[.]x", &[], &[".x"]);
    check(r"\*\{a,b\}[1]", &["*{a,b}1"], &["x{a,b}1"]);
    check(r"a\bc*", &[r"a\bc"], &["abc"]);
    check("../x/*", &["../x/a"], &["x/a", "../../x/a"]);
    check("/data/*", &["/data/a"], &["data/a", "/data"]);
    check("/*", &["/a"], &["a", "/", "/a/b"]);
    check("a/b", &["a/b"], &["a", "a/b/c"]);
}

#[test]
fn folders_and_files() {
    let folders = parse("raw/*/");
    assert!(folders.folders_only());
    assert!(folders.matches_folder("raw/a") && !folders.matches("raw/a"));
    assert!(!parse("raw/*").matches_folder("raw/a"));
}

#[test]
fn what_is_a_pattern() {
    for text in ["*", "a?", "[x]", "a[", "{a,b}", "a{b,}"] {
        assert!(is_pattern(text), "{text}");
    }
    for text in ["a", "", "{a}", "{a,b", "a}", r"\*", r"a\?b", r"\[x]", r"\{a,b}", "a,b"] {
        assert!(!is_pattern(text), "{text}");
    }
    assert_eq!(unescaped(r"a\*b\\c\d\"), r"a*b\c\d\");
}

#[test]
fn faults_say_what_to_do() {
    let fault = |text: &str| Pattern::parse(text).unwrap_err().to_string();
    assert_eq!(fault("a[b"), "`[` without `]` in the pattern `a[b`; write `\\[` for the character itself");
    assert_eq!(fault("**.csv"), "`**` in the pattern `**.csv` must stand alone between `/`, as in `**/*.csv`");
    assert_eq!(fault("[z-a]"), "the range `z-a` in the pattern `[z-a]` holds nothing; write `a-z`");
    for text in ["", ".", "..", "/", "{,a}", "x/.."] {
        assert!(matches!(Pattern::parse(text), Err(PatternFault::Empty(_))), "{text}");
    }
    assert!(matches!(Pattern::parse("*/../x"), Err(PatternFault::Above(_))));
    assert!(matches!(Pattern::parse("{a/,b}"), Err(PatternFault::Mixed(_))));
    assert!(matches!(Pattern::parse("a\0b"), Err(PatternFault::Nul)));
    for text in ["{a,b}".repeat(11), "{".repeat(5000), "*/".repeat(70), "{a,b,c}".repeat(500)] {
        assert!(matches!(Pattern::parse(&text), Err(PatternFault::TooBig { .. })), "{}", &text[..20]);
    }
}

#[test]
fn where_a_walk_begins() {
    let prefix = |text: &str| parse(text).literal_prefix().to_string();
    for (text, want) in [
        ("*", "."),
        ("raw/*.csv", "raw"),
        ("raw/a*/b", "raw"),
        ("raw/a.csv", "raw"),
        ("/a/b/*", "/a/b"),
        ("/*", "/"),
        ("../x/**", "../x"),
        ("raw/{a,b}/*", "raw"),
        ("{a,b}/*", "."),
        ("/{a,b}/*", "/"),
        ("{raw,raw/x}/*", "raw"),
    ] {
        assert_eq!(prefix(text), want, "{text}");
    }
    let bases: Vec<String> = parse("{b,a/c}/*").branches().iter().map(|branch| branch.base().to_string()).collect();
    assert_eq!(bases, ["b", "a/c"]);
}

#[test]
fn what_lies_below() {
    for (pattern, yes, no) in [
        ("raw/*.csv", &[".", "raw"][..], &["raw/x", "ra", "/", ".."][..]),
        ("raw/*/x/*.csv", &["raw/q", "raw/q/x", "raw"], &["raw/q/y", "raw/.q"]),
        ("**/*.csv", &[".", "a", "a/b"], &[".a", "__pycache__", "a/.b"]),
        ("/data/*", &["/", "/data"], &["data", "."]),
        ("../x/*", &["..", "../x"], &["."]),
    ] {
        for folder in yes {
            assert!(parse(pattern).could_match_below(folder), "{pattern} below {folder}");
        }
        for folder in no {
            assert!(!parse(pattern).could_match_below(folder), "{pattern} not below {folder}");
        }
    }
}

/// The slow truth: tries everything, one component and one character at a time. No braces.
fn naive(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**"], _) => naive(&["**", "*"], path),
        (["**", rest @ ..], _) => {
            naive(rest, path) || path.split_first().is_some_and(|(name, below)| !name.starts_with('.') && naive(pattern, below))
        }
        ([part, rest @ ..], [name, below @ ..]) => naive_name(part, name) && naive(rest, below),
        _ => false,
    }
}

fn naive_name(part: &str, name: &str) -> bool {
    fn one(part: &[char], name: &[char]) -> bool {
        match (part, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => one(rest, name) || (!name.is_empty() && one(part, &name[1..])),
            (['?', rest @ ..], [_, below @ ..]) => one(rest, below),
            (['[', from, '-', to, ']', rest @ ..], [c, below @ ..]) => (from..=to).contains(&c) && one(rest, below),
            (['[', '!', not, ']', rest @ ..], [c, below @ ..]) => c != not && one(rest, below),
            ([c, rest @ ..], [d, below @ ..]) => c == d && one(rest, below),
            _ => false,
        }
    }
    let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
    (name[0] != '.' || part[0] == '.') && one(&part, &name)
}

/// A random component of a path, and of a pattern, over few letters so that they often meet.
fn random_name(rng: &mut fastrand::Rng) -> String {
    let mut name: String = (0..rng.usize(1..4)).map(|_| *rng.choice(&['a', 'b', '.']).unwrap()).collect();
    if name.chars().all(|c| c == '.') {
        name.push('a');
    }
    name
}

fn random_part(rng: &mut fastrand::Rng) -> String {
    if rng.u8(..4) == 0 {
        return "**".into();
    }
    let pieces = ["a", "b", ".", "*", "?", "[a-b]", "[!a]", "a"];
    let mut part = String::new();
    for _ in 0..rng.usize(1..4) {
        let piece = *rng.choice(&pieces).unwrap();
        if !(piece == "*" && part.ends_with('*')) {
            part.push_str(piece);
        }
    }
    if part.chars().all(|c| c == '.') { "a".into() } else { part }
}

fn random_list(rng: &mut fastrand::Rng, one: impl Fn(&mut fastrand::Rng) -> String) -> Vec<String> {
    (0..rng.usize(1..5)).map(|_| one(rng)).collect()
}

#[test]
fn agrees_with_the_naive_matcher() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut matched = 0;
    for _ in 0..60_000 {
        let parts = random_list(&mut rng, random_part);
        let names = random_list(&mut rng, random_name);
        let (text, path) = (parts.join("/"), names.join("/"));
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pattern = parse(&text);
        let want = naive(&parts, &names);
        matched += usize::from(want);
        assert_eq!(pattern.matches(&path), want, "`{text}` and `{path}`");
        if want {
            for at in 1..names.len() {
                assert!(pattern.could_match_below(&names[..at].join("/")), "`{text}` above `{path}`");
            }
            assert!(below(&path, pattern.literal_prefix()).is_some(), "`{text}` and `{path}`");
        }
    }
    assert!(matched > 2000, "only {matched} matched");
}

#[test]
fn agrees_with_bash() {
    // Older ones let `.*` match `..`.
    let fits = Command::new("bash").args(["-c", "shopt -s globstar globskipdots"]).output();
    if !fits.is_ok_and(|out| out.status.success()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(2);
    let mut files = Vec::new();
    for _ in 0..150 {
        let path = random_list(&mut rng, random_name).join("/");
        // A folder may stand where this one wants a file, or the other way round.
        let made = dir.path().join(&path).parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok())
            && !dir.path().join(&path).exists()
            && fs::write(dir.path().join(&path), "").is_ok();
        if made {
            files.push(path);
        }
    }
    let mut script = String::from("shopt -s globstar nullglob\n");
    let mut patterns = Vec::new();
    for _ in 0..400 {
        let mut text = random_list(&mut rng, random_part).join("/");
        if rng.bool() {
            let two = (random_part(&mut rng), random_list(&mut rng, random_part).join("/"));
            text.push_str(&format!("/{{{},{}}}", two.0, two.1));
        }
        script.push_str(&format!("for f in {text}; do [ -f \"$f\" ] && echo \"$f\"; done; echo =\n"));
        patterns.push(text);
    }
    let answer = Command::new("bash").args(["-c", &script]).current_dir(dir.path()).env("LC_ALL", "C").output().unwrap();
    let answer = String::from_utf8(answer.stdout).unwrap();
    let mut found = 0;
    for (text, said) in patterns.iter().zip(answer.split("=\n")) {
        let mut theirs: Vec<&str> = said.lines().collect();
        theirs.sort_unstable();
        theirs.dedup();
        let pattern = parse(text);
        let mut ours: Vec<&str> = files.iter().map(String::as_str).filter(|path| pattern.matches(path)).collect();
        ours.sort_unstable();
        found += ours.len();
        assert_eq!(ours, theirs, "`{text}`");
    }
    assert!(found > 500, "only {found} found");
}
