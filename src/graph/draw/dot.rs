//! Graphviz's language.
//!
//! Owns the attributes and how any text is quoted. Must hold: names of nodes are their own, and
//! only texts in quotes come from outside.

use std::collections::HashSet;
use std::fmt::Write;

use super::{DrawEdge, DrawNode, Drawing, EdgeKind, Stroke, edge_text, edges, grouped, left_to_right, lines, look, words};

/// More arrows than this at one node are a fan.
const FAN: usize = 12;

/// The drawing in Graphviz's language, for `dot`.
pub fn dot(drawing: &Drawing) -> String {
    let mut out = String::new();
    let name = if drawing.name.is_empty() { "flow" } else { drawing.name.as_str() };
    let _ = writeln!(out, "digraph {} {{", dot_text(name));
    let direction = if left_to_right(drawing) { "LR" } else { "TB" };
    // Arrows that spread widely need room to do so.
    let spread = if widest_fan(drawing) > FAN { 1.2 } else { 0.5 };
    let _ =
        write!(out, "  graph [rankdir={direction}, nodesep=0.2, ranksep={spread}, bgcolor=white, fontname=\"Helvetica,Arial,sans-serif\"");
    if !drawing.name.is_empty() {
        let _ = write!(out, ", label={}, labelloc=t, labeljust=l, fontsize=16", dot_text(&drawing.name));
    }
    out.push_str("]\n");
    out.push_str(
        "  node [shape=box, style=\"rounded,filled\", fillcolor=\"#f7f7f7\", color=\"#555555\", fontcolor=\"#1a1a1a\", \
         fontname=\"Helvetica,Arial,sans-serif\", fontsize=12, height=0.35, margin=\"0.12,0.06\"]\n",
    );
    out.push_str(
        "  edge [color=\"#555555\", fontcolor=\"#555555\", fontname=\"Helvetica,Arial,sans-serif\", fontsize=10, arrowsize=0.7]\n",
    );
    let names = dot_names(drawing);
    for (node, name) in drawing.nodes.iter().zip(&names) {
        let _ = write!(out, "  {name} [label={}", dot_text(&lines(node).join("\n")));
        if node.tasks != 1 {
            out.push_str(", peripheries=2");
        }
        if let Some(state) = &node.state {
            let (_, look) = look(state);
            let _ = write!(out, ", fillcolor=\"{}\", color=\"{}\", fontcolor=\"{}\"", look.fill, look.line, look.text);
            if look.width != 1 {
                let _ = write!(out, ", penwidth={}", look.width);
            }
            match look.stroke {
                Stroke::Full => {}
                Stroke::Dashed => out.push_str(", style=\"rounded,filled,dashed\""),
                Stroke::Dotted => out.push_str(", style=\"rounded,filled,dotted\""),
            }
        }
        let _ = writeln!(out, ", tooltip={}]", dot_text(&tooltip(node)));
    }
    for edge in edges(drawing) {
        let (Some(from), Some(to)) = (names.get(edge.from), names.get(edge.to)) else { continue };
        let mut attributes = Vec::new();
        match edge.kind {
            EdgeKind::File => {}
            EdgeKind::Stamp => attributes.push("arrowhead=odot".to_owned()),
            EdgeKind::Order => attributes.push("style=dashed, arrowhead=open".to_owned()),
        }
        if let Some(text) = edge_text(drawing, edge) {
            // The spaces keep the text off the line.
            attributes.push(format!("label={}", dot_text(&format!(" {text} "))));
        }
        attributes.extend(edge_tooltip(edge).map(|text| format!("tooltip={}", dot_text(&text))));
        let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        let _ = writeln!(out, "  {from} -> {to}{attributes}");
    }
    out.push_str("}\n");
    out
}

fn tooltip(node: &DrawNode) -> String {
    let mut text = node.id.clone();
    if let Some(state) = &node.state {
        let _ = write!(text, ": {}", words(state));
    }
    text
}

