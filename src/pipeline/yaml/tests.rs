//! Trees, places and limits; what a writer writes is read back.

use super::*;
use crate::diag::Sources;

/// Faults as `code line:column message`, and the tree as JSON.
fn check(text: &str) -> (String, Vec<String>) {
    let mut sources = Sources::default();
    let file = sources.add("p.yaml", text);
    let (value, faults) = read(text, file);
    let faults = faults
        .iter()
        .map(|fault| {
            let place = sources.place(fault.at);
            format!("{} {}:{} {}", fault.code, place.line, place.column, fault.message)
        })
        .collect();
    (value.map(|value| value.canonical()).unwrap_or_default(), faults)
}

#[test]
fn trees() {
    for (text, want) in [
        ("", ""),
        ("# nothing\n", ""),
        ("a: b", r#"{"a":"b"}"#),
        ("\u{feff}a: b\n", r#"{"a":"b"}"#),
        ("a: b\r\nc: |\r\n  x\r\n  y\r\n", r#"{"a":"b","c":"x\ny\n"}"#),
        (
            "---\na: 1.10\nb: no\nc: 08\nd: ~\ne:\nf: 2024-05-01\n...\n",
            r#"{"a":1.10,"b":"no","c":"08","d":null,"e":null,"f":"2024-05-01"}"#,
        ),
        ("1: x\ntrue: y\n", r#"{"1":"x","true":"y"}"#),
        ("- a\n-\n- [b, {c: d}]\n", r#"["a",null,["b",{"c":"d"}]]"#),
        ("a: &x [1, 2]\nb: *x\nc: {d: *x}\n", r#"{"a":[1,2],"b":[1,2],"c":{"d":[1,2]}}"#),
        (
            "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {b: 9, <<: [*x, *y], d: 5}\n",
            r#"{"x":{"a":1,"b":2},"y":{"b":3,"c":4},"z":{"b":9,"a":1,"c":4,"d":5}}"#,
        ),
        ("x: &x {a: 1}\ny: {<<: *x, a: 2}\nz: {\"<<\": 3}\n", r#"{"x":{"a":1},"y":{"a":2},"z":{"<<":3}}"#),
        ("&k a: 1\nb: *k\n", r#"{"a":1,"b":"a"}"#),
        ("? a\n: b\n? c\n", r#"{"a":"b","c":null}"#),
        ("cmd: awk '{print $1}' ${{ x }} # note\n", r#"{"cmd":"awk '{print $1}' ${{ x }}"}"#),
        ("%YAML 1.2\n---\na: b\n", r#"{"a":"b"}"#),
    ] {
        assert_eq!(check(text), (want.to_owned(), Vec::new()), "{text:?}");
    }
}

#[test]
fn faults() {
    for (text, want) in [
        ("a: b: c\n", "syntax 1:5 a second `: ` on one line"),
        ("a: 1\n b: 2\n", "syntax 2:2 a key below a value that is already there"),
        ("a:\n\tb: c\n", "syntax 2:1 a tab in the indentation"),
        ("a: |\n\tb\n", "syntax 2:1 a tab in the indentation"),
        ("a: [${{ x }}]\n", "syntax 1:5 `${{ }}` can't stand bare inside `[…]` or `{…}`"),
        ("a: [b, p/${{ x }}]\n", "syntax 1:10 `${{ }}` can't stand bare inside `[…]` or `{…}`"),
        ("a: {b: ${{ x }}}\n", "syntax 1:8 `${{ }}` can't stand bare inside `[…]` or `{…}`"),
        ("a: 'x\n", "syntax 1:4 this quote is never closed"),
        ("a: \"x\\d\"\n", "syntax 1:6 `\\d` is no escape of YAML's double quotes"),
        ("a: \"\\x1\"\n", "syntax 1:4 an escape in this text is not complete"),
        ("a: 'it's'\n", "syntax 1:8 more text after the end of a value"),
        ("a: [b] c\n", "syntax 1:8 more text after the end of a value"),
        ("a: [b\n", "syntax 1:4 this `[` is never closed"),
        ("a: [b}\n", "syntax 1:4 `[` is closed by `}`"),
        ("a: b]\nc: ]\n", "syntax 2:4 `]` without `[`"),
        ("a: - b\n", "syntax 1:4 a list with `- ` can't start on the line of its key"),
        ("a: |x\n", "syntax 1:4 after `|` and `>` the text starts on the next line"),
        ("a: @b\n", "syntax 1:4 a text can't start with `@`"),
        ("a: %b\n", "syntax 1:4 a text can't start with `%`"),
        ("a: ,b\n", "syntax 1:4 a text can't start with `,`"),
        ("a:\n  b: 1\n c: 2\n", "syntax 3:2 the indentation of this line fits no line above"),
        ("a: 1\nb\nc: 2\n", "syntax 2:1 this line is neither `key: value` nor part of the text above"),
        ("a: 1\n---\nb: 2\n", "documents 2:1 a second document in one file"),
        ("a: ! test -f x\n", "tag 1:4 YAML takes this `!` for the start of a tag"),
        ("- !old.csv\n", "tag 1:3 YAML takes this `!` for the start of a tag"),
        ("a: !!int 3\n", "tag 1:4 the tag `!!int`: YAML tags are not used here"),
        ("a: !x [b]\n", "tag 1:4 YAML takes this `!` for the start of a tag"),
        ("a: *.csv\n", "alias 1:4 YAML takes a text that starts with `*` for the name of an anchor"),
        ("a: *.{a,b}\n", "alias 1:4 YAML takes a text that starts with `*` for the name of an anchor"),
        ("a: * b\n", "syntax 1:4 a text can't start with `*`"),
        ("a: &x [*x]\n", "alias 1:8 `*x` stands inside the value it names"),
        ("a: 1\nb: 2\na: 3\n", "duplicate_key 3:1 the key `a` is given twice"),
        ("a: {<<: 1}\n", "merge_key 1:9 `<<` takes a map or a list of maps, not a number"),
        ("? [a]\n: b\n", "bad_key 1:3 a list can't be a key"),
        (": b\n", "no_key 1:1 a value without a key"),
        ("a: b\0c\n", "control_character 1:5 a NUL character in the file"),
        ("a: b\u{1b}[0m\n", "control_character 1:5 a control character (0x1B) in the file"),
        ("a: b\rc: d\n", "control_character 1:5 a carriage return that ends no line"),
        ("a: b\n\u{feff}c: d\n", "syntax 2:1 a byte-order mark inside the file"),
    ] {
        assert_eq!(check(text).1, [want], "{text:?}");
    }
}

#[test]
fn hints_show_the_text_that_mends_it() {
    for (text, want) in [
        ("a: [${{ x }}]\n", r#"quote it: ["${{ x }}"], or give it a line of its own: `- ${{ x }}`"#),
        ("a: [ b, a/${{ x }}.csv , c]\n", r#"quote it: ["a/${{ x }}.csv"], or give it a line of its own: `- a/${{ x }}.csv`"#),
        ("a: {b: 1, c: ${{ x }}/y}\n", r#"quote it: {c: "${{ x }}/y"}, or give each key a line of its own"#),
        ("a: echo \"b: c\"\n", r#"quote it: 'echo "b: c"'"#),
        ("a: b: it's\n", r#"quote it: "b: it's""#),
        ("a: ! test -f x # y\n", r#"quote it: "! test -f x""#),
        ("- !old.csv\n", r#"quote it: "!old.csv"; to leave files out: `{glob: …, exclude: old.csv}`"#),
        ("a: *.csv\n", r#"quote it: "*.csv""#),
        ("a: [ -f x ] && y\n", r#"quote it: "[ -f x ] && y""#),
        ("a: 'it's'\n", "inside single quotes a quote is written twice: 'it''s'"),
    ] {
        let (_, faults) = read(text, 0);
        assert_eq!(faults[0].hint.as_deref(), Some(want), "{text:?}");
    }
    let (_, faults) = read("a: 1\nb: 2\na: 3\n", 0);
    assert_eq!((faults[0].also[0].at.start, faults[0].also[0].label.as_str()), (0, "first given here"));
}

#[test]
fn what_was_meant_is_read_on() {
    let (tree, faults) = check("a: ! test -f x\nb: *.csv\nc: 1\nc: 2\nd: [x, !y]\n");
    assert_eq!(tree, r#"{"a":"! test -f x","b":"*.csv","c":1,"d":["x","!y"]}"#);
    assert_eq!(faults.len(), 4);
    let (tree, faults) = check("a: {x: 1}\nb:\n  c: 2\n  d: [3, 4\ne: 5\n");
    assert_eq!((tree.as_str(), faults.len()), (r#"{"a":{"x":1},"b":{"c":2,"d":[]}}"#, 1));
}

#[test]
fn places() {
    let text = "é: [b, 'c c']\nlist:\n- \"d\"\n-\nmap:\n  k: |  # x\n    l1\n    l2\n  m: >-\n   n\n";
    let (value, faults) = read(text, 3);
    assert_eq!(faults, []);
    let mut seen = Vec::new();
    let value = value.unwrap();
    let mut rest = vec![&value];
    while let Some(value) = rest.pop() {
        assert_eq!(value.at.file, 3);
        seen.push(&text[value.at.start as usize..value.at.end as usize]);
        match &value.data {
            Data::List(items) => rest.extend(items),
            Data::Map(entries) => rest.extend(entries.iter().map(|(_, value)| value)),
            Data::Scalar(_) => {}
        }
    }
    assert_eq!(
        seen[1..],
        [
            "k: |  # x\n    l1\n    l2\n  m: >-\n   n\n",
            ">-\n   n\n",
            "|  # x\n    l1\n    l2\n",
            "- \"d\"\n-",
            "-",
            "\"d\"",
            "[b, 'c c']",
            "'c c'",
            "b"
        ]
    );
}

#[test]
fn limits() {
    let deep = "[".repeat(100_000);
    assert_eq!(check(&deep).1, ["too_deep 1:65 lists and maps lie more than 64 deep in each other"]);
    let deep = "- ".repeat(100_000);
    assert_eq!(check(&deep).1, ["too_deep 1:129 lists and maps lie more than 64 deep in each other"]);
    let deep: String = (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert_eq!(check(&deep).1, ["too_deep 65:65 lists and maps lie more than 64 deep in each other"]);
    assert_eq!(check(&format!("{}{}", "[".repeat(64), "]".repeat(64))).1, [""; 0]);

    // Each anchor names a list of ten of the one before.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..30 {
        let list = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    let faults = read_within(&bomb, 0, 20_000, 1 << 20).faults;
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].code, faults[0].message.as_str()), ("too_large", "aliases make this file larger than 20000 values or 1 MiB"));

    // The same by merging, by depth, and with one large text.
    let mut deep = String::from("a0: &a0 [x]\n");
    (1..100).for_each(|n| deep.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1)));
    assert!(check(&deep).1[0].starts_with("too_deep 6"));
    let large = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 16), vec!["*a"; 100].join(","));
    assert_eq!(read_within(&large, 0, 20_000, 1 << 20).faults[0].code, "too_large");
    let merged = "x: &x {a: 1, b: 2}\n".to_owned() + &(0..100).map(|n| format!("k{n}: {{<<: *x}}\n")).collect::<String>();
    assert_eq!(read_within(&merged, 0, 200, 1 << 20).faults[0].code, "too_large");
    assert_eq!(check(&merged).1, [""; 0]);

    let long = format!("a: {}\n", "x".repeat(8 << 20));
    assert_eq!(check(&long).1, [""; 0]);
    let long = format!("a: '{}\n", "é".repeat(1 << 18));
    assert_eq!(check(&long).1, ["syntax 1:4 this quote is never closed"]);
}

#[test]
fn bytes_that_are_no_text() {
    assert_eq!(decode(b"a: \xC3\xA9\n".to_vec(), 0).unwrap(), "a: é\n");
    let (text, fault) = decode(b"a: b\nc: caf\xE9!\n".to_vec(), 0).unwrap_err();
    let mut sources = Sources::default();
    sources.add("p.yaml", text);
    let place = sources.place(fault.at);
    assert_eq!((place.line, place.column), (2, 7));
    assert_eq!(fault.message, "byte 11 (0xE9) is not UTF-8");
    assert_eq!(decode(b"\xFF\xFEa\0".to_vec(), 0).unwrap_err().1.message, "this file is UTF-16");
}

/// A random text of characters that are special somewhere.
fn odd_text(random: &mut fastrand::Rng, most: usize) -> String {
    const ODD: &[&str] = &[
        "a", "b", "Z", "0", "1", " ", " ", "  ", ": ", " #", "#", "-", "- ", "'", "\"", "\\", "\n", "\n\n", "\t", "|", ">", "[", "]", "{",
        "}", "${{ x }}", "&", "*", "!", "%", "@", "`", "é", "→", "🦀", ",", "?", "<<", "~", "null", "true", "no", "1.10", "\u{85}",
        "\u{a0}", "=",
    ];
    (0..random.usize(..=most)).map(|_| ODD[random.usize(..ODD.len())]).collect()
}

fn odd_value(random: &mut fastrand::Rng, depth: usize) -> serde_json::Value {
    match random.u8(..if depth == 0 { 6 } else { 9 }) {
        0 => serde_json::Value::Null,
        1 => random.bool().into(),
        2 => random.i64(..).into(),
        3..6 => odd_text(random, 12).into(),
        6 => (0..random.usize(..4)).map(|_| odd_value(random, depth - 1)).collect(),
        _ => (0..random.usize(..5)).map(|_| (odd_text(random, 4), odd_value(random, depth - 1))).collect(),
    }
}

#[test]
fn what_another_writer_wrote_reads_the_same() {
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..3000 {
        let value = odd_value(&mut random, 4);
        let options = match round % 3 {
            0 => serde_saphyr::ser_options! { quote_all: true },
            1 => serde_saphyr::ser_options! { prefer_block_scalars: false, indent_step: 4 },
            _ => serde_saphyr::ser_options! { compact_list_indent: false },
        };
        let text = serde_saphyr::to_string_with_options(&value, options).unwrap();
        let (tree, faults) = read(&text, 0);
        assert_eq!(faults, [], "{value} written as\n{text}");
        let back: serde_json::Value = serde_json::from_str(&tree.unwrap().canonical()).unwrap();
        assert_eq!(back, value, "written as\n{text}");
    }
}

/// All scalars of a tree.
fn scalars(value: &Value, out: &mut Vec<(Span, Scalar)>) {
    match &value.data {
        Data::Scalar(scalar) => out.push((value.at, scalar.clone())),
        Data::List(items) => items.iter().for_each(|item| scalars(item, out)),
        Data::Map(entries) => entries.iter().for_each(|(_, value)| scalars(value, out)),
    }
}

/// Every scalar, decoded again from its place, is the text the parser gave, and every character of
/// it points at itself, at an escape or at a fold.
fn check_places(text: &str) -> usize {
    let (Some(tree), faults) = read(text, 0) else { return 0 };
    if !faults.is_empty() {
        return 0;
    }
    let mut all = Vec::new();
    scalars(&tree, &mut all);
    for (at, scalar) in &all {
        let decoded = place::decoded(text, *at, scalar.style).text;
        assert_eq!(decoded, scalar.text, "in\n{text}\nat {at:?} {:?}", scalar.style);
        for (n, c) in scalar.text.char_indices() {
            let place = inside(text, *at, scalar.style, n..n + c.len_utf8());
            let source = &text[place.start as usize..place.end as usize];
            let itself = source == c.to_string();
            let escape = source.starts_with('\\') || source == "''";
            let fold = (c == ' ' || c == '\n') && (source.contains('\n') || place.end as usize == text.len());
            assert!(itself || escape || fold, "{c:?} of {scalar:?} is {source:?} in\n{text}");
            assert!(place.start >= at.start && place.end <= at.end);
        }
    }
    all.len()
}

#[test]
fn a_range_of_a_text_has_a_place() {
    let text = "- cmd: \"a\\tb \\u00e9\\\n    c\n\n    d\"\n- >\n  x y\n  z ${{ q }}\n\n  w\n";
    let (tree, _) = read(text, 0);
    let mut all = Vec::new();
    scalars(&tree.unwrap(), &mut all);
    let find = |n: usize, word: &str| {
        let (at, scalar): &(Span, Scalar) = &all[n];
        let start = scalar.text.find(word).unwrap();
        let place = inside(text, *at, scalar.style, start..start + word.len());
        &text[place.start as usize..place.end as usize]
    };
    assert_eq!(find(0, "\tb"), "\\tb");
    assert_eq!(find(0, "é"), "\\u00e9");
    assert_eq!(find(0, "c\nd"), "c\n\n    d");
    assert_eq!(find(1, "${{ q }}"), "${{ q }}");
    assert_eq!(find(1, "y z"), "y\n  z");
    let (at, scalar) = &all[1];
    let end = inside(text, *at, scalar.style, 900..901);
    assert_eq!((end.start, end.end), (at.end, at.end));
}

#[test]
fn any_place_in_any_text_gives_one() {
    let mut random = fastrand::Rng::with_seed(9);
    for text in ["\u{feff}|1\n x\n", "\u{feff}&a >2\n  x\n", "|1", "|\n  x", "--- |\n x\n", "%YAML 1.2\n---\n>1\n  x\n", "\"", "'", "\"\\"]
    {
        check_places(text);
    }
    for _ in 0..20_000 {
        let text = odd_text(&mut random, 8);
        let at = Span { file: 0, start: random.u32(..12), end: random.u32(..30) };
        let style = [Style::Plain, Style::Single, Style::Double, Style::Block][random.usize(..4)];
        let place = inside(&text, at, style, random.usize(..9)..random.usize(..9));
        assert!(place.start <= place.end);
    }
}

#[test]
fn every_character_points_back() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut checked = 0;
    for _ in 0..12_000 {
        let indent = random.usize(1..5);
        let mut text = String::new();
        if random.u8(..8) == 0 {
            text.push('\u{feff}');
        }
        for n in 0..random.usize(1..4) {
            let (open, inner) = match random.u8(..4) {
                0 => (format!("k{n}:"), indent),
                1 => (format!("k{n}:\n{}j:", " ".repeat(indent)), indent * 2),
                2 => (format!("k{n}:\n{}- j:", " ".repeat(indent)), indent + 4),
                _ => (format!("k{n}:\n- - &x{n}"), 4 + indent),
            };
            text.push_str(&open);
            text.push(' ');
            let body = odd_text(&mut random, 14);
            let pad = " ".repeat(inner);
            let indented = |body: &str| body.replace('\n', &format!("\n{pad}"));
            match random.u8(..5) {
                0 => text.push_str(&indented(&format!("x{body}"))),
                1 => text.push_str(&format!("'{}'", indented(&body.replace('\'', "''")))),
                2 => {
                    let body = body.replace('\\', ["\\\\", "\\\n", "\\x41", "\\ud83e\\udd80", "\\ ", "\\t", "\\/"][random.usize(..7)]);
                    text.push_str(&format!("\"{}\"", indented(&body.replace('"', "\\\""))));
                }
                _ => {
                    let sign = ["|", ">", "|-", ">+", "|+", "> # | x"][random.usize(..6)];
                    let explicit = if random.u8(..4) == 0 { "1" } else { "" };
                    let (head, tail) = sign.split_at(1);
                    text.push_str(&format!("{head}{explicit}{tail}\n{pad}{}", indented(&body)));
                }
            }
            text.push('\n');
        }
        if random.bool() {
            text = text.trim_end().to_owned();
        }
        if random.u8(..4) == 0 {
            text = text.replace('\n', "\r\n");
        }
        checked += check_places(&text);
    }
    assert!(checked > 5_000, "{checked}");
}

#[test]
fn no_text_is_too_odd() {
    let mut random = fastrand::Rng::with_seed(11);
    let bytes: Vec<u8> = (0..1 << 20).map(|_| random.u8(..)).collect();
    let text = decode(bytes, 0).unwrap_err().0;
    assert!(!read(&text, 0).1.is_empty());
    let valid =
        "stages:\n  a: &x\n    cmd: |\n      sort -u ${{ inputs }}\n    inputs: [\"b\", 'c']\n    <<: {env: {A: \"\\u00e9\"}}\n  b: *x\n";
    for _ in 0..6_000 {
        let mut text = valid.to_owned();
        for _ in 0..random.usize(1..4) {
            let mut at = random.usize(..=text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            if random.bool() {
                text.insert_str(at, &odd_text(&mut random, 2));
            } else {
                text.truncate(at);
                text.push_str(valid.get(at + random.usize(..6)..).unwrap_or_default());
            }
        }
        check_places(&text);
        for fault in read(&text, 0).1 {
            assert!(fault.at.start <= fault.at.end && fault.at.end as usize <= text.len(), "{fault:?} in\n{text}");
            assert!(text.is_char_boundary(fault.at.start as usize) && text.is_char_boundary(fault.at.end as usize), "{fault:?} in\n{text}");
            assert!(!fault.message.is_empty());
        }
    }
}
