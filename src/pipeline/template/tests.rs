//! Templates with what they come to, and their faults with places.

use super::*;
use crate::diag::Span;
use crate::pipeline::scope::Volatiles;
use crate::value::{Data, Key, Scalar, Value as FileValue};

fn plain(text: &str) -> FileValue {
    FileValue::scalar(Span::default(), Scalar::plain(text))
}

fn map(entries: &[(&str, FileValue)]) -> FileValue {
    let key = |text: &str| Key { text: text.into(), at: Span::default() };
    FileValue { at: Span::default(), data: Data::Map(entries.iter().map(|(name, value)| (key(name), value.clone())).collect()) }
}

fn list(items: &[&str]) -> FileValue {
    FileValue { at: Span::default(), data: Data::List(items.iter().map(|text| plain(text)).collect()) }
}

fn scope() -> Scope {
    let config = map(&[
        ("db", map(&[("host", plain("localhost")), ("port", plain("5432"))])),
        ("version", plain("3.10")),
        ("versions", list(&["3.9", "3.10", "3.11"])),
        ("threshold", plain("0.50")),
        ("hex", plain("0x1F")),
        ("debug", plain("false")),
        ("names", list(&["b", "a", "B", "a"])),
        ("no", plain("no")),
        ("missing", plain("~")),
        ("my-key", plain("dashed")),
        ("extra", map(&[("a", plain("-x")), ("b", plain("-y"))])),
        ("big", plain("123456789012345678901234567890")),
    ]);
    let entries = [(Some("raw"), "raw/a.csv"), (Some("lib"), "lib/b c.py"), (None, "z.txt")];
    Scope::default()
        .with("config", Val::from_value(&config))
        .with("env", Val::Map(vec![("HOME".into(), Val::text("/root"))]))
        .with("inputs", Val::Entries(entries.iter().map(|(name, path)| (name.map(str::to_string), Val::path(path))).collect()))
        .with("outputs", Val::path("out/x.csv"))
        .with("file", Val::path("raw/acme/2024.csv").with_fields([("day".into(), Val::text("2024"))]))
        .with("customer", Val::text("acme"))
        .with("my-axis", Val::text("dashed"))
        .with("n", Val::Number("4".into()))
}

const NOW: Volatiles = Volatiles { attempt: 2, cpus: 8, memory: 1024, tmp: String::new(), run: String::new() };

fn text(text: &str) -> String {
    match Template::parse(text).and_then(|template| template.text(&scope(), Volatile::Are(&NOW))) {
        Ok((text, _)) => text,
        Err(faults) => panic!("{text}: {faults:?}"),
    }
}

fn value(text: &str) -> Val {
    Template::parse(text).unwrap().value(&scope(), Volatile::Are(&NOW)).unwrap().0
}

fn reads(text: &str) -> Reads {
    Template::parse(text).unwrap().value(&scope(), Volatile::Are(&NOW)).unwrap().1
}

fn faults(text: &str) -> Vec<Fault> {
    match Template::parse(text).and_then(|template| template.text(&scope(), Volatile::Are(&NOW))) {
        Ok((filled, _)) => panic!("{text}: no fault but {filled:?}"),
        Err(faults) => faults,
    }
}

#[test]
fn lookups_print_as_written() {
    for (template, want) in [
        ("no hole", "no hole"),
        ("a/${{ config.db.host }}:${{config.db.port}}\n", "a/localhost:5432\n"),
        ("${{ config.version }}", "3.10"),
        ("${{ config.versions[1] }} ${{ config.versions[-1] }}", "3.10 3.11"),
        ("${{ config.hex }} ${{ config.no }} ${{ config.debug }}", "0x1F no false"),
        ("${{ config['db']['host'] }} ${{ config.my-key }} ${{ my-axis }}", "localhost dashed dashed"),
        ("${{ inputs.raw }} ${{ inputs[1] }} ${{ inputs[0].stem }} ${{ inputs.2 }}", "raw/a.csv lib/b c.py a z.txt"),
        ("${{ outputs }}/x ${{ outputs.dir }}", "out/x.csv/x out"),
        (
            "${{ file }} ${{ file.day }} ${{ file.name }} ${{ file.ext }} ${{ file.key }}",
            "raw/acme/2024.csv 2024 2024.csv csv raw/acme/2024.csv",
        ),
        ("${{ attempt }} ${{ resources.cpus }} ${{ resources.memory }}", "2 8 1024"),
        ("$x ${x#p} $(y) {{ a }} {% b %} {# c #} $ {{ }}", "$x ${x#p} $(y) {{ a }} {% b %} {# c #} $ {{ }}"),
        ("${{ '${{' }} x }}", "${{ x }}"),
        ("${{ '}}' }} ${{ \"it's\" }} ${{ {'a': {'b': 'c'}}['a']['b'] }}", "}} it's c"),
        ("é${{ customer }}é", "éacmeé"),
        ("${{ config.big }}", "123456789012345678901234567890"),
        ("${{\n  customer\n}}", "acme"),
    ] {
        assert_eq!(text(template), want, "{template}");
    }
}

