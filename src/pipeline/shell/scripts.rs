//! The files a command runs: its programs, and the scripts of interpreters.
//!
//! Owns the list of interpreters with their options, read from the command's text alone. Knows no
//! files: what it names are candidates. A word with anything expanded in it names nothing.

use super::lexer::lex;
use super::place::Word;
use crate::pipeline::template::holes;

/// A program that runs a file named on its command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interpreter {
    /// Its name; a version at the end (`python3.12`) does not matter.
    pub name: &'static str,
    /// Options that have their value in the next word.
    pub takes: &'static [&'static str],
    /// Options after which there is no script (`-c`, `-m`, `-e`); one letter also in a cluster (`-ne`).
    pub ends: &'static [&'static str],
    /// Options whose value is the script.
    pub script: &'static [&'static str],
    /// The first word that is no option is the script; else only `script` options name one.
    pub first: bool,
}

const fn interpreter(
    name: &'static str,
    takes: &'static [&'static str],
    ends: &'static [&'static str],
    script: &'static [&'static str],
    first: bool,
) -> Interpreter {
    Interpreter { name, takes, ends, script, first }
}

const SHELL: &[&str] = &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"];

/// The known interpreters.
pub const INTERPRETERS: &[Interpreter] = &[
    interpreter("python", &["-W", "-X", "--check-hash-based-pycs"], &["-c", "-m"], &[], true),
    interpreter("pypy", &["-W", "-X"], &["-c", "-m"], &[], true),
    interpreter("bash", SHELL, &["-c"], &[], true),
    interpreter("sh", SHELL, &["-c"], &[], true),
    interpreter("dash", SHELL, &["-c"], &[], true),
    interpreter("zsh", SHELL, &["-c"], &[], true),
    interpreter("ksh", SHELL, &["-c"], &[], true),
    interpreter("ash", SHELL, &["-c"], &[], true),
    interpreter("fish", &["-C", "-d"], &["-c"], &[], true),
    interpreter(".", &[], &[], &[], true),
    interpreter("source", &[], &[], &[], true),
    interpreter("Rscript", &[], &["-e"], &[], true),
    interpreter("R", &[], &["-e"], &["-f", "--file"], false),
    interpreter("perl", &["-I", "-x"], &["-e", "-E"], &[], true),
    interpreter("node", &["-r", "--require", "--import", "--loader", "-C"], &["-e", "-p", "--eval", "--print"], &[], true),
    interpreter("ts-node", &["-P", "-r"], &["-e"], &[], true),
    interpreter("tsx", &[], &["-e"], &[], true),
    interpreter("ruby", &["-I", "-r", "-C"], &["-e"], &[], true),
    interpreter("julia", &["-p", "-t", "-J", "-C", "-H"], &["-e", "-E"], &["-L"], true),
    interpreter("php", &["-d", "-c", "-z"], &["-r"], &["-f"], true),
    interpreter("lua", &["-l", "-e"], &[], &[], true),
    interpreter("luajit", &["-l", "-e", "-j"], &[], &[], true),
    interpreter("awk", &["-v", "-F"], &[], &["-f", "--file"], false),
    interpreter("gawk", &["-v", "-F", "-i"], &["-e"], &["-f", "--file"], false),
    interpreter("mawk", &["-v", "-F"], &[], &["-f"], false),
    interpreter("sed", &["-e", "-l"], &[], &["-f", "--file"], false),
    interpreter("jq", &["--arg", "--argjson"], &[], &["-f", "--from-file"], false),
    interpreter("java", &["-cp", "-classpath", "--class-path"], &[], &["-jar"], false),
    interpreter("tclsh", &["-encoding"], &[], &[], true),
    interpreter("expect", &[], &["-c"], &["-f"], true),
    interpreter("octave", &["-p"], &["--eval"], &[], true),
    interpreter("gnuplot", &[], &["-e"], &["-c"], true),
    interpreter("groovy", &["-cp"], &["-e"], &[], true),
    interpreter("escript", &[], &[], &[], true),
    interpreter("elixir", &["-r", "-pa", "-S"], &["-e"], &[], true),
    interpreter("guile", &["-L"], &["-c"], &["-s"], true),
    interpreter("racket", &[], &["-e"], &[], true),
];

