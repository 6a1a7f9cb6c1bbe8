//! Quoting and direct starts, compared with what real shells do.

use std::process::{Command, Stdio};

use super::*;
use crate::pipeline::scope::{Scope, Val, Volatile};
use crate::pipeline::template::Template;

#[test]
fn kinds() {
    let check = |text: &str, want| {
        let words: Vec<String> = text.split(' ').map(str::to_string).collect();
        assert_eq!(kind(&words), want, "{text}");
    };
    for text in ["bash -euo pipefail -c", "sh -c", "/bin/dash -c", "/usr/bin/env bash -c", "env -i A=b ksh", "busybox sh -c", "zsh -c"] {
        check(text, ShellKind::Posix);
    }
    for text in ["python3 -c", "fish -c", "", "env", "busybox awk", "pwsh -c", "Rscript -e"] {
        check(text, ShellKind::Other);
    }
}

/// The places of the holes in a text where `@` stands for a hole.
fn places(text: &str) -> Vec<Place> {
    let holes: Vec<_> = text.bytes().enumerate().filter(|(_, b)| *b == b'@').map(|(at, _)| at..at + 1).collect();
    let shelled = lex(text, &holes).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    (0..holes.len()).map(|n| shelled.place(n).unwrap()).collect()
}

#[test]
fn each_hole_has_its_place() {
    let alone = Place::Bare { alone: true, one: false, apart: false };
    let glued = Place::Bare { alone: false, one: false, apart: false };
    let target = Place::Bare { alone: true, one: true, apart: false };
    let inside = Place::Bare { alone: false, one: true, apart: true };
    let test = Place::Bare { alone: false, one: true, apart: false };
    let double = Place::Double { apart: false };
    let document = |quoted, tabs| Place::Document { quoted, tabs };
    let check = |text: &str, want: &[Place]| assert_eq!(places(text), want, "{text}");
    check("a @ b", &[alone]);
    check("a @;b @&& c @|d @", &[alone; 4]);
    check("(a @)", &[alone]);
    check("a @@ @x x@", &[glued; 4]);
    check("a '@' \"@\" x", &[Place::Single, double]);
    check("a > @ < @ 2>@ >>@ x", &[target; 4]);
    check("a @>b", &[Place::Bare { alone: true, one: false, apart: true }]);
    check("a \"$(b @ \"@\" '@')@\" @", &[alone, double, Place::Single, double, alone]);
    check(
        "a $x@ \"$x@\" ${x}@ $1@",
        &[
            Place::Bare { alone: false, one: false, apart: true },
            Place::Double { apart: true },
            glued,
            Place::Bare { alone: false, one: false, apart: true },
        ],
    );
    check("a # b @\nc @", &[Place::Comment, alone]);
    check("a#b @ '#' @", &[alone, alone]);
    check("a `b @` \"`@`\"", &[Place::Backquote; 2]);
    check("a $@ \\@ \"\\@\" \"$@\"", &[Place::Dollar, Place::Backslash, Place::Backslash, Place::Dollar]);
    check("a $((1 + @)) ((@)) $((2 * (@ + 1)))", &[Place::Arithmetic; 3]);
    check("a $( (b @) ) $((b @) | c)", &[alone, alone]);
    check("a $'x@' \"$'@'\"", &[Place::Ansi, double]);
    check(
        "cat <<E <<'F'\n@ '@' \"@\"\nE\n@\nF\n@",
        &[document(false, false), document(false, false), document(false, false), document(true, false), alone],
    );
    check("cat <<-E @\n\t@\n\tE\nb @", &[alone, document(false, true), alone]);
    check("cat <<E\n$(a @ '@')\n$((@))\n`@`\nE", &[alone, Place::Single, Place::Arithmetic, Place::Backquote]);
    check("cat <<E; \"a\nb @\"\n@\nE", &[double, document(false, false)]);
    check("cat <<E\nx\\\nE\n@\nE\n@", &[document(false, false), alone]);
    check("x=$(cat <<E\n@\nE\n); b @", &[document(false, false), alone]);
    check("cat <<@", &[Place::Delimiter]);
    check("cat <<<@ b", &[target]);
    check(
        "a ${x:-@} \"${x:-@}\" \"${x#@}\" ${x/@/@} \"${x/@/b}\" ${@} \"${x:-\"@\"}\"",
        &[inside, Place::DoubleBrace, inside, inside, inside, Place::Variable, Place::Variable, double],
    );
    check("a ${x:@} ${x[@]} ${#x}@", &[Place::Arithmetic, Place::Arithmetic, glued]);
    check("a ${x:-'}'@} \"${x:-'}@\"", &[inside, double]);
    check("[[ @ == \"@\" && -f @ ]] && a @", &[test, double, test, alone]);
    check("[[ $x =~ ^(a|b)$ ]] && a @", &[alone]);
    check("case @ in @) a @ ;; b|'@') c ;; esac; d @", &[target, alone, alone, Place::Single, alone]);
    check("x=$(case a in b) c @ ;; (d) e @ ;; esac) f @", &[alone; 3]);
    check("x=@ y=(@ '@') z @", &[glued, alone, Place::Single, alone]);
    check("diff <(a @) >(b @) @", &[alone; 3]);
    check("f() { a @; }; f @", &[alone; 2]);
    check("for f in @; do a \"$f\" @; done", &[alone; 2]);
    check("a \\\n @ b\\\n@", &[alone, glued]);
    check("a $x\\\n@", &[Place::Bare { alone: false, one: false, apart: true }]);
    check("awk '{print $1, \"@\"}' f", &[Place::Single]);
    check("a ${x} $(b) \"it's @\" @", &[double, alone]);
}

