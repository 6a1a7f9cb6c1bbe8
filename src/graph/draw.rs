//! The graph as text for programs that draw: DOT and Mermaid.
//!
//! Owns how nodes and edges look and how any text is written so that these programs show it as it
//! is. Knows no pipeline and no task: a [`Drawing`] is a plain description. Must hold: whatever
//! the names, the text is well-formed; the same drawing gives the same text; colours only where a
//! state is given, and never colour alone: the state stands in the box as a word too.

use std::collections::HashSet;
use std::fmt::Write;

/// What is to be drawn.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Drawing {
    /// The title; empty: none.
    pub name: String,
    /// The boxes.
    pub nodes: Vec<DrawNode>,
    /// The arrows. Those to or from a node that is not there are left out.
    pub edges: Vec<DrawEdge>,
}

/// A box: a stage or a task.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DrawNode {
    /// Its name in the text, where that can hold it; its tooltip.
    pub id: String,
    /// What stands in the box.
    pub label: String,
    /// How many tasks it stands for; other than 1 is shown (`clean ×80`).
    pub tasks: usize,
    /// A second line, smaller in meaning: `needs acme`, `?`.
    pub note: Option<String>,
    /// Its state as `flow status` says it, with spaces or underscores: `stale`, `up_to_date`.
    pub state: Option<String>,
}

/// An arrow, from what is first to what comes after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrawEdge {
    /// Index of the node it leaves.
    pub from: usize,
    /// Index of the node it leads to.
    pub to: usize,
    /// What it stands for.
    pub kind: EdgeKind,
    /// The files read over it, or the first of them.
    pub paths: Vec<String>,
    /// How many files (or tasks) it stands for in all.
    pub count: usize,
}

/// What an arrow stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EdgeKind {
    /// Files are read: a full line.
    File,
    /// The stamp of a stage without outputs is read: a full line with an open end.
    Stamp,
    /// Order only: a dashed line.
    Order,
}

/// With more arrows than this none has a text: they would cover each other.
const LABELLED_EDGES: usize = 30;

/// Mermaid refuses more arrows than this unless its page is told otherwise.
const MERMAID_EDGES: usize = 500;

/// A line of a box is at most this wide, in characters.
const LINE: usize = 44;

/// A name longer than this is broken before each `@`.
const UNBROKEN: usize = 26;

/// The text of an arrow is at most this wide.
const EDGE_LINE: usize = 32;