/// Programs that start the command after them: name, options with a value in the next word, and how
/// many words of their own come before the command.
pub const WRAPPERS: &[(&str, &[&str], usize)] = &[
    ("env", &["-u", "-C", "-S"], 0),
    ("nice", &["-n"], 0),
    ("ionice", &["-c", "-n", "-p"], 0),
    ("nohup", &[], 0),
    ("time", &["-f", "-o"], 0),
    ("exec", &["-a"], 0),
    ("command", &[], 0),
    ("builtin", &[], 0),
    ("timeout", &["-k", "-s", "--kill-after", "--signal"], 1),
    ("stdbuf", &["-i", "-o", "-e"], 0),
    ("setsid", &[], 0),
    ("sudo", &["-u", "-g"], 0),
    ("chronic", &[], 0),
    ("xargs", &["-n", "-P", "-I", "-L", "-d", "-a", "-s", "-E"], 0),
];

/// Files the command may run, as written, in order, each once: programs named with a `/`, and scripts
/// of interpreters. The text may be one rendered by name: a `${{ … }}` in it is a word that is expanded.
pub fn scripts(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let Ok(shelled) = lex(text, &holes(text)) else { return found };
    for command in shelled.commands() {
        for file in files(command) {
            if !file.is_empty() && !found.contains(&file) {
                found.push(file);
            }
        }
    }
    found
}

fn files(command: &[Word]) -> Vec<String> {
    // The options of `time`, a keyword.
    let mut words = after_options(command, &["-f", "-o"]);
    loop {
        while let Some((first, rest)) = words.split_first()
            && is_assignment(first)
        {
            words = rest;
        }
        let Some((first, rest)) = words.split_first() else { return Vec::new() };
        let Some(program) = &first.text else { return Vec::new() };
        let name = program.rsplit('/').next().unwrap_or_default();
        let Some((_, takes, own)) = WRAPPERS.iter().find(|(wrapper, ..)| *wrapper == name) else {
            let mut found = Vec::new();
            if program.contains('/') {
                found.push(program.clone());
            }
            if let Some(interpreter) = known(name) {
                found.extend(script(interpreter, rest));
            }
            return found;
        };
        words = after_options(rest, takes);
        words = words.get(*own..).unwrap_or_default();
    }
}

fn is_assignment(word: &Word) -> bool {
    word.text.as_deref().and_then(|text| text.split_once('=')).is_some_and(|(name, _)| {
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

fn after_options<'a>(mut words: &'a [Word], takes: &[&str]) -> &'a [Word] {
    while let Some((first, rest)) = words.split_first() {
        match first.text.as_deref() {
            Some("--") => return rest,
            Some(option) if takes.contains(&option) => words = rest.get(1..).unwrap_or_default(),
            Some(option) if option.starts_with('-') => words = rest,
            _ => break,
        }
    }
    words
}

fn known(name: &str) -> Option<&'static Interpreter> {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    let plain = if plain.is_empty() { name } else { plain };
    INTERPRETERS.iter().find(|interpreter| interpreter.name == plain || interpreter.name == name)
}

fn script(interpreter: &Interpreter, words: &[Word]) -> Vec<String> {
    let mut found = Vec::new();
    let mut words = words.iter();
    let mut options = true;
    while let Some(word) = words.next() {
        let Some(text) = word.text.as_deref() else {
            // Something expanded: an option or the script, nobody knows; options go on, a script would end it.
            if interpreter.first {
                return found;
            } else {
                continue;
            };
        };
        if options && text == "--" {
            options = false;
            continue;
        }
        let is_option = options && (text.starts_with('-') || interpreter.takes.contains(&text));
        if !is_option {
            if interpreter.first {
                found.push(text.to_string());
                return found;
            }
            continue;
        }
        if text == "-" {
            return found;
        }
        if interpreter.script.contains(&text) {
            found.extend(words.next().and_then(|word| word.text.clone()));
        } else if let Some(file) = interpreter.script.iter().find_map(|option| glued(option, text)) {
            found.push(file.to_string());
        } else if interpreter.ends.iter().any(|end| ends(end, text, interpreter)) {
            return found;
        } else if interpreter.takes.contains(&text)
            || (interpreter.takes == SHELL && text.len() > 2 && !text.starts_with("--") && text.ends_with('o'))
        {
            words.next();
        }
    }
    found
}

/// `-ffile`, `--file=file`.
fn glued<'a>(option: &str, text: &'a str) -> Option<&'a str> {
    let rest = text.strip_prefix(option)?;
    if option.starts_with("--") { rest.strip_prefix('=') } else { (option.len() == 2).then_some(rest) }
}