#[test]
fn spelling_survives_computing() {
    for (template, want) in [
        ("${{ 'v' ~ config.version }}", "v3.10"),
        ("${{ config.version | replace('.', '_') }}", "3_10"),
        ("${{ config.version | default('x') }}", "3.10"),
        ("${{ config.versions | join(' ') }}", "3.9 3.10 3.11"),
        ("${{ config.versions | sort | join(' ') }}", "3.10 3.11 3.9"),
        ("${{ config.versions | map('replace', '.', '') | join(' ') }}", "39 310 311"),
        ("${{ config.versions | last }} ${{ config.versions | first }}", "3.11 3.9"),
        ("${{ config.versions | json }}", "[3.9,3.10,3.11]"),
        ("${{ ('v' ~ config.version) if config.threshold > 0.3 else 'x' }}", "v3.10"),
        ("${{ config.version if n == 4 else 'x' }}", "3.10"),
        ("${{ 'x' if n != 4 else config.version }}", "3.10"),
        ("${{ 'y' if (config.version if n == 4 else 1) < 3.2 else 'n' }}", "y"),
        ("${{ [config.version, 'x'] | join('-') }}", "3.10-x"),
        ("${{ '%s' | format(config.version) }}", "3.10"),
    ] {
        assert_eq!(text(template), want, "{template}");
    }
}

#[test]
fn expressions_compute() {
    for (template, want) in [
        ("${{ n + 1 }} ${{ n * 2 - 1 }} ${{ 7 // 2 }} ${{ 7 % 4 }} ${{ 2 ** 3 }} ${{ n-1 }}", "5 7 3 3 8 3"),
        ("${{ config.threshold + 1 }} ${{ config.hex + 1 }}", "1.5 32"),
        ("${{ 'a' if customer == 'acme' else 'b' }}", "a"),
        ("${{ 'a' if file == 'raw/acme/2024.csv' else 'b' }}", "a"),
        ("${{ 'a' if 'z.txt' in inputs else 'b' }}", "a"),
        ("${{ 'a' if config.threshold > 0.4 and config.version < 3.2 else 'b' }}", "a"),
        ("${{ 'a' if not config.debug else 'b' }}", "a"),
        ("${{ config.names | unique | sort | join(',') }}", "B,a,b"),
        ("${{ config.names | select('ne', 'a') | join(',') }}", "b,B"),
        ("${{ inputs | map(attribute='stem') | join(',') }}", "a,b c,z"),
        ("${{ inputs | select('endingwith', '.csv') | join(',') }}", "raw/a.csv"),
        ("${{ inputs | length }} ${{ 'y' if inputs | length > 1 else 'n' }} ${{ 'y' if outputs | length > 1 else 'n' }}", "3 y n"),
        ("${{ inputs | join(' ') }}", "raw/a.csv lib/b c.py z.txt"),
        ("${{ outputs | join(' ') }} ${{ outputs | map('upper') | join }}", "out/x.csv OUT/X.CSV"),
        ("${{ (inputs | first).stem }} ${{ inputs[n - 4] }}", "a raw/a.csv"),
        ("${{ customer | upper | lower | replace('c', 'k') }}", "akme"),
        ("${{ 'a,b' | split(',') | last }} ${{ 'a b  c' | split | length }}", "b 3"),
        ("${{ '08' | int + 1 }} ${{ '1.5' | float * 2 }} ${{ 'TRUE' | bool }}", "9 3.0 true"),
        ("${{ range(3) | join(',') }} ${{ [3, 1, 2] | sort | first }} ${{ [1, 2] | max }}", "0,1,2 1 2"),
        ("${{ '%03d-%.2f' | format(7, 1.5) }}", "007-1.50"),
        ("${{ config.extra[file.ext] | default('-') }} ${{ config.extra[customer[0:1]] }}", "- -x"),
        ("${{ config.nope | default('d') }} ${{ nope | default('e') }} ${{ config.missing | default('f') }}", "d e f"),
        ("${{ 'y' if config.nope is defined else 'n' }} ${{ 'y' if nope is not defined else 'n' }}", "n y"),
        (
            "${{ config.db | json }} ${{ 'a\"' | json }} ${{ file | json }}",
            "{\"host\":\"localhost\",\"port\":5432} \"a\\\"\" \"raw/acme/2024.csv\"",
        ),
        ("${{ ['a', 'b'] | zip([1, 2]) | json }}", "[[\"a\",1],[\"b\",2]]"),
        ("${{ config.db.host ~ ':' ~ config.db.port }}", "localhost:5432"),
        ("${{ config.missing or 'x' }}", "x"),
        ("${{ 'a' if null is none else 'b' }}", "a"),
        ("${{ 3 if 1 < n <= 4 else 5 }}", "3"),
        ("${{ n == 'auto' or n > 3 }} ${{ n != 'auto' }} ${{ (file.day | int) > 2000 }} ${{ customer ~ n > 'a' }}", "true true true true"),
        ("${{ {'a': config['db']}[customer[0:1]].host }} ${{ {'a': config}[customer[0:1]].my-key }}", "localhost dashed"),
        ("${{ -n }} ${{ [n, -1] | min }}", "-4 -1"),
    ] {
        assert_eq!(text(template), want, "{template}");
    }
}