/// How a state looks. Fills differ in lightness too, so that they can be told apart in grey.
struct Look {
    fill: &'static str,
    line: &'static str,
    text: &'static str,
    width: u8,
    stroke: Stroke,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stroke {
    Full,
    Dashed,
    Dotted,
}

/// The look of a state, and its class name in Mermaid.
fn look(state: &str) -> (&'static str, Look) {
    let full = |fill, line, text, width| Look { fill, line, text, width, stroke: Stroke::Full };
    match words(state).as_str() {
        "up to date" => ("fine", full("#e6f4e6", "#2e6b34", "#1a1a1a", 1)),
        "stale" | "run" => ("stale", full("#ffd98a", "#7a5200", "#1a1a1a", 1)),
        "run?" | "perhaps" => ("perhaps", Look { stroke: Stroke::Dashed, ..full("#fff3d6", "#7a5200", "#1a1a1a", 1) }),
        "never ran" => ("new", Look { stroke: Stroke::Dashed, ..full("#ffe7b8", "#7a5200", "#1a1a1a", 1) }),
        "restore" => ("restore", full("#dcebfa", "#1f4e79", "#1a1a1a", 1)),
        "running" => ("running", full("#9cc8f0", "#1f4e79", "#1a1a1a", 2)),
        "failed" => ("failed", full("#a61c1c", "#5c0d0d", "#ffffff", 2)),
        "interrupted" => ("interrupted", Look { stroke: Stroke::Dashed, ..full("#e39a8c", "#5c0d0d", "#1a1a1a", 2) }),
        "blocked" => ("blocked", full("#cfcfcf", "#555555", "#1a1a1a", 1)),
        "off" => ("off", Look { stroke: Stroke::Dotted, ..full("#ffffff", "#8a8a8a", "#6b6b6b", 1) }),
        _ => ("unknown", Look { stroke: Stroke::Dotted, ..full("#ffffff", "#555555", "#1a1a1a", 1) }),
    }
}

/// A state as people read it.
fn words(state: &str) -> String {
    state.replace('_', " ")
}

/// The lines of a box.
fn lines(node: &DrawNode) -> Vec<String> {
    let mut label = node.label.clone();
    if label.chars().count() > UNBROKEN {
        label = label.replace('@', "\n@");
    }
    let mut lines: Vec<String> = label.split('\n').filter(|line| !line.trim().is_empty()).map(|line| shorten(line, LINE)).collect();
    if node.tasks != 1 {
        let count = format!("×{}", grouped(node.tasks));
        match lines.last_mut() {
            Some(last) => {
                let _ = write!(last, " {count}");
            }
            None => lines.push(count),
        }
    }
    let notes = node.note.iter().flat_map(|note| note.split('\n')).filter(|line| !line.trim().is_empty());
    lines.extend(notes.map(|line| shorten(line, LINE)));
    // What is fine needs no word: the others stand out.
    if let Some(state) = &node.state
        && words(state) != "up to date"
    {
        lines.push(shorten(&words(state), LINE));
    }
    lines
}

/// 12345 as `12 345` with narrow spaces.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A line with its middle cut out if it is too long: both ends of a name tell it from others.
fn shorten(line: &str, most: usize) -> String {
    let line = line.trim();
    let length = line.chars().count();
    if length <= most {
        return line.to_owned();
    }
    let head = most / 3;
    let tail = most - head - 1;
    let start: String = line.chars().take(head).collect();
    let end: String = line.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// A path without its first folders if it is too long.
fn shorten_path(path: &str) -> String {
    let path = path.trim();
    let length = path.chars().count();
    if length <= EDGE_LINE {
        return path.to_owned();
    }
    let ends = path.char_indices().filter(|&(at, c)| c == '/' && at + 1 < path.len()).map(|(at, _)| path.split_at(at).1);
    match ends.into_iter().find(|end| end.chars().count() < EDGE_LINE) {
        Some(end) => format!("…{end}"),
        None => shorten(path, EDGE_LINE),
    }
}

/// The text of an arrow: its file, or how many.
fn edge_text(drawing: &Drawing, edge: &DrawEdge) -> Option<String> {
    if edge.kind != EdgeKind::File || drawing.edges.len() > LABELLED_EDGES {
        return None;
    }
    match edge.paths.as_slice() {
        [path] if edge.count <= 1 => Some(shorten_path(path)),
        _ if edge.count > 1 => Some(format!("{} files", grouped(edge.count))),
        _ => None,
    }
}

/// Whether left to right reads better than top to bottom: always if it fits a page's width, else
/// whichever of the two comes nearer to the shape of a page.
fn left_to_right(drawing: &Drawing) -> bool {
    const PAGE_WIDE: f64 = 900.0;
    const PAGE_SHAPE: f64 = 1.4;
    let labelled = drawing.edges.iter().filter_map(|edge| edge_text(drawing, edge)).map(|text| text.chars().count()).max().unwrap_or(0);
    // In points, about: a character is 7 wide, of an arrow's text 5; a line is 15 high.
    let arrow = labelled as f64 * 5.0;
    let mut layers: Vec<Layer> = Vec::new();
    for (node, layer) in drawing.nodes.iter().zip(layers_of(drawing)) {
        if layers.len() <= layer {
            layers.resize(layer + 1, Layer::default());
        }
        if let Some(layer) = layers.get_mut(layer) {
            let lines = lines(node);
            let wide = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as f64 * 7.0 + 20.0;
            let high = lines.len() as f64 * 15.0 + 12.0;
            layer.widest = layer.widest.max(wide);
            layer.highest = layer.highest.max(high);
            layer.row += wide + 15.0 + arrow;
            layer.column += high + 15.0;
        }
    }
    let (mut across, mut down) = ((0.0, 1.0_f64), (1.0_f64, 0.0)); // wide and high of each way
    for layer in &layers {
        across = (across.0 + layer.widest + 40.0 + arrow, across.1.max(layer.column));
        down = (down.0.max(layer.row), down.1 + layer.highest + 40.0);
    }
    let off = |(wide, high): (f64, f64)| (wide.max(1.0) / high.max(1.0) / PAGE_SHAPE).ln().abs();
    across.0 <= PAGE_WIDE || off(across) <= off(down)
}

/// What a layer takes, in points.
#[derive(Clone, Default)]
struct Layer {
    widest: f64,
    highest: f64,
    /// All side by side, all below each other.
    row: f64,
    column: f64,
}

/// The layer of each node: the longest way to it. In a cycle nobody comes first: layer 0.
fn layers_of(drawing: &Drawing) -> Vec<usize> {
    let mut layers = vec![0usize; drawing.nodes.len()];
    let mut open = vec![0usize; drawing.nodes.len()];
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); drawing.nodes.len()];
    for edge in edges(drawing) {
        if let (Some(below), Some(open)) = (below.get_mut(edge.from), open.get_mut(edge.to)) {
            below.push(edge.to);
            *open += 1;
        }
    }
    let mut ready: Vec<usize> = open.iter().enumerate().filter(|(_, open)| **open == 0).map(|(node, _)| node).collect();
    while let Some(node) = ready.pop() {
        let next = layers.get(node).copied().unwrap_or(0) + 1;
        for &to in below.get(node).into_iter().flatten() {
            if let (Some(layer), Some(open)) = (layers.get_mut(to), open.get_mut(to)) {
                *layer = next.max(*layer);
                *open -= 1;
                if *open == 0 {
                    ready.push(to);
                }
            }
        }
    }
    layers
}