#[test]
fn unclosed_quotes_are_faults() {
    let check = |text: &str, at: usize| {
        let faults = lex(text, &[]).unwrap_err();
        assert_eq!((faults.len(), faults[0].range.start, faults[0].code), (1, at, "unclosed_quote"), "{text}");
        assert!(faults[0].hint.as_deref().unwrap().contains(" #"));
    };
    check("sed 's", 4);
    check("a \"b", 2);
    check("a `b", 2);
    check("a $(b", 2);
    check("a \"$(b 'c)\"", 7);
    check("a ${b", 2);
    check("a $((1 + 2", 2);
    check("a $'b", 3);
    for fine in [
        "echo \\'",
        "a 'b' \"c\" `d` $(e) ${f} $((1))",
        "cat <<E\nit's\nE",
        "cat <<E\nopen",
        "# it's",
        "a \"'\" '\"'",
        "a \\\" b",
        "(a",
        "$",
        "a $",
        "\\",
        "a)",
    ] {
        assert!(lex(fine, &[]).is_ok(), "{fine}");
    }
}

#[test]
fn deep_nesting_is_a_fault_and_no_crash() {
    for open in ["$(", "\"$(", "${x:-", "((", "(", "a(", "<(", "\"${x:-", "$(("] {
        let text = open.repeat(100_000);
        let _ = lex(&text, &[]);
        let _ = scripts(&text);
        let _ = direct(&text);
    }
}

#[test]
fn random_text_gives_each_hole_one_place() {
    let mut random = fastrand::Rng::with_seed(7);
    const PIECES: &[&str] = &[
        "@", "@", " ", "\n", "'", "\"", "$", "`", "\\", "(", ")", "{", "}", "$(", "${x:-", "$((", "))", "<<E\n", "E\n", "<", ">", "|", "&",
        ";", "#", "a", "=", "case ", " in ", "esac", "[[ ", " ]]", "é", "$x", "<<-'E'\n", "\t", ";;",
    ];
    for _ in 0..20_000 {
        let text: String = (0..random.usize(0..14)).map(|_| PIECES[random.usize(0..PIECES.len())]).collect();
        let holes: Vec<_> = text.bytes().enumerate().filter(|(_, b)| *b == b'@').map(|(at, _)| at..at + 1).collect();
        if let Ok(shelled) = lex(&text, &holes) {
            assert!(holes.iter().enumerate().all(|(n, _)| shelled.place(n).is_some()), "{text:?}");
        }
        scripts(&text);
        direct(&text);
    }
}

