//! `flow graph`: the graph for programs that draw, and for those that count.
//!
//! Owns what becomes one node and one edge. Asks about no task: states are not drawn here. Must hold:
//! a gate is never seen, but where seeing through it would cost more edges than anybody can look at.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::cli::error::CliError;
use crate::cli::listing::{open_error, print, print_json, request, session_error, words};
use crate::cli::options::{GraphArgs, GraphFormat};
use crate::event::PipelineFields;
use crate::graph::draw::{DrawEdge, DrawNode, Drawing, EdgeKind, dot, mermaid};
use crate::graph::{Edge, Graph, Source, Tool};
use crate::name::TaskId;
use crate::report::json::{EdgeWord, GraphEdge, GraphJson, GraphNode};
use crate::run::open::open;
use crate::run::session::{Wanted, choose_among};

/// Paths that an edge names.
const PATHS: usize = 10;

/// A gate that would be seen through by more edges than this is a node of its own.
const SEEN_THROUGH: usize = 100_000;

/// Runs the command.
pub fn run(args: &GraphArgs) -> Result<u8, CliError> {
    let words = words(&args.words, &args.which, &args.short_file);
    let request = request(words.file, &args.which, false)?;
    let json = args.which.json;
    let opened = open(&request).map_err(|fault| open_error(fault, json))?;
    let graph = &opened.graph;
    let chosen = match words.rest.is_empty() {
        true => vec![true; graph.tasks.len()],
        // As with `--only`: what is selected, and nothing it needs.
        false => {
            choose_among(graph, &opened.known, &Wanted::only(&opened.site.here, &words.rest))
                .map_err(|fault| session_error(fault, json))?
                .chosen
        }
    };
    let (nodes, edges) = summed_up(graph, &chosen, args.tasks);
    if json {
        let pipeline = PipelineFields {
            file: opened.site.file.shown.clone(),
            name: graph.name.clone(),
            workspace: opened.site.workspace.to_string_lossy().into_owned(),
        };
        print_json(&listing(nodes, edges), &pipeline)?;
        return Ok(0);
    }
    let drawing = Drawing {
        name: graph.name.clone(),
        nodes: nodes
            .into_iter()
            .map(|node| DrawNode { label: node.label, tasks: node.tasks, id: node.id, ..DrawNode::default() })
            .collect(),
        edges: edges
            .into_iter()
            .map(|edge| {
                let kind = match edge.kind {
                    Edge::File => EdgeKind::File,
                    Edge::Stamp => EdgeKind::Stamp,
                    Edge::Order => EdgeKind::Order,
                };
                DrawEdge { from: edge.from, to: edge.to, kind, paths: edge.paths, count: edge.files.max(edge.tasks) }
            })
            .collect(),
    };
    let text = match args.format {
        GraphFormat::Dot => dot(&drawing),
        GraphFormat::Mermaid => mermaid(&drawing),
    };
    print(&format!("{}\n", text.trim_end_matches('\n')))?;
    Ok(0)
}

fn listing(nodes: Vec<Node>, edges: Vec<Line>) -> GraphJson {
    let ids: Vec<String> = nodes.iter().map(|node| node.id.clone()).collect();
    let id = |index: usize| ids.get(index).cloned().unwrap_or_default();
    let edges = edges
        .into_iter()
        .map(|edge| GraphEdge {
            from: id(edge.from),
            to: id(edge.to),
            edge: match edge.kind {
                Edge::File => EdgeWord::File,
                Edge::Stamp => EdgeWord::Stamp,
                Edge::Order => EdgeWord::Order,
            },
            paths: edge.paths,
            count: edge.tasks as u64,
        })
        .collect();
    let nodes = nodes
        .into_iter()
        .map(|node| GraphNode { id: node.id, stage: node.stage, tasks: node.tasks as u64, state: None, description: node.description })
        .collect();
    GraphJson { nodes, edges }
}

/// A stage, a task, or all tasks of a stage as what is waited for.
struct Node {
    id: String,
    label: String,
    stage: String,
    tasks: usize,
    description: Option<String>,
}

/// All edges of one kind between two nodes.
struct Line {
    from: usize,
    to: usize,
    kind: Edge,
    /// The first paths.
    paths: Vec<String>,
    /// How many paths there are in all.
    files: usize,
    /// How many pairs of tasks.
    tasks: usize,
}

/// The edges under way, in the order they are first met.
#[derive(Default)]
struct Lines {
    list: Vec<Line>,
    places: HashMap<(usize, usize, Edge), usize>,
    /// What the task at hand is known to wait for: a pair of tasks counts once.
    met: HashSet<(usize, TaskId)>,
    /// What the task at hand reads of.
    read: HashSet<TaskId>,
}

impl Lines {
    /// The task at hand waits for `above` by an edge of this kind between these nodes.
    fn pair(&mut self, from: usize, to: usize, kind: Edge, above: TaskId) -> &mut Line {
        let next = self.list.len();
        let at = *self.places.entry((from, to, kind)).or_insert(next);
        if at == next {
            self.list.push(Line { from, to, kind, paths: Vec::new(), files: 0, tasks: 0 });
        }
        let line = &mut self.list[at];
        if self.met.insert((at, above)) {
            line.tasks += 1;
        }
        line
    }
}

impl Line {
    fn path(&mut self, path: &str) {
        self.files += 1;
        if self.paths.len() < PATHS && !self.paths.iter().any(|has| has == path) {
            self.paths.push(path.to_owned());
        }
    }
}