#[test]
fn a_single_hole_keeps_its_type() {
    assert_eq!(value("${{ config.names }}"), Val::List(["b", "a", "B", "a"].map(Val::text).into()));
    assert_eq!(value("${{ config.version }}"), Val::Number("3.10".into()));
    assert_eq!(value("${{ config.missing }}"), Val::Null);
    assert_eq!(value("${{ n > 3 }}"), Val::Bool(true));
    assert!(matches!(value("${{ file }}"), Val::Item { .. }));
    assert!(matches!(value("${{ file if n > 9 else outputs }}"), Val::Item { .. }));
    assert_eq!(value("${{ {'a': config.version, 'b': [n]} }}").to_json(), r#"{"a":3.1,"b":[4]}"#);
    assert_eq!(value(" ${{ config.version }}"), Val::text(" 3.10"));
    assert!(Template::parse("${{ a }}").unwrap().single());
    assert!(!Template::parse("${{ a }}${{ b }}").unwrap().single());
    assert!(!Template::parse("${{ a }}\n").unwrap().single());
    assert!(Template::parse("a").unwrap().is_plain());
}

#[test]
fn names_are_known_without_a_scope() {
    let template =
        Template::parse("${{ config.a ~ inputs[0] }} ${{ 'x.y' | replace('a', b) }} ${{ range(c, d=1) if e.range else config }}");
    assert!(template.is_ok(), "{template:?}");
    let template = template.unwrap();
    assert_eq!(template.names(), ["config", "inputs", "b", "c", "e"]);
    assert!(template.uses("inputs") && !template.uses("outputs") && !template.uses_volatile());
    assert!(Template::parse("${{ resources.gpu }}").unwrap().uses_volatile());
}

#[test]
fn what_is_read_is_recorded() {
    let check = |text: &str, want: &[&str]| {
        let reads = reads(text);
        assert_eq!(reads.config.iter().map(String::as_str).collect::<Vec<_>>(), want, "{text}");
    };
    check("${{ config.db.host }}", &["db.host"]);
    check("${{ config.db | json }}", &["db"]);
    check("${{ config.db }}", &["db"]);
    check("${{ config.versions[1] }}", &["versions"]);
    check("${{ config.versions | first }}", &["versions"]);
    check("${{ config.extra[customer | replace('cme', '')] }}", &["extra.a"]);
    check("${{ config.extra['b'] }}", &["extra.b"]);
    check("${{ config.version if n == 4 else config.hex }}", &["version"]);
    check("${{ config.nope | default(config.hex) }}", &["hex", "nope"]);
    check("${{ config.version ~ customer }}", &["version"]);
    check("${{ 'x' if config.db.host == 'a' and config.no else 'y' }}", &["db.host"]);
    check("${{ customer }}", &[]);
    assert_eq!(reads("${{ config }}").config.len(), 12);
    assert_eq!(reads("${{ config | length }}").config.len(), 12);
    assert_eq!(reads("${{ env.HOME ~ '' }}").env.into_iter().collect::<Vec<_>>(), ["HOME"]);
    assert!(reads("${{ inputs[0] }}").inputs && !reads("${{ outputs }}").inputs);
    assert!(reads("${{ attempt }}").volatile && !reads("${{ n }}").volatile);
}

#[test]
fn volatile_names_count_by_name() {
    let scope = scope();
    let by_name = |text: &str| Template::parse(text).unwrap().command(&scope, Volatile::ByName, ShellKind::Posix).unwrap();
    assert_eq!(by_name("a -j ${{ resources.cpus }}").0, "a -j ${{ resources.cpus }}");
    assert_eq!(by_name("a '${{ n * resources.cpus }}'").0, "a '${{ n * resources.cpus, n=4 }}'");
    assert_eq!(
        by_name("a ${{ config.version if attempt > 1 else config.hex }}").0,
        "a ${{ config.version if attempt > 1 else config.hex, config.version=3.10, config.hex=31 }}"
    );
    let (text, reads) = by_name("a ${{ config.nope | default(attempt) }} ${{ customer }}");
    assert_eq!(text, "a ${{ config.nope | default(attempt), config.nope=? }} acme");
    assert!(reads.volatile && reads.config.contains("nope"));
    // The same in every attempt and on every machine, and other for another expression.
    assert_ne!(by_name("a ${{ attempt + 1 }}"), by_name("a ${{ attempt + 2 }}"));
    // Faults are found before the run; those of one attempt's numbers are not faults.
    let faults = |text: &str| Template::parse(text).unwrap().command(&scope, Volatile::ByName, ShellKind::Posix).unwrap_err();
    assert_eq!(faults("a ${{ resources.cpu }}")[0].label, "did you mean `cpus`?");
    assert_eq!(faults("a \"${{ [attempt] }}\"")[0].code, "quote_place");
    assert!(Template::parse("${{ 8 // (resources.cpus - 1) }}").unwrap().text(&scope, Volatile::ByName).is_ok());
    let pools = scope.clone().with("resources", Val::Map(vec![("gpu".into(), Val::number(2))]));
    assert_eq!(Template::parse("${{ resources.gpu }}").unwrap().text(&pools, Volatile::Are(&NOW)).unwrap().0, "2");
}

#[test]
fn faults_have_places() {
    let check = |text: &str, code: &str, at: &str, words: &str| {
        let fault = faults(text).remove(0);
        let said = format!("{} / {} / {}", fault.message, fault.label, fault.hint.clone().unwrap_or_default());
        assert_eq!((fault.code, &text[fault.range.clone()]), (code, at), "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
    };
    check("a ${{ custmer }}", "unknown_name", "custmer", "did you mean `customer`?");
    check("a ${{ 'x' if n == 4 else custmer }}", "unknown_name", "custmer", "did you mean");
    check("${{ db }}", "unknown_name", "db", "write `config.db`");
    check("${{ secrets.x }}", "unknown_name", "secrets", "only in `env:`");
    check("${{ item }}", "unknown_name", "item", "take");
    check("${{ stage.name }}", "unknown_name", "stage", "no value here");
    check("${{ customer-file }}", "unknown_name", "customer-file", "spaces");
    check("${{ config.db.hots }}", "missing_field", ".hots", "did you mean `host`?");
    check("${{ config.db.hots ~ 'x' }}", "missing_field", ".hots", "did you mean `host`?");
    check("${{ 'x' ~ config['db'].hots }}", "missing_field", ".hots", "`config.db` has no `hots`");
    check("${{ file.stam }}", "missing_field", ".stam", "did you mean `stem`?");
    check("${{ inputs.rwa }}", "missing_field", ".rwa", "did you mean `raw`?");
    check("${{ inputs[9] }}", "missing_field", "[9]", "3 entries");
    check("${{ config.names[9] }}", "missing_field", "[9]", "4 entries");
    check("${{ config.names[n + 5] }}", "missing_field", "config.names[n + 5]", "no such value");
    check("${{ config.names[n + 5] ~ 'x' }}", "missing_field", "config.names[n + 5] ~ 'x'", "");
    check("${{ outputs[0] }}", "missing_field", "[0]", "one path");
    check("${{ customer.name }}", "missing_field", ".name", "is text");
    check("${{ config.names.x }}", "missing_field", ".x", "is a list");
    check("${{ config.missing.x }}", "missing_field", ".x", "nothing");
    check("a ${{ config.missing }}", "template_type", "${{ config.missing }}", "default");
    check("a ${{ config.names }}", "template_type", "${{ config.names }}", "join");
    check("a ${{ config.db }}", "template_type", "${{ config.db }}", "json");
    check("a ${{ inputs }}", "template_type", "${{ inputs }}", "join");
    check("a ${{ customer && n }}", "template_syntax", "&&", "write `and`");
    check("a ${{ customer || n }}", "template_syntax", "||", "write `or`");
    check("a ${{ !customer }}", "template_syntax", "!", "write `not`");
    check("a ${{ customer ? 1 : 2 }}", "template_syntax", "?", "if TEST else");
    check("a ${{ $customer }}", "template_syntax", "$", "without `$`");
    check("a ${{- customer }}", "template_syntax", "-", "trims");
    check("a ${{ customer -}}", "template_syntax", "-", "trims");
    check("a ${{ }}", "template_syntax", "${{ }}", "empty");
    check("a ${{ customer", "template_unclosed", "${{", " #");
    check("a ${{ customer | replace('x", "template_unclosed", "'x", " #");
    check("a ${{ customer | uper }}", "unknown_filter", "uper", "did you mean `upper`?");
    check("a ${{ customer | to_file }}", "not_yet", "to_file", "later");
    check("a ${{ customer.upper() }}", "unknown_function", "upper", "| upper");
    check("a ${{ customer.split(',')[0] }}", "unknown_function", "split", "| split");
    check("a ${{ contains(customer, 'a') }}", "unknown_function", "contains", "in text");
    check("a ${{ customer is strnig }}", "unknown_test", "strnig", "did you mean `string`?");
    check("a ${{ 'x' if n }}", "template_syntax", "if", "else");
    check("a ${{ customer + 1 }}", "template_type", "customer + 1", "~");
    check("a ${{ customer | int }}", "template_type", "int", "not `acme`");
    check("a ${{ customer | bool }}", "template_type", "bool", "true");
    check("a ${{ inputs | upper }}", "template_type", "upper", "takes text");
    check("a ${{ customer ~ inputs | raw }}", "template_syntax", "raw", "brackets");
    check("a ${{ customer | raw | upper }}", "template_syntax", "raw", "last");
    check("a ${{ customer customer }}", "template_syntax", "customer", "");
    check("a ${{ (customer }}", "template_unclosed", "${{", "");
    check("a ${{ n + }}", "template_syntax", "+", "");
    check("a ${{ 'x' if customer > 3 else 'y' }}", "template_type", "customer > 3", "| int");
    check("a ${{ file.day == 2024 }}", "template_type", "file.day == 2024", "| int");
    check("a ${{ n == '4' and customer > 3 }}", "template_type", "n == '4'", "quotes");
    check("a ${{ 1 / 0 }}", "template_type", "1 / 0", "");
}

#[test]
fn all_faults_come_at_once() {
    assert_eq!(faults("${{ a }} ${{ b ~ c }} ${{ n }}").len(), 3);
    assert_eq!(faults("${{ a && b }} ${{ c | nope }}").len(), 2);
    assert_eq!(faults("${{ config.x }} ${{ config.y }}").len(), 2);
}

#[test]
fn expressions_without_delimiters() {
    let value = |text: &str| expression(text).unwrap().value(&scope(), Volatile::Are(&NOW)).unwrap().0;
    assert_eq!(value("config.names"), value(" ${{ config.names }}\n"));
    assert_eq!(value("customer == 'x' or n > 3 if customer else false").to_json(), "true");
    assert_eq!(value("file.day"), Val::text("2024"));
    let check = |text: &str, at: &str, words: &str| {
        let found = expression(text).and_then(|expression| expression.value(&scope(), Volatile::ByName).map(|_| ())).unwrap_err();
        let said = format!("{:?}", found[0]);
        assert_eq!(&text[found[0].range.clone()], at, "{said}");
        assert!(said.contains(words), "{said}");
    };
    check("${{ n }} == 4", "${{", "without `${{ }}`");
    check("n == ${{ n }}", "${{", "without `${{ }}`");
    check("n = 4", "=", "");
    check("customer | raw", "customer", "raw");
    check("sf", "sf", "known here");
    check("", "", "empty");
    check("n }}", "}}", "");
    assert_eq!(expression("a.b + attempt").unwrap().names(), ["a", "attempt"]);
    assert!(expression("attempt").unwrap().uses_volatile());
}

#[test]
fn other_languages_must_say_how() {
    let command = |text: &str, kind| Template::parse(text).unwrap().command(&scope(), Volatile::ByName, kind);
    assert_eq!(command("print(${{ customer }})", ShellKind::Other).unwrap_err()[0].range, 6..21);
    assert_eq!(
        command("print(${{ inputs | json }}, ${{ n | raw }})", ShellKind::Other).unwrap().0,
        "print([\"raw/a.csv\",\"lib/b c.py\",\"z.txt\"], 4)"
    );
    assert!(command("#!/usr/bin/python3\nprint(${{ customer }})", ShellKind::Posix).is_err());
    assert!(command("#!/bin/sh\necho '${{ customer | raw }}", ShellKind::Posix).is_ok());
    assert_eq!(command("a ${{ inputs | json }}", ShellKind::Posix).unwrap().0, "a '[\"raw/a.csv\",\"lib/b c.py\",\"z.txt\"]'");
    assert_eq!(command("a 'b", ShellKind::Posix).unwrap_err()[0].code, "unclosed_quote");
    assert_eq!(command("a ${{ inputs | each('-I') }}", ShellKind::Posix).unwrap().0, "a -I raw/a.csv -I 'lib/b c.py' -I z.txt");
}

#[test]
fn random_text_never_panics() {
    const PIECES: &[&str] = &[
        "${{",
        "}}",
        " ",
        "config",
        ".",
        "db",
        "n",
        "[",
        "]",
        "(",
        ")",
        "'",
        "\"",
        "|",
        "join",
        "default",
        "+",
        "-",
        "~",
        "if",
        "else",
        "not",
        "in",
        "is",
        "defined",
        "==",
        "1",
        "1.5",
        ",",
        "{",
        "}",
        ":",
        "é",
        "\\",
        "and",
        "attempt",
        "inputs",
        "&&",
        "=",
        "range",
        "*",
        "\n",
        "raw",
        "0x",
        "$",
        "sort",
        "map",
        "length",
        "**",
        "999999999999",
        "each",
    ];
    let mut random = fastrand::Rng::with_seed(5);
    let scope = scope();
    for round in 0..10_000 {
        let inner: String =
            (0..random.usize(0..12)).flat_map(|_| [PIECES[random.usize(0..PIECES.len())], if random.bool() { " " } else { "" }]).collect();
        let text = if round % 2 == 0 { format!("a ${{{{ {inner} }}}}") } else { inner };
        let result = Template::parse(&text).and_then(|template| {
            let _ = template.text(&scope, Volatile::ByName);
            template.command(&scope, Volatile::Are(&NOW), ShellKind::Posix)
        });
        for fault in result.err().unwrap_or_default() {
            assert!(text.get(fault.range.clone()).is_some(), "{text:?} {fault:?}");
        }
        for fault in expression(&text).err().unwrap_or_default() {
            assert!(text.get(fault.range.clone()).is_some(), "{text:?} {fault:?}");
        }
    }
}

#[test]
fn deep_and_long_expressions_end() {
    for times in [140, 240, 480, 990, 5000] {
        for text in [
            format!("${{{{ {}n{} }}}}", "(".repeat(times), ")".repeat(times)),
            format!("${{{{ n{} }}}}", " + n".repeat(times)),
            "${{ [".repeat(times),
            format!("${{{{ {}n }}}}", "not ".repeat(times)),
            format!("${{{{ n{} }}}}", " | int".repeat(times)),
            format!("${{{{ {}n }}}}", "-".repeat(times)),
        ] {
            let _ = Template::parse(&text).map(|template| template.text(&scope(), Volatile::Are(&NOW)).map(|_| ()));
        }
    }
}