/// The first files of an arrow, and how many more.
fn edge_tooltip(edge: &DrawEdge) -> Option<String> {
    const FIRST: usize = 8;
    let mut lines: Vec<String> = edge.paths.iter().take(FIRST).cloned().collect();
    let more = edge.count.max(edge.paths.len()).saturating_sub(lines.len());
    if lines.is_empty() {
        return None;
    }
    if more > 0 {
        lines.push(format!("and {} more", grouped(more)));
    }
    Some(lines.join("\n"))
}

/// A name for each node, quoted. Its id where that is plain and its own, else a number.
fn dot_names(drawing: &Drawing) -> Vec<String> {
    let taken: HashSet<&str> = drawing.nodes.iter().map(|node| node.id.as_str()).collect();
    let mut used = HashSet::new();
    let plain = |id: &str| !id.is_empty() && !id.contains(['"', '\\']) && !id.chars().any(char::is_control);
    let mut names = Vec::with_capacity(drawing.nodes.len());
    for (place, node) in drawing.nodes.iter().enumerate() {
        if plain(&node.id) && used.insert(node.id.as_str()) {
            names.push(format!("\"{}\"", node.id));
            continue;
        }
        let mut number = format!("#{place}");
        while taken.contains(number.as_str()) {
            number.push('#');
        }
        names.push(format!("\"{number}\""));
    }
    names
}

/// Any text in quotes, as `dot` shows it: a backslash would begin an escape, `&` an entity.
pub(super) fn dot_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The most arrows that leave or reach one node.
fn widest_fan(drawing: &Drawing) -> usize {
    let (mut out, mut into) = (vec![0usize; drawing.nodes.len()], vec![0usize; drawing.nodes.len()]);
    for edge in edges(drawing) {
        if let (Some(out), Some(into)) = (out.get_mut(edge.from), into.get_mut(edge.to)) {
            *out += 1;
            *into += 1;
        }
    }
    out.into_iter().chain(into).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{node, small};
    use super::*;

    #[test]
    fn dot_of_a_small_one() {
        let text = dot(&small());
        assert!(text.starts_with("digraph \"weather\" {\n"), "{text}");
        assert!(text.ends_with("}\n"));
        assert_eq!(
            text.lines().skip(4).map(str::trim).collect::<Vec<_>>(),
            [
                r##""fetch" [label="fetch", tooltip="fetch"]"##,
                r##""clean" [label="clean ×80\nstale", peripheries=2, fillcolor="#ffd98a", color="#7a5200", fontcolor="#1a1a1a", tooltip="clean: stale"]"##,
                r##""report" [label="report\nweekly", fillcolor="#e6f4e6", color="#2e6b34", fontcolor="#1a1a1a", tooltip="report: up to date"]"##,
                r##""fetch" -> "clean" [label=" 80 files ", tooltip="raw/a.csv\nand 79 more"]"##,
                r##""clean" -> "report" [label=" clean.csv ", tooltip="clean.csv"]"##,
                r##""fetch" -> "report" [style=dashed, arrowhead=open]"##,
                "}",
            ]
        );
    }

    #[test]
    fn any_name_is_shown_as_it_is_in_dot() {
        assert_eq!(dot_text("a \"b\""), r#""a \"b\"""#);
        assert_eq!(dot_text(r"C:\N\"), r#""C:\\N\\""#);
        assert_eq!(dot_text("a\nb"), r#""a\nb""#);
        assert_eq!(dot_text("<b>&lt;</b>"), r#""<b>&amp;lt;</b>""#);
        assert_eq!(dot_text("a\x1b[31m\tb"), r#""a\\x1b[31m\\x09b""#);
        assert_eq!(dot_text("städte/東京 🙂"), "\"städte/東京 🙂\"");
    }

    #[test]
    fn names_of_nodes_are_their_own() {
        let nodes = vec![node("a"), node("a"), node("q\""), node("#1"), node(""), node("x\\")];
        let names = dot_names(&Drawing { nodes, ..Drawing::default() });
        assert_eq!(names, [r##""a""##, r##""#1#""##, r##""#2""##, r##""#1""##, r##""#4""##, r##""#5""##]);
    }
}