/// The edges between nodes that are there.
fn edges(drawing: &Drawing) -> impl Iterator<Item = &DrawEdge> {
    let count = drawing.nodes.len();
    drawing.edges.iter().filter(move |edge| edge.from < count && edge.to < count)
}

/// The drawing in Graphviz's language, for `dot`.
pub fn dot(drawing: &Drawing) -> String {
    let mut out = String::new();
    let name = if drawing.name.is_empty() { "flow" } else { drawing.name.as_str() };
    let _ = writeln!(out, "digraph {} {{", dot_text(name));
    let direction = if left_to_right(drawing) { "LR" } else { "TB" };
    let _ = write!(out, "  graph [rankdir={direction}, nodesep=0.2, ranksep=0.5, bgcolor=white, fontname=\"Helvetica,Arial,sans-serif\"");
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
fn dot_text(text: &str) -> String {
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
fn mermaid_text(text: &str) -> String {
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
    use super::*;

    fn node(id: &str) -> DrawNode {
        DrawNode { id: id.into(), label: id.into(), tasks: 1, note: None, state: None }
    }

    fn file(from: usize, to: usize, path: &str) -> DrawEdge {
        DrawEdge { from, to, kind: EdgeKind::File, paths: vec![path.into()], count: 1 }
    }

    fn small() -> Drawing {
        let fan = DrawNode { tasks: 80, state: Some("stale".into()), ..node("clean") };
        let report = DrawNode { note: Some("weekly".into()), state: Some("up_to_date".into()), ..node("report") };
        Drawing {
            name: "weather".into(),
            nodes: vec![node("fetch"), fan, report],
            edges: vec![
                DrawEdge { count: 80, ..file(0, 1, "raw/a.csv") },
                file(1, 2, "clean.csv"),
                DrawEdge { from: 0, to: 2, kind: EdgeKind::Order, paths: vec![], count: 1 },
            ],
        }
    }

    /// The lines of a text that contain this.
    fn with<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
        text.lines().map(str::trim).filter(|line| line.contains(part)).collect()
    }

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
    fn nothing_to_draw_is_still_a_drawing() {
        assert_eq!(mermaid(&Drawing::default()), "flowchart LR\n");
        assert!(dot(&Drawing::default()).starts_with("digraph \"flow\" {"));
        // Edges to nowhere are left out.
        let lost = Drawing { nodes: vec![node("a")], edges: vec![file(0, 7, "x"), file(9, 0, "y")], ..Drawing::default() };
        assert!(!dot(&lost).contains("->"));
        assert!(!mermaid(&lost).contains("--"));
    }

    #[test]
    fn no_colours_without_a_state() {
        let plain = Drawing { nodes: vec![node("a"), node("b")], edges: vec![file(0, 1, "x")], ..Drawing::default() };
        assert!(!mermaid(&plain).contains("class"));
        assert_eq!(with(&dot(&plain), "fillcolor").len(), 1); // the default of all
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

    #[test]
    fn random_texts_stay_within_their_quotes() {
        let mut rng = fastrand::Rng::with_seed(3);
        let letters: Vec<char> = "ab\"\\\n\r\t<>&#;%`[](){}|-@:é\u{202e}\0".chars().collect();
        for _ in 0..2_000 {
            let text: String = (0..rng.usize(..12)).map(|_| letters[rng.usize(..letters.len())]).collect();
            let quoted = dot_text(&text);
            let inner = &quoted[1..quoted.len() - 1];
            assert!(!inner.contains('\n'));
            // Read as dot reads it: a quote only after a backslash that is not itself escaped.
            let mut escaped = false;
            for c in inner.chars() {
                assert!(c != '"' || escaped, "{text:?} {quoted}");
                escaped = c == '\\' && !escaped;
            }
            assert!(!escaped, "{text:?} {quoted}");
            let safe = mermaid_text(&text);
            assert!(!safe.contains(['"', '\\', '\n', '<', '>', '`', '%', '&', '|', '[', ']']), "{safe}");
            // Every text is one node on one line in both.
            let drawing = Drawing { nodes: vec![DrawNode { note: Some(text.clone()), ..node(&text) }, node(&text)], ..Drawing::default() };
            assert_eq!(dot(&drawing).lines().count(), 4 + 2 + 1, "{text:?}");
            assert_eq!(mermaid(&drawing).lines().count(), 3, "{text:?}");
        }
    }

    #[test]
    fn names_of_nodes_are_their_own() {
        let nodes = vec![node("a"), node("a"), node("q\""), node("#1"), node(""), node("x\\")];
        let names = dot_names(&Drawing { nodes, ..Drawing::default() });
        assert_eq!(names, [r##""a""##, r##""#1#""##, r##""#2""##, r##""#1""##, r##""#4""##, r##""#5""##]);
    }

    #[test]
    fn long_names_are_broken_and_shortened() {
        let long = node("clean@customer=acme@file=raw/acme/2024-01-01.csv");
        assert_eq!(lines(&long), ["clean", "@customer=acme", "@file=raw/acme/2024-01-01.csv"]);
        assert_eq!(lines(&node("clean@customer=acme")), ["clean@customer=acme"]);
        let endless = "x".repeat(50) + "end";
        assert_eq!(lines(&node(&endless))[0].chars().count(), LINE);
        assert!(lines(&node(&endless))[0].ends_with("end"));
        assert_eq!(shorten_path("out/a/very/long/path/to/the/model.parquet"), "…/long/path/to/the/model.parquet");
        assert_eq!(shorten_path(&("d/".to_owned() + &"n".repeat(40))).chars().count(), EDGE_LINE);
        assert_eq!(shorten_path("some/folder/with/a/long/name/and/more/"), "…/with/a/long/name/and/more/");
    }

    #[test]
    fn a_fan_out_shows_its_count() {
        assert_eq!(lines(&DrawNode { tasks: 80, ..node("clean") }), ["clean ×80"]);
        assert_eq!(lines(&DrawNode { tasks: 0, ..node("clean") }), ["clean ×0"]);
        assert_eq!(lines(&DrawNode { tasks: 100_000, ..node("clean") }), ["clean ×100\u{202f}000"]);
        assert_eq!(lines(&DrawNode { tasks: 5, ..node("") }), ["×5"]);
    }

    #[test]
    fn the_direction_follows_the_shape() {
        let chain = |n: usize| Drawing {
            nodes: (0..n).map(|i| node(&format!("stage_{i}"))).collect(),
            edges: (1..n).map(|i| file(i - 1, i, "x")).collect(),
            ..Drawing::default()
        };
        assert!(left_to_right(&chain(3)));
        assert!(!left_to_right(&chain(200)));
        let fan = Drawing {
            nodes: (0..82).map(|i| node(&format!("clean@day={i}"))).collect(),
            edges: (1..81).flat_map(|i| [file(0, i, "x"), file(i, 81, "y")]).collect(),
            ..Drawing::default()
        };
        assert!(left_to_right(&fan));
        // A cycle has no layers, and no end.
        let cycle = Drawing { edges: vec![file(0, 1, "x"), file(1, 0, "y")], ..chain(2) };
        assert_eq!(layers_of(&cycle), [0, 0]);
        let diamond = Drawing { edges: vec![file(0, 1, "x"), file(1, 2, "x"), file(0, 2, "x"), file(2, 3, "x")], ..chain(5) };
        assert_eq!(layers_of(&diamond), [0, 1, 2, 3, 0]);
    }

    #[test]
    fn big_drawings_are_quick_and_bare() {
        let n = 100_000;
        let big = Drawing {
            nodes: (0..n).map(|i| node(&format!("t{i}"))).collect(),
            edges: (1..n).map(|i| file(i / 2, i, "some/file.csv")).collect(),
            ..Drawing::default()
        };
        let text = dot(&big);
        assert_eq!(with(&text, " -> ").len(), n - 1);
        assert!(!with(&text, " -> ").iter().any(|line| line.contains("label=")));
        assert!(mermaid(&big).contains("%% more than 500 arrows"));
    }

    #[test]
    fn every_state_has_a_look_of_its_own() {
        let states = ["up_to_date", "stale", "failed", "interrupted", "blocked", "never_ran", "running", "unknown", "off", "restore", "run?"];
        let looks: HashSet<&str> = states.iter().map(|state| look(state).0).collect();
        assert_eq!(looks.len(), states.len());
        assert_eq!(look("something else").0, "unknown");
        assert_eq!(look("up to date").0, "fine");
    }
}
