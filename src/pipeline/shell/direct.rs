//! Commands that mean the same without a shell.
//!
//! Owns the strict reading of one simple command of plain words. When in doubt the answer is no: the
//! shell then does what it always did.

/// A command that needs no shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Direct {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// The file of `< file`.
    pub stdin: Option<String>,
    /// The file of `> file`, emptied first.
    pub stdout: Option<String>,
}

/// Reserved words of bash and POSIX.
pub const KEYWORDS: &[&str] = &[
    "!",
    "[[",
    "]]",
    "{",
    "}",
    "case",
    "coproc",
    "do",
    "done",
    "elif",
    "else",
    "end",
    "esac",
    "fi",
    "for",
    "foreach",
    "function",
    "if",
    "in",
    "nocorrect",
    "repeat",
    "select",
    "then",
    "time",
    "until",
    "while",
];

/// Builtins of bash and POSIX, and those of dash, ksh and zsh that a program could share a name with:
/// a command that begins with one goes to the shell.
pub const BUILTINS: &[&str] = &[
    ".",
    ":",
    "[",
    "alias",
    "autoload",
    "bg",
    "bind",
    "bindkey",
    "break",
    "builtin",
    "caller",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "declare",
    "dirs",
    "disable",
    "disown",
    "echo",
    "emulate",
    "enable",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "float",
    "getopts",
    "hash",
    "help",
    "history",
    "integer",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "nameref",
    "noglob",
    "popd",
    "print",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "rehash",
    "return",
    "set",
    "setopt",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "unsetopt",
    "wait",
    "whence",
    "where",
    "which",
    "zmodload",
];

/// The command as program and arguments, if a shell would start exactly that: one simple command of
/// plain words, at most one plain `< file` and one `> file`.
pub fn direct(text: &str) -> Option<Direct> {
    let text = text.trim_matches([' ', '\t', '\n']);
    let mut command = Direct { argv: Vec::new(), stdin: None, stdout: None };
    let mut chars = text.char_indices().peekable();
    let mut target: Option<char> = None;
    while let Some(&(start, c)) = chars.peek() {
        match c {
            ' ' | '\t' => {
                chars.next();
            }
            '<' | '>' => {
                chars.next();
                if target.is_some() || matches!(chars.peek(), Some((_, '<' | '>' | '&' | '|' | '('))) {
                    return None;
                }
                target = Some(c);
            }
            _ => {
                let mut word = String::new();
                let mut quoted = false;
                while let Some(&(_, c)) = chars.peek() {
                    match c {
                        ' ' | '\t' | '<' | '>' => break,
                        '\'' | '"' => {
                            quoted = true;
                            chars.next();
                            loop {
                                match chars.next()?.1 {
                                    end if end == c => break,
                                    '\0' => return None,
                                    '$' | '`' | '\\' | '!' if c == '"' => return None,
                                    inner => word.push(inner),
                                }
                            }
                        }
                        c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | ',' | '+' | '@' | '%' | '-' | '=') => {
                            word.push(c);
                            chars.next();
                        }
                        _ => return None,
                    }
                }
                let next = chars.peek().map(|&(_, c)| c);
                // `2> file` names a descriptor.
                if matches!(next, Some('<' | '>')) && !quoted && word.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                match target.take() {
                    None => {
                        // `a=b` before a command is an assignment.
                        if command.argv.is_empty() && (word.contains('=') || word.is_empty() || text[start..].starts_with('%')) {
                            return None;
                        }
                        command.argv.push(word);
                    }
                    Some(sign) => {
                        // bash has its own idea of files such as `/dev/tcp/host/port`.
                        if word.is_empty() || (word.starts_with("/dev/") && word != "/dev/null") {
                            return None;
                        }
                        let place = if sign == '<' { &mut command.stdin } else { &mut command.stdout };
                        if place.replace(word).is_some() {
                            return None;
                        }
                    }
                }
            }
        }
    }
    let first = command.argv.first()?.as_str();
    if target.is_some() || KEYWORDS.contains(&first) || BUILTINS.contains(&first) {
        return None;
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_commands() {
        let check = |text: &str, argv: &[&str], stdin: Option<&str>, stdout: Option<&str>| {
            let want = Direct {
                argv: argv.iter().map(|word| word.to_string()).collect(),
                stdin: stdin.map(str::to_string),
                stdout: stdout.map(str::to_string),
            };
            assert_eq!(direct(text), Some(want), "{text}");
        };
        check("sort -u raw.txt > clean.txt", &["sort", "-u", "raw.txt"], None, Some("clean.txt"));
        check("  ./parse<in>out\n", &["./parse"], Some("in"), Some("out"));
        check("> out < in a", &["a"], Some("in"), Some("out"));
        check("a 'b c' \"d'e\" f'g'\"h\" ''", &["a", "b c", "d'e", "fgh", ""], None, None);
        check("a 'two\nlines' x='*'", &["a", "two\nlines", "x=*"], None, None);
        check("a '2'> b", &["a", "2"], None, Some("b"));
        check("a > /dev/null", &["a"], None, Some("/dev/null"));
    }

    #[test]
    fn all_else_goes_to_the_shell() {
        for text in [
            "",
            "  ",
            "cd x",
            "echo a",
            "'echo' a",
            "a; b",
            "a | b",
            "a & b",
            "a && b",
            "a\nb",
            "a $x",
            "a \"$x\"",
            "a `b`",
            "a \"\\n\"",
            "a\\ b",
            "a *",
            "a ?",
            "a [b]",
            "a ~",
            "a {b,c}",
            "a # b",
            "A=b c",
            "a=b",
            "2> x a",
            "a 2> x",
            "a 2>&1",
            "a >> b",
            "a << b",
            "a <<< b",
            "a >| b",
            "a <> b",
            "a >& b",
            "a &> b",
            "a > b > c",
            "a < b < c",
            "a >",
            "< a",
            "a 'b",
            "a \"b",
            "if a",
            "! a",
            "time a",
            "{ a; }",
            "(a)",
            "a(b)",
            "[ a ]",
            "[[ a ]]",
            "exec a",
            ". a",
            ": a",
            "a > \"\"",
            "'' a",
            "%1",
            "a > /dev/tcp/h/1",
            "a > /dev/stdout",
            "a > > b",
            "a é",
            "a \"!\"",
            "a ^b",
            "a\0b",
            "a '\0'",
        ] {
            assert_eq!(direct(text), None, "{text}");
        }
    }
}
