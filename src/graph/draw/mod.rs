//! The graph as text for programs that draw: DOT and Mermaid.
//!
//! Owns how nodes and edges look and how any text is written so that these programs show it as it
//! is. Knows no pipeline and no task: a [`Drawing`] is a plain description. Must hold: whatever
//! the names, the text is well-formed; the same drawing gives the same text; colours only where a
//! state is given, and never colour alone: the state stands in the box as a word too.

mod dot;
mod mermaid;
#[cfg(test)]
mod samples;

use std::fmt::Write;

pub use dot::dot;
pub use mermaid::mermaid;

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
    const PAGE_WIDE: f64 = 1300.0;
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::dot::dot_text;
    use super::mermaid::mermaid_text;
    use super::samples::{file, node};
    use super::*;

    /// The lines of a text that contain this.
    fn with<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
        text.lines().map(str::trim).filter(|line| line.contains(part)).collect()
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
        assert!(dot(&fan).contains("ranksep=1.2"));
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
        let states =
            ["up_to_date", "stale", "failed", "interrupted", "blocked", "never_ran", "running", "unknown", "off", "restore", "run?"];
        let looks: HashSet<&str> = states.iter().map(|state| look(state).0).collect();
        assert_eq!(looks.len(), states.len());
        assert_eq!(look("something else").0, "unknown");
        assert_eq!(look("up to date").0, "fine");
    }
}
