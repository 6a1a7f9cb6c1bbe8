//! Mermaid's language.
//!
//! Owns shapes, classes and how any text is written so that neither Mermaid nor the HTML and
//! Markdown it makes sees anything in it.

use std::fmt::Write;

use super::{Drawing, EdgeKind, Look, Stroke, edge_text, edges, left_to_right, lines, look};

/// Mermaid refuses more arrows than this unless its page is told otherwise.
const MERMAID_EDGES: usize = 500;

/// The drawing in Mermaid's language, as pages and README files show it.
pub fn mermaid(drawing: &Drawing) -> String {
    let mut out = String::new();
    if !drawing.name.is_empty() {
        let _ = writeln!(out, "---\ntitle: {}\n---", yaml_text(&drawing.name));
    }
    let direction = if left_to_right(drawing) { "LR" } else { "TD" };
    let _ = writeln!(out, "flowchart {direction}");
    if edges(drawing).count() > MERMAID_EDGES {
        let _ = writeln!(out, "  %% more than {MERMAID_EDGES} arrows: the page must set maxEdges (and maxTextSize) to show this");
    }
    for (place, node) in drawing.nodes.iter().enumerate() {
        let text: Vec<String> = lines(node).iter().map(|line| mermaid_text(line)).collect();
        let (open, close) = if node.tasks == 1 { ("(", ")") } else { ("[[", "]]") };
        let _ = writeln!(out, "  n{place}{open}\"{}\"{close}", text.join("<br/>"));
    }
    let mut dotted = Vec::new();
    for (place, edge) in edges(drawing).enumerate() {
        let arrow = match edge.kind {
            EdgeKind::File => "-->",
            EdgeKind::Stamp => "--o",
            EdgeKind::Order => "-.->",
        };
        if edge.kind == EdgeKind::Order {
            dotted.push(place);
        }
        match edge_text(drawing, edge) {
            Some(text) => {
                let _ = writeln!(out, "  n{} {arrow}|\"{}\"| n{}", edge.from, mermaid_text(&text), edge.to);
            }
            None => {
                let _ = writeln!(out, "  n{} {arrow} n{}", edge.from, edge.to);
            }
        }
    }
    out.push_str(&mermaid_classes(drawing));
    out
}

/// The states' looks, each said once, and who has them.
fn mermaid_classes(drawing: &Drawing) -> String {
    let mut classes: Vec<(&str, Look, Vec<String>)> = Vec::new();
    for (place, node) in drawing.nodes.iter().enumerate() {
        let Some(state) = &node.state else { continue };
        let (name, look) = look(state);
        match classes.iter_mut().find(|class| class.0 == name) {
            Some(class) => class.2.push(format!("n{place}")),
            None => classes.push((name, look, vec![format!("n{place}")])),
        }
    }
    let mut out = String::new();
    for (name, look, nodes) in classes {
        let dashes = match look.stroke {
            Stroke::Full => "",
            Stroke::Dashed => ",stroke-dasharray:5 3",
            Stroke::Dotted => ",stroke-dasharray:2 3",
        };
        let (fill, line, text, width) = (look.fill, look.line, look.text, look.width);
        let _ = writeln!(out, "  classDef {name} fill:{fill},stroke:{line},color:{text},stroke-width:{width}px{dashes}");
        for some in nodes.chunks(50) {
            let _ = writeln!(out, "  class {} {name}", some.join(","));
        }
    }
    out
}

/// Any text between quotes, as Mermaid shows it: all that could mean something to it, to the HTML
/// or to the Markdown it makes is written by number.
pub(super) fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    let list = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
    for (place, c) in text.chars().enumerate() {
        let mark = list && (c == '.' || place == 0 && !c.is_ascii_digit());
        if c.is_control() {
            let _ = write!(out, "#92;x{:02x}", u32::from(c));
        } else if c.is_alphanumeric() || !c.is_ascii() || (" _-+./=@,?".contains(c) && !mark) {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}

/// Any text as a YAML scalar in double quotes.
fn yaml_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::samples::small;
    use super::*;

    #[test]
    fn mermaid_of_a_small_one() {
        assert_eq!(
            mermaid(&small()),
            r##"---
title: "weather"
---
flowchart LR
  n0("fetch")
  n1[["clean ×80<br/>stale"]]
  n2("report<br/>weekly")
  n0 -->|"80 files"| n1
  n1 -->|"clean.csv"| n2
  n0 -.-> n2
  classDef stale fill:#ffd98a,stroke:#7a5200,color:#1a1a1a,stroke-width:1px
  class n1 stale
  classDef fine fill:#e6f4e6,stroke:#2e6b34,color:#1a1a1a,stroke-width:1px
  class n2 fine
"##
        );
    }

    #[test]
    fn any_name_is_shown_as_it_is_in_mermaid() {
        assert_eq!(mermaid_text("a \"b\""), "a #34;b#34;");
        assert_eq!(mermaid_text("<script>&"), "#60;script#62;#38;");
        assert_eq!(mermaid_text("`md` *b* #35; %% style:x"), "#96;md#96; #42;b#42; #35;35#59; #37;#37; style#58;x");
        assert_eq!(mermaid_text(r"a\nb"), "a#92;nb");
        assert_eq!(mermaid_text("1. one"), "1#46; one");
        assert_eq!(mermaid_text("- one-two"), "#45; one-two");
        assert_eq!(mermaid_text("clean@day=2024-01-01.csv"), "clean@day=2024-01-01.csv");
        assert_eq!(mermaid_text("a\x07"), "a#92;x07");
        let odd = Drawing { name: "a: \"b\"\n\\".into(), ..Drawing::default() };
        assert_eq!(mermaid(&odd).lines().nth(1), Some(r#"title: "a: \"b\"\u000a\\""#));
    }
}
