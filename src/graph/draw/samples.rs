//! Drawings for the tests.

use super::*;

pub(super) fn node(id: &str) -> DrawNode {
    DrawNode { id: id.into(), label: id.into(), tasks: 1, note: None, state: None }
}

pub(super) fn file(from: usize, to: usize, path: &str) -> DrawEdge {
    DrawEdge { from, to, kind: EdgeKind::File, paths: vec![path.into()], count: 1 }
}

pub(super) fn small() -> Drawing {
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