/// Values that break naive quoting.
fn nasty(random: &mut fastrand::Rng) -> String {
    const PIECES: &[&str] = &[
        "'",
        "\"",
        "$",
        "`",
        "\\",
        "\n",
        " ",
        "!",
        "*",
        "?",
        "[a]",
        "~",
        "#",
        "&",
        ";",
        "|",
        "<",
        ">",
        "(",
        ")",
        "{",
        "}",
        "=",
        "%",
        "^",
        ",",
        "\t",
        "\r",
        "é",
        "日本",
        "😀",
        "\u{1}",
        "\u{7f}",
        "\u{81}",
        "\u{88}",
        "\u{a0}",
        "$HOME",
        "$(id)",
        "`id`",
        "${x}",
        "$x",
        "\\n",
        "\\\n",
        "--",
        "-n",
        "-e",
        "a",
        "b",
        "0",
        "12",
        "x=1",
        "EOF",
        "\nEOF\n",
        "it's",
        "\\'",
        "$'",
        "$\"",
        "%s",
        "!!",
        "!a",
        "\u{1b}[0m",
        "}x",
        "''",
        "\"\"",
        " in ",
        "esac",
        "\\\\",
        "[[",
        "]]",
        "/",
    ];
    match random.u8(0..12) {
        0 => [
            "if",
            "then",
            "{",
            "}",
            "!",
            "[[",
            "",
            "-",
            "1",
            "2",
            "~",
            "~root",
            "in",
            "esac",
            "time",
            "a=b",
            "a.csv",
            "raw/a-b_c.csv",
            "\n",
            " ",
        ][random.usize(0..20)]
        .to_string(),
        _ => (0..random.usize(0..7)).map(|_| PIECES[random.usize(0..PIECES.len())]).collect(),
    }
}

fn run(shell: &str, script: &str) -> Vec<u8> {
    // Somewhere else: a value that gets out of its quotes may write files.
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(shell)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("x", "one")
        .env("LC_ALL", "C.UTF-8")
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = script.to_string();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, text.as_bytes()));
    let out = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    let wrong: String = String::from_utf8_lossy(&out.stderr).chars().take(400).collect();
    assert!(wrong.is_empty(), "{shell}: {wrong}\n{}", script.chars().take(300).collect::<String>());
    out.stdout
}