/// Nodes and edges of the chosen tasks.
fn summed_up(graph: &Graph, chosen: &[bool], each_task: bool) -> (Vec<Node>, Vec<Line>) {
    let mut nodes = Vec::new();
    // The node that shows a task.
    let mut shows: Vec<Option<usize>> = vec![None; graph.tasks.len()];
    for stage in &graph.stages {
        let tasks = stage.tasks.0..stage.tasks.1;
        let node = |id: &str, tasks| Node {
            id: id.to_owned(),
            label: id.to_owned(),
            stage: stage.name.clone(),
            tasks,
            description: stage.description.clone(),
        };
        if each_task {
            for task in tasks.filter(|task| chosen[*task as usize]) {
                shows[task as usize] = Some(nodes.len());
                nodes.push(node(graph.task(TaskId(task)).name.as_str(), 1));
            }
            continue;
        }
        let count = tasks.clone().filter(|task| chosen[*task as usize]).count();
        // A fan-out over nothing is shown all the same, unless something else was asked for.
        if count > 0 || (tasks.is_empty() && chosen.iter().all(|chosen| *chosen)) {
            for task in tasks {
                shows[task as usize] = Some(nodes.len()).filter(|_| chosen[task as usize]);
            }
            nodes.push(node(&stage.name, count));
        }
    }
    let mut lines = Lines::default();
    let mut gates = Gates { graph, behind: HashMap::new(), nodes: HashMap::new(), each_task };
    for index in 0..graph.tasks.len() as u32 {
        let to = TaskId(index);
        let Some(here) = shows[to.index()] else { continue };
        lines.met.clear();
        lines.read.clear();
        read_by(graph, to, &mut |from, kind, path| {
            let Some(there) = shows[from.index()] else { return };
            lines.read.insert(from);
            let line = lines.pair(there, here, kind, from);
            if let Some(path) = path {
                line.path(path);
            }
        });
        for (above, kind) in graph.above.of(to) {
            if !graph.is_gate(above) {
                // What is read has its edge already, and of the right kind.
                if let Some(there) = shows[above.index()].filter(|_| kind == Edge::Order || !lines.read.contains(&above)) {
                    lines.pair(there, here, kind, above);
                }
                continue;
            }
            // What is read through a gate stands in `inputs` too.
            if kind == Edge::Order {
                gates.see_through(above, to, here, &shows, &mut nodes, &mut lines);
            }
        }
    }
    (nodes, lines.list)
}

/// What a task reads of others, with the path if it has one.
fn read_by(graph: &Graph, to: TaskId, with: &mut dyn FnMut(TaskId, Edge, Option<&str>)) {
    let task = graph.task(to);
    for input in &task.inputs {
        match &input.source {
            Source::Path { path, from: Some(from), .. } => with(*from, Edge::File, Some(path.as_str())),
            Source::Path { from: None, .. } => {}
            Source::LateGlob { pattern, from, .. } => from.iter().for_each(|from| with(*from, Edge::File, Some(pattern))),
            Source::Stamp(from) => with(*from, Edge::Stamp, None),
        }
    }
    for tool in &task.tools {
        if let Tool::File { path, from: Some(from), .. } = tool {
            with(*from, Edge::File, Some(path.as_str()));
        }
    }
}

/// Order edges to all tasks of a stage.
struct Gates<'a> {
    graph: &'a Graph,
    /// What is shown of the tasks of a gate.
    behind: HashMap<TaskId, Rc<Vec<(TaskId, usize)>>>,
    /// Nodes that stand for a gate.
    nodes: HashMap<TaskId, usize>,
    each_task: bool,
}

impl Gates<'_> {
    fn see_through(&mut self, gate: TaskId, to: TaskId, here: usize, shows: &[Option<usize>], nodes: &mut Vec<Node>, lines: &mut Lines) {
        let graph = self.graph;
        // Asked once a gate: many may wait for it.
        let behind = match self.behind.get(&gate) {
            Some(behind) => Rc::clone(behind),
            None => {
                let shown = |task: TaskId| Some((task, (*shows.get(task.index())?)?));
                let behind: Rc<Vec<(TaskId, usize)>> = Rc::new(graph.above.of(gate).filter_map(|(task, _)| shown(task)).collect());
                self.behind.insert(gate, Rc::clone(&behind));
                behind
            }
        };
        let Some((first, there)) = behind.first().copied() else { return };
        if !self.each_task {
            // One of them for all, since any could be many.
            lines.pair(there, here, Edge::Order, gate).tasks += behind.len() - 1;
            return;
        }
        let asked = graph.stage_of(to).tasks;
        let wide = (asked.1 - asked.0) as usize;
        if behind.len().saturating_mul(wide) <= SEEN_THROUGH {
            for (task, there) in behind.iter() {
                lines.pair(*there, here, Edge::Order, *task);
            }
            return;
        }
        let node = match self.nodes.get(&gate) {
            Some(node) => *node,
            None => {
                let stage = graph.stage_of(first);
                let node = nodes.len();
                nodes.push(Node {
                    id: stage.name.clone(),
                    label: format!("all of {}", stage.name),
                    stage: stage.name.clone(),
                    tasks: behind.len(),
                    description: stage.description.clone(),
                });
                self.nodes.insert(gate, node);
                for (task, there) in behind.iter() {
                    lines.pair(*there, node, Edge::Order, *task);
                }
                node
            }
        };
        lines.pair(node, here, Edge::Order, gate);
    }
}