fn ends(end: &str, text: &str, interpreter: &Interpreter) -> bool {
    if end == text {
        return true;
    }
    let (Some(letter), false) = (end.strip_prefix('-').filter(|letter| letter.len() == 1), text.starts_with("--")) else { return false };
    // `-ne` ends the search as `-e` does; `-Wd` and `-Idir` are options with their value.
    let glued_value = interpreter.takes.iter().any(|option| option.len() == 2 && text.starts_with(option));
    let cluster = text.strip_prefix('-').is_some_and(|letters| letters.chars().all(|c| c.is_ascii_alphanumeric()));
    (cluster && !glued_value && text.contains(letter)) || text.starts_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_run() {
        let check = |text: &str, want: &[&str]| assert_eq!(scripts(text), want, "{text}");
        check("python clean.py in.csv > out.csv", &["clean.py"]);
        check("python3.12 -u -W ignore src/a.py x.py", &["src/a.py"]);
        check("./run.sh a b", &["./run.sh"]);
        check("tools/x | bin/y && z || (bin/q; w)", &["tools/x", "bin/y", "bin/q"]);
        check("python -c 'import a' b.py", &[]);
        check("python -m pytest b.py", &[]);
        check("python - < a.py", &[]);
        check("python \"$x\" a.py", &[]);
        check("python $x/a.py", &[]);
        check("python 'my script.py'", &["my script.py"]);
        check("bash -euo pipefail x.sh", &["x.sh"]);
        check("bash -ec 'x' y.sh", &[]);
        check("bash -x -o pipefail -- x.sh", &["x.sh"]);
        check("perl -ne 'print' x", &[]);
        check("perl -w -Ilib x.pl", &["x.pl"]);
        check("perl -I lib x.pl", &["x.pl"]);
        check("Rscript --vanilla a.R b", &["a.R"]);
        check("julia --project=. -t 4 a.jl", &["a.jl"]);
        check("awk -F, -f a.awk b.csv", &["a.awk"]);
        check("awk '{print $1}' b.csv", &[]);
        check("sed -n -f a.sed b", &["a.sed"]);
        check("sed -e s/a/b/ c", &[]);
        check("java -Xmx2g -jar a.jar b", &["a.jar"]);
        check("env A=b nice -n 5 timeout -k 1 10m python x.py", &["x.py"]);
        check("A=1 B='x y' python x.py", &["x.py"]);
        check("exec nohup ./x &", &["./x"]);
        check("if ./a; then ./b; else ./c; fi", &["./a", "./b", "./c"]);
        check("for f in ./d/*; do ./x $f; done", &["./x"]);
        check("while ! ./a; do sleep 1; done", &["./a"]);
        check("case $x in ./a) ./b ;; c|./d) ./e;; esac; ./f", &["./b", "./e", "./f"]);
        check("x=$(./a b) && echo \"$(python c.py)\"", &["./a", "c.py"]);
        check("diff <(./a) <(./b)", &["./a", "./b"]);
        check("{ ./a; ./b; } > c", &["./a", "./b"]);
        check("> out ./a", &["./a"]);
        check("./a > ./b 2> ./c < ./d", &["./a"]);
        check("f() { ./a; }; f", &["./a"]);
        check("# ./a\n./b # ./c", &["./b"]);
        check("cat <<EOF\n./a\n$(./b)\nEOF\n./c", &["./b", "./c"]);
        check("cat <<'EOF'\n$(./b)\nEOF\n./c", &["./c"]);
        check("[[ -f ./a && x == ./b ]] && ./c", &["./c"]);
        check("(( a > 3 )) && ./c", &["./c"]);
        check("a=(./x ./y); ./z", &["./z"]);
        check("/usr/bin/python3 a.py", &["/usr/bin/python3", "a.py"]);
        check("find . -name x | xargs -n 1 python a.py", &["a.py"]);
        check("./a \\\n  b && \\\n ./c", &["./a", "./c"]);
        check(". ./env.sh; source lib.sh", &["./env.sh", "lib.sh"]);
        check("time -p ./a", &["./a"]);
        check("./a; ./a", &["./a"]);
        check("echo 'unclosed", &[]);
        check("python a.py -j ${{ attempt ~ \"it's\", v=\"'\" }} && ./b '${{ tmp }}'", &["a.py", "./b"]);
        check("python ${{ tmp }}/a.py", &[]);
        check("./*.sh", &[]);
    }
}