/// A command, what it prints for a value, and how many values it is tried with.
type Shape = (&'static str, fn(&str) -> String, usize);

fn same(v: &str) -> String {
    v.to_string()
}

/// For all shells.
const SHAPES: &[Shape] = &[
    ("printf '%s\\0' ${{ v }}", same, 600),
    ("printf '%s\\0' a${{ v }}b", |v| format!("a{v}b"), 600),
    ("printf '%s\\0' a${{ v }}'c d'${{ v }}", |v| format!("a{v}c d{v}"), 300),
    ("printf '%s\\0' \"${{ v }}\"", same, 600),
    ("printf '%s\\0' \"a '${{ v }}' b${{ v }}\"", |v| format!("a '{v}' b{v}"), 600),
    ("printf '%s\\0' '${{ v }}'", same, 600),
    ("printf '%s\\0' '\"$x${{ v }}`'", |v| format!("\"$x{v}`"), 600),
    ("y=${{ v }}; printf '%s\\0' \"$y\"", same, 600),
    ("y=\"${{ v }}\"; printf '%s\\0' \"$y\"", same, 300),
    ("printf '%s\\0' $x${{ v }}", |v| format!("one{v}"), 300),
    ("printf '%s\\0' \"$x${{ v }}\"", |v| format!("one{v}"), 300),
    ("printf '%s\\0' $x\\\n${{ v }}", |v| format!("one{v}"), 100),
    ("printf '%s\\0' \"${x}${{ v }}$x\"", |v| format!("one{v}one"), 300),
    ("printf '%s\\0' ${none:-${{ v }}}", same, 300),
    ("printf '%s\\0' ${none:-a${{ v }}b}", |v| format!("a{v}b"), 300),
    ("printf '%s\\0' \"${none:-${{ v }}}\"", same, 300),
    ("printf '%s\\0' \"${none:-a b${{ v }}c}\"", |v| format!("a b{v}c"), 300),
    ("printf '%s\\0' \"${x:+\"${{ v }}\"}\"", same, 200),
    ("y=a${{ v }}; printf '%s\\0' \"${y#a${{ v }}}.\"", |_| ".".into(), 300),
    ("y=${{ v }}z; printf '%s\\0' ${y%${{ v }}z}.", |_| ".".into(), 300),
    ("case ${{ v }} in ${{ v }}) printf 'yes\\0' ;; *) printf 'no\\0' ;; esac", |_| "yes".into(), 300),
    ("case \"${{ v }}\" in '${{ v }}') printf 'yes\\0' ;; *) printf 'no\\0' ;; esac", |_| "yes".into(), 300),
    ("f() { printf '%s\\0' \"$1\"; }; f ${{ v }}", same, 200),
    ("for i in ${{ v }} \"${{ v }}\"; do printf '%s.' \"$i\"; done; printf '\\0'", |v| format!("{v}.{v}."), 200),
    ("printf '%s\\0' \"$(printf '%sx' ${{ v }})\"", |v| format!("{v}x"), 60),
    ("printf '%s\\0' \"$(printf '%sx' \"${{ v }}\")\"", |v| format!("{v}x"), 60),
    ("printf '%s\\0' \"$(printf '%sx' '${{ v }}')\"", |v| format!("{v}x"), 60),
    ("printf '%s\\0' \"$(printf '%sx' \"$(printf '%sy' \"${{ v }}\")\")\"", |v| format!("{v}yx"), 40),
    ("(printf '%s\\0' ${{ v }}) | cat", same, 40),
    ("cat <<EOF\n${{ v }}\nEOF\nprintf '\\0'", |v| format!("{v}\n"), 150),
    ("cat <<EOF\n\"a ${{ v }}' $x\nEOF\nprintf '\\0'", |v| format!("\"a {v}' one\n"), 100),
    ("cat <<'EOF'\n$x ${{ v }}\nEOF\nprintf '\\0'", |v| format!("$x {v}\n"), 150),
    ("cat <<EOF\n$(printf '%sx' '${{ v }}')\nEOF\nprintf '\\0'", |v| format!("{v}x\n"), 60),
    ("cat <<-EOF\n\t\ta${{ v }}\n\tEOF\nprintf '\\0'", |v| format!("a{v}\n"), 100),
    ("cat <<EOF | cat\n${none:-a}${{ v }}\nEOF\nprintf '\\0'", |v| format!("a{v}\n"), 60),
];

/// For bash.
const BASH_SHAPES: &[Shape] = &[
    ("printf '%s\\0' $'a${{ v }}b'", |v| format!("a{v}b"), 300),
    ("[[ ${{ v }} == ${{ v }} ]] && printf 'yes\\0'", |_| "yes".into(), 300),
    ("[[ \"${{ v }}\" =~ ^${{ v }}$ ]] && printf 'yes\\0'", |_| "yes".into(), 300),
    ("cat <<<${{ v }}; printf '\\0'", |v| format!("{v}\n"), 60),
    ("cat <<<\"a${{ v }}\"; printf '\\0'", |v| format!("a{v}\n"), 60),
    ("xs=(${{ v }} a${{ v }}); printf '%s.%s\\0' \"${xs[0]}\" \"${xs[1]}\"", |v| format!("{v}.a{v}"), 200),
    ("cat <(printf '%s\\0' ${{ v }})", same, 40),
    ("y=a${{ v }}b; printf '%s\\0' ${y/${{ v }}b/}", |_| "a".into(), 200),
    ("declare y=${{ v }}; printf '%s\\0' \"$y\"", same, 200),
];

#[test]
fn values_arrive_literally_in_real_shells() {
    let mut random = fastrand::Rng::with_seed(42);
    for (shell, shapes) in [("bash", SHAPES), ("dash", SHAPES), ("bash", BASH_SHAPES)] {
        if Command::new(shell).arg("-c").arg(":").status().is_err() {
            continue;
        }
        for (text, want, times) in shapes {
            let (mut script, mut wanted, mut refused) = (String::new(), Vec::new(), 0);
            let template = Template::parse(text).unwrap();
            for _ in 0..*times {
                let value = nasty(&mut random);
                let scope = Scope::default().with("v", Val::text(value.as_str()));
                match template.command(&scope, Volatile::ByName, ShellKind::Posix) {
                    Ok((command, _)) => {
                        script.push_str(&command);
                        script.push('\n');
                        wanted.push((value.clone(), command, want(&value)));
                    }
                    Err(faults) => {
                        let document = text.contains("<<")
                            && (value.contains("EOF") || value.starts_with('\t') || value.contains("\n\t") || value.contains("\\\n"));
                        assert!(document && faults[0].code == "quote_place", "{text} {value:?} {faults:?}");
                        refused += 1;
                    }
                }
            }
            let out = run(shell, &script);
            let mut got = out.split(|b| *b == 0);
            for (value, command, want) in &wanted {
                let got = got.next().unwrap_or_default();
                let shown = String::from_utf8_lossy(got);
                assert!(got == want.as_bytes(), "{shell} {text} with {value:?}: wrote {command}\n got {shown:?}\nwant {want:?}");
            }
            assert!(refused < wanted.len() / 2, "{text}: {refused} refused");
        }
    }
}

#[test]
fn lists_are_one_word_each() {
    let mut random = fastrand::Rng::with_seed(3);
    for shell in ["bash", "dash"] {
        if Command::new(shell).arg("-c").arg(":").status().is_err() {
            continue;
        }
        let (mut script, mut wanted) = (String::new(), Vec::new());
        let words = Template::parse("printf '%s\\0' . ${{ v }}").unwrap();
        let options = Template::parse("printf '%s\\0' . ${{ v | each('-I') }} .").unwrap();
        let joined = Template::parse("printf '%s\\0' \"${{ v | join(' ') }}\"").unwrap();
        for _ in 0..300 {
            let list: Vec<String> = (0..random.usize(0..5)).map(|_| nasty(&mut random)).collect();
            let entries = list.iter().map(|text| (None, Val::Item { key: text.clone(), fields: Vec::new() })).collect();
            let scope = Scope::default().with("v", Val::Entries(entries));
            for template in [&words, &options, &joined] {
                script.push_str(&template.command(&scope, Volatile::ByName, ShellKind::Posix).unwrap().0);
                script.push('\n');
            }
            wanted.push(".".to_string());
            wanted.extend(list.iter().cloned());
            wanted.push(".".to_string());
            wanted.extend(list.iter().flat_map(|text| ["-I".to_string(), text.clone()]));
            wanted.push(".".to_string());
            wanted.push(list.join(" "));
        }
        let out = run(shell, &script);
        let got: Vec<&[u8]> = out.split(|b| *b == 0).collect();
        for (got, want) in got.iter().zip(&wanted) {
            assert!(*got == want.as_bytes(), "{shell}: got {:?} want {want:?}", String::from_utf8_lossy(got));
        }
        assert_eq!(got.len(), wanted.len() + 1);
    }
}

#[test]
fn plain_values_stay_plain() {
    let write = |text: &str, val: Val| {
        let scope = Scope::default().with("v", val);
        Template::parse(text)
            .unwrap()
            .command(&scope, Volatile::ByName, ShellKind::Posix)
            .map(|(text, _)| text)
            .map_err(|faults| faults[0].message.clone())
    };
    let path = |path: &str| Val::path(path);
    let list = |all: &[&str]| Val::List(all.iter().map(|text| Val::text(*text)).collect());
    assert_eq!(write("cat ${{ v }} > x", path("raw/a-b_c.csv")).unwrap(), "cat raw/a-b_c.csv > x");
    assert_eq!(write("cat ${{ v }}", list(&["a", "b c", ""])).unwrap(), "cat a 'b c' ''");
    assert_eq!(write("a > ${{ v }}", list(&["b c"])).unwrap(), "a > 'b c'");
    assert_eq!(write("a ${{ v }}>b", Val::Number("2".into())).unwrap(), "a '2'>b");
    assert_eq!(write("a $((${{ v }} + 1))", Val::Number("-3".into())).unwrap(), "a $(((-3) + 1))");
    assert_eq!(write("a # ${{ v | raw }}", Val::text("b c")).unwrap(), "a # b c");
    assert_eq!(write("${{ v | raw }} x", Val::text("b -c")).unwrap(), "b -c x");
    assert_eq!(write("a ${{ v }}", Val::Bool(true)).unwrap(), "a true");
    for (text, val, part) in [
        ("a > ${{ v }}", list(&["b", "c"]), "one word"),
        ("a > ${{ v }}", list(&[]), "one word"),
        ("a x${{ v }}", list(&["b"]), "glued"),
        ("a \"${{ v }}\"", list(&["b"]), "inside quotes"),
        ("a '${{ v }}'", list(&["b"]), "inside quotes"),
        ("a # ${{ v }}", Val::text("b"), "comment"),
        ("a `${{ v }}`", Val::text("b"), "backquotes"),
        ("a $${{ v }}", Val::text("b"), "variable"),
        ("a \\${{ v }}", Val::text("b"), "backslash"),
        ("a $((${{ v }}))", Val::text("b"), "arithmetic"),
        ("cat <<E\n$x${{ v }}\nE", Val::text("b"), "variable"),
        ("cat <<E\n${{ v }}\nE", Val::text("a\nE\nb"), "here-document"),
        ("cat <<'E'\n${{ v }}${{ v }}\nE", Val::text("E\nb"), "here-document"),
        ("a ${{ v }}", Val::text("b\0"), "NUL"),
        ("a '${{ v }}'", Val::text("b\0"), "NUL"),
        ("a ${{ v | raw }}", Val::text("b\0"), "NUL"),
        ("a ${{ v }}", Val::Null, "nothing"),
        ("a ${{ v }}", Val::Map(Vec::new()), "a map"),
        ("a ${{ v }}", Val::List(vec![Val::Null]), "nothing"),
    ] {
        let message = write(text, val.clone()).unwrap_err();
        assert!(message.contains(part), "{text} {val:?}: {message}");
    }
    // Only the whole line ends a document.
    assert_eq!(write("cat <<E\n${{ v }}x\nE", Val::text("E")).unwrap(), "cat <<E\nEx\nE");
}

#[test]
fn direct_means_what_bash_does() {
    const PIECES: &[&str] = &[
        "a", "b.csv", "-x", "--y=z", "'c d'", "\"e f\"", "'", "\"", " ", " ", " ", "  ", "\t", "$x", "*", "\\", "g", "1", "''", "x=1",
        "{h,i}", "~", "#", ";", "é", ",", "@", "%", "!", "'$x'", "\"'\"", "\n", ":", "^", "[j]", "+", "&", "|", "(",
    ];
    let mut random = fastrand::Rng::with_seed(11);
    // A function stands for the program: it prints its arguments.
    let mut script = String::from("show() { printf '%s\\0' \"$#\" \"$@\"; }\n");
    let mut wanted = Vec::new();
    for _ in 0..20_000 {
        let rest: String = (0..random.usize(0..8)).map(|_| PIECES[random.usize(0..PIECES.len())]).collect();
        let text = format!("show {rest}");
        if let Some(direct) = direct(&text) {
            script.push_str(&text);
            script.push('\n');
            wanted.push((direct.argv.len() - 1).to_string());
            wanted.extend(direct.argv.into_iter().skip(1));
        }
    }
    assert!(wanted.len() > 2000);
    for shell in ["bash", "dash"] {
        if Command::new(shell).arg("-c").arg(":").status().is_err() {
            continue;
        }
        let out = run(shell, &script);
        let got: Vec<String> = out.split(|b| *b == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        let at = got.iter().zip(&wanted).position(|(got, want)| got != want);
        assert_eq!(at.map(|at| (&got[at.saturating_sub(5)..=at], &wanted[at.saturating_sub(5)..=at])), None);
        assert_eq!(got.len(), wanted.len() + 1);
    }
}

#[test]
fn direct_leaves_every_builtin_of_bash_to_bash() {
    let out = run("bash", "compgen -b; compgen -k; set -o posix; compgen -b");
    for name in String::from_utf8(out).unwrap().lines() {
        assert!(BUILTINS.contains(&name) || KEYWORDS.contains(&name), "{name}");
        assert_eq!(direct(name), None, "{name}");
    }
}
