//! Random small worlds: files are texts, commands are pure functions, the cache loses things. What the
//! walk says is compared with what everything from scratch would give, and with what is on record, both
//! told by the texts themselves and never by a key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::time::Duration;

use super::*;
use crate::attempt::{Cause, Ended, Usage, Wants};
use crate::diag::Place;
use crate::graph::{Command, Edges, Input, Output, Places, Source, Stage, Task};
use crate::hash::{Digest, Stamp};
use crate::name::{RunId, StageId};
use crate::plan::decide::OnDisk;
use crate::plan::gather::gather;
use crate::plan::reason::Reason;
use crate::record::manifest::Key;
use crate::record::record::Made;
use crate::value::Value;

fn path(text: &str) -> RelPath {
    RelPath::normal(text).unwrap()
}

/// A stage of a world.
#[derive(Clone, PartialEq, Debug)]
struct Rule {
    /// Its name may change, its place in the world and what it writes do not.
    name: String,
    command: String,
    /// A small number makes it often give the same for other inputs.
    values: u64,
    makes: Makes,
    uses: Vec<Use>,
    items: usize,
    runs: Runs,
    cache: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Makes {
    Nothing,
    File,
    /// With the members `x`, `s/y` and one or two that differ.
    Folder,
    /// A file in a folder that several write into.
    Mixed,
}

#[derive(Clone, PartialEq, Debug)]
enum Use {
    Source(usize),
    /// All outputs of a rule, or its executions if it makes nothing.
    Of(usize),
    /// A file in its folder.
    Member(usize),
    /// A folder in its folder.
    Inner(usize),
    /// What its folder holds when it is done.
    Glob(usize),
    /// The folder that several write into.
    Mix,
    /// Order only.
    Needs(usize),
}

/// What is remembered of a task: for the walk, and as texts for the oracle.
#[derive(Clone)]
struct Memo {
    good: Option<Arc<Record>>,
    last: Last,
    /// What the last started execution was made from, if it ended well.
    executed: Option<String>,
    /// Which execution that was, spoilt or not.
    nonce: Option<u64>,
}

/// A result and the texts it was made from.
#[derive(Clone)]
struct Outcome {
    record: Arc<Record>,
    cause: String,
    made: BTreeMap<String, String>,
}

#[derive(Default)]
struct World {
    rules: Vec<Rule>,
    graph: Compiled,
    disk: BTreeMap<String, String>,
    memory: HashMap<TaskName, Memo>,
    results: Vec<Outcome>,
    blobs: HashSet<Digest>,
    nonce: u64,
    /// The facts of each task when it was last found up to date, as a stamp would tell.
    seen: HashMap<TaskName, String>,
    /// Whether stamps are kept at all.
    stamps: bool,
}

#[derive(Default)]
struct Compiled {
    graph: Option<Arc<Graph>>,
    /// Rule and item of each task.
    of: Vec<(usize, usize)>,
}

/// What one task of a rule writes.
fn outputs_of(rule: &Rule, at: usize, item: usize) -> Vec<(String, bool)> {
    match rule.makes {
        Makes::Nothing => vec![],
        Makes::File => vec![(format!("o{at}.{item}"), false)],
        Makes::Folder => vec![(format!("d{at}.{item}"), true)],
        Makes::Mixed => vec![(format!("mix/o{at}.{item}"), false)],
    }
}

/// What a command gives for a cause: a pure function.
fn make(rule: &Rule, at: usize, item: usize, cause: &str) -> BTreeMap<String, String> {
    let hash = u64::from_le_bytes(Digest::of(cause.as_bytes()).0[..8].try_into().unwrap()) % rule.values;
    let mut made = BTreeMap::new();
    for (output, folder) in outputs_of(rule, at, item) {
        if !folder {
            made.insert(output, format!("{hash}"));
            continue;
        }
        made.insert(format!("{output}/x"), format!("{}", hash / 3));
        made.insert(format!("{output}/s/y"), format!("{}", hash % 2));
        made.insert(format!("{output}/z{}", hash % 3), "z".into());
    }
    made
}

/// What stands at a path, told as a text.
fn raw(files: &BTreeMap<String, String>, path: &str) -> Option<String> {
    if let Some(text) = files.get(path) {
        return Some(format!("={text}"));
    }
    let prefix = format!("{path}/");
    let mut all = String::new();
    for (name, text) in files.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)) {
        write!(all, "|{}={text}", &name[prefix.len()..]).unwrap();
    }
    (!all.is_empty()).then_some(all)
}

/// The same as a record says it.
fn tree(files: &BTreeMap<String, String>, path: &str) -> Option<Tree> {
    let file = |text: &str| Tree::File { digest: Digest::of(text.as_bytes()), executable: false, bytes: text.len() as u64 };
    if let Some(text) = files.get(path) {
        return Some(file(text));
    }
    let prefix = format!("{path}/");
    let mut members = BTreeMap::new();
    for (name, text) in files.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)) {
        let name = &name[prefix.len()..];
        members.insert(name.to_string(), file(text));
        for (end, _) in name.match_indices('/') {
            members.insert(name[..end].to_string(), Tree::Folder(Vec::new()));
        }
    }
    let list: Vec<Member> = members.into_iter().map(|(name, what)| Member { name, what, stamp: Stamp::default() }).collect();
    (!list.is_empty()).then_some(Tree::Folder(list))
}

/// The files of a record: their paths and digests.
fn flat(record: &Record) -> Vec<(String, Digest)> {
    let mut files = Vec::new();
    for made in &record.outputs {
        match &made.what {
            Tree::File { digest, .. } => files.push((made.path.to_string(), *digest)),
            Tree::Folder(members) => {
                for member in members {
                    if let Tree::File { digest, .. } = member.what {
                        files.push((format!("{}/{}", made.path, member.name), digest));
                    }
                }
            }
            _ => {}
        }
    }
    files
}

fn concerns(files: &[RelPath], name: &str) -> bool {
    files.is_empty() || files.iter().any(|file| file.as_str() == name || name.starts_with(&format!("{file}/")))
}

impl World {
    fn graph(&self) -> Arc<Graph> {
        Arc::clone(self.graph.graph.as_ref().unwrap())
    }

    /// The graph as the compile step would build it.
    fn compile(&mut self) {
        let mut stages = Vec::new();
        let mut tasks: Vec<Task> = Vec::new();
        let mut of = Vec::new();
        let mut ids: Vec<Vec<TaskId>> = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let first = tasks.len() as u32;
            for item in 0..rule.items {
                of.push((at, item));
                let axes = if rule.items > 1 { vec![("i".to_string(), item.to_string())] } else { vec![] };
                let output =
                    |(name, folder): (String, bool)| Output { role: String::new(), path: path(&name), folder, optional: false, entry: 0 };
                tasks.push(Task {
                    name: TaskName::new(&rule.name, &axes),
                    stage: StageId(at as u32),
                    axes,
                    command: Command::Shell(rule.command.clone()),
                    dir: RelPath::workspace(),
                    env: vec![],
                    read_env: vec![],
                    roles: vec![String::new()],
                    inputs: vec![],
                    outputs: outputs_of(rule, at, item).into_iter().map(output).collect(),
                    tools: vec![],
                    settings: vec![],
                    late: None,
                });
            }
            ids.push((first..tasks.len() as u32).map(TaskId).collect());
            stages.push(Stage {
                name: rule.name.clone(),
                description: None,
                tags: vec![],
                runs: rule.runs,
                wants: Wants::default(),
                timeout: None,
                grace: Duration::ZERO,
                retries: 0,
                cache: rule.cache,
                shell: vec!["sh".into(), "-c".into()],
                default_shell: true,
                axes: vec![],
                tasks: (first, tasks.len() as u32),
                params: vec![],
                places: Places { name: Place::default(), ..Places::default() },
            });
        }
        // A gate for each fan-out.
        let gated: Vec<usize> = (0..self.rules.len()).filter(|at| self.rules[*at].items > 1).collect();
        let gate = |at: usize| gated.iter().position(|other| *other == at).map(|n| TaskId((tasks.len() + n) as u32));
        let mut above: Vec<Vec<(TaskId, Edge)>> = vec![vec![]; tasks.len() + gated.len()];
        let mut order = Vec::new();
        let mut inputs: Vec<Vec<Input>> = vec![vec![]; tasks.len()];
        for (at, rule) in self.rules.iter().enumerate() {
            let whole = |other: usize, edge: Edge| match gate(other) {
                Some(gate) => vec![(gate, edge)],
                None => ids[other].iter().map(|id| (*id, edge)).collect(),
            };
            for (item, id) in ids[at].iter().enumerate() {
                let (mut list, mut edges) = (Vec::new(), Vec::new());
                let mut add = |source| list.push(Input { entry: 0, source, optional: false });
                let from_path = |name: String, folder, from| Source::Path { path: path(&name), folder, from };
                for used in &rule.uses {
                    match used {
                        Use::Source(n) => add(from_path(format!("s{n}"), false, None)),
                        Use::Of(other) if self.rules[*other].makes == Makes::Nothing => {
                            ids[*other].iter().for_each(|id| add(Source::Stamp(*id)));
                            edges.extend(ids[*other].iter().map(|id| (*id, Edge::Stamp)));
                        }
                        Use::Of(other) => {
                            for (item, id) in ids[*other].iter().enumerate() {
                                for (name, folder) in outputs_of(&self.rules[*other], *other, item) {
                                    add(from_path(name, folder, Some(*id)));
                                }
                            }
                            edges.extend(whole(*other, Edge::File));
                        }
                        Use::Member(other) | Use::Inner(other) | Use::Glob(other) => {
                            let item = item % self.rules[*other].items;
                            let (folder, _) = outputs_of(&self.rules[*other], *other, item).remove(0);
                            let from = ids[*other][item];
                            add(match used {
                                Use::Member(_) => from_path(format!("{folder}/s/y"), false, Some(from)),
                                Use::Inner(_) => from_path(format!("{folder}/s"), true, Some(from)),
                                _ => Source::LateGlob { pattern: format!("{folder}/z*"), exclude: vec![], from: vec![from] },
                            });
                            edges.push((from, Edge::File));
                        }
                        Use::Mix => {
                            add(from_path("mix".into(), true, None));
                            for (other, rule) in self.rules.iter().enumerate().take(at).filter(|(_, rule)| rule.makes == Makes::Mixed) {
                                let _ = rule;
                                edges.extend(whole(other, Edge::File));
                            }
                        }
                        Use::Needs(other) => edges.extend(whole(*other, Edge::Order)),
                    }
                }
                edges.sort();
                edges.dedup();
                inputs[id.index()] = list;
                above[id.index()] = edges;
                order.push(*id);
            }
            if let Some(gate) = gate(at) {
                above[gate.index()] = ids[at].iter().map(|id| (*id, Edge::File)).collect();
                order.push(gate);
            }
        }
        for (task, inputs) in tasks.iter_mut().zip(inputs) {
            task.inputs = inputs;
        }
        let graph = Graph {
            name: "w".into(),
            description: None,
            pools: vec![],
            keep_going: true,
            files: vec![],
            stages,
            tasks,
            gates: gated.iter().map(|at| StageId(*at as u32)).collect(),
            above: Edges::new(&above),
            order,
            config: Value { at: crate::diag::Span::default(), data: crate::value::Data::Map(vec![]) },
            config_places: vec![],
            variables: vec![],
            globs: vec![],
            globs_of: vec![],
        };
        self.graph = Compiled { graph: Some(Arc::new(graph)), of };
    }

    /// All that a task is made from, told by what stands in these files. `None`: something is missing,
    /// or an execution it builds on did not end well.
    fn cause(&self, id: TaskId, files: &BTreeMap<String, String>) -> Option<String> {
        let graph = self.graph();
        let (at, item) = self.graph.of[id.index()];
        let rule = &self.rules[at];
        let mut cause = format!("{} {item}/{}", rule.command, rule.items);
        let add = |cause: &mut String, name: &str| write!(cause, "\n{name}{}", raw(files, name)?).ok();
        for input in &graph.task(id).inputs {
            match &input.source {
                Source::Path { path, .. } => add(&mut cause, path.as_str())?,
                Source::LateGlob { pattern, .. } => {
                    let found = globbed(files, pattern);
                    if found.is_empty() {
                        return None;
                    }
                    found.iter().try_for_each(|name| add(&mut cause, name.as_str()))?;
                }
                Source::Stamp(other) => {
                    let nonce = self.nonce_of(graph.task(*other))?;
                    write!(cause, "\n#{nonce}").ok()?;
                }
            }
        }
        Some(cause)
    }

    fn nonce_of(&self, task: &Task) -> Option<u64> {
        self.memory.get(&task.name)?.nonce
    }

    /// What a stamp would tell of a task.
    fn facts(&self, id: TaskId) -> String {
        let graph = self.graph();
        let task = graph.task(id);
        let mut facts = format!("{:?} {:?} {:?} {:?}", task.command, task.inputs, task.axes, graph.stage_of(id).runs);
        for input in &task.inputs {
            match &input.source {
                Source::Path { path, .. } => write!(facts, "{:?}", raw(&self.disk, path.as_str())).unwrap(),
                Source::LateGlob { pattern, .. } => {
                    for name in globbed(&self.disk, pattern) {
                        write!(facts, "{name}{:?}", raw(&self.disk, name.as_str())).unwrap();
                    }
                }
                Source::Stamp(other) => write!(facts, "{:?}", self.nonce_of(graph.task(*other))).unwrap(),
            }
        }
        for output in &task.outputs {
            write!(facts, "{:?}", raw(&self.disk, output.path.as_str())).unwrap();
        }
        facts
    }

    fn remember(&mut self, name: &TaskName, memo: Memo) {
        self.memory.insert(name.clone(), memo);
        // What was touched has no stamps until all is looked at again.
        self.seen.remove(name);
    }

    fn remove(&mut self, name: &str) {
        let below = format!("{name}/");
        self.disk.retain(|has, _| has != name && !has.starts_with(&below));
    }

    /// Whether the oracle knows a result for this cause whose files stand or can be had: by texts.
    fn can_be_had(&self, id: TaskId, cause: &str) -> bool {
        let graph = self.graph();
        let task = graph.task(id);
        let cacheable = graph.stage_of(id).cache;
        let stands = |result: &Outcome| {
            task.outputs.iter().all(|output| raw(&self.disk, output.path.as_str()) == raw(&result.made, output.path.as_str()))
        };
        let back = |result: &Outcome| {
            // What is missing or changed must have its blob; of a folder, member by member.
            result.made.iter().all(|(name, text)| self.disk.get(name) == Some(text) || self.blobs.contains(&Digest::of(text.as_bytes())))
        };
        let own = self.memory.get(&task.name).and_then(|memo| memo.good.as_ref());
        self.results.iter().any(|result| {
            let paths = task.outputs.iter().all(|output| raw(&result.made, output.path.as_str()).is_some());
            let is_own = own.is_some_and(|good| Arc::ptr_eq(good, &result.record));
            let known = is_own || (cacheable && self.is_kept(result));
            paths && known && result.cause == cause && (stands(result) || (cacheable && back(result)))
        })
    }

    /// Whether a record can be found by its key: somebody's last good one.
    fn is_kept(&self, result: &Outcome) -> bool {
        self.memory.values().any(|memo| memo.good.as_ref().is_some_and(|good| Arc::ptr_eq(good, &result.record)))
    }
}

fn globbed(files: &BTreeMap<String, String>, pattern: &str) -> Vec<RelPath> {
    let prefix = pattern.strip_suffix('*').unwrap();
    files.keys().filter(|name| name.starts_with(prefix)).map(|name| path(name)).collect()
}

impl Now for World {
    fn input(&mut self, path: &RelPath, _: Option<TaskId>) -> Result<Content, String> {
        Ok(tree(&self.disk, path.as_str()).map_or(Content::Absent, |tree| tree.content()))
    }
    fn script(&mut self, path: &RelPath, from: Option<TaskId>) -> Result<Content, String> {
        self.input(path, from)
    }
    fn program(&mut self, _: &str) -> Result<Content, String> {
        Ok(Content::Absent)
    }
    fn answer(&mut self, _: &str, _: &[String]) -> Result<Content, String> {
        Ok(Content::Unknown)
    }
    fn glob(&mut self, pattern: &str, _: &[String], _: &[TaskId]) -> Result<Result<Vec<RelPath>, TaskName>, String> {
        Ok(Ok(globbed(&self.disk, pattern)))
    }
    fn variable(&mut self, _: &str) -> Option<String> {
        None
    }
    fn nonce(&mut self, task: TaskId) -> Option<u64> {
        self.nonce_of(self.graph().task(task))
    }
}

impl Facts for World {
    fn output(&mut self, made: &Made) -> OnDisk {
        let name = made.path.as_str();
        match (&made.what, tree(&self.disk, name)) {
            (Tree::Absent, None) => OnDisk::As,
            (_, None) => OnDisk::Gone,
            (Tree::Folder(was), Some(Tree::Folder(is))) => {
                let of =
                    |list: &[Member]| -> BTreeMap<String, Tree> { list.iter().map(|one| (one.name.clone(), one.what.clone())).collect() };
                let (was, is) = (of(was), of(&is));
                let full = |name: &String| made.path.join(name).unwrap();
                let gone: Vec<RelPath> = was.keys().filter(|name| !is.contains_key(*name)).map(full).collect();
                let other: Vec<RelPath> =
                    is.iter().filter(|(name, what)| was.get(*name) != Some(what)).map(|(name, _)| full(name)).collect();
                if gone.is_empty() && other.is_empty() { OnDisk::As } else { OnDisk::Members { gone, other } }
            }
            (was, Some(is)) if *was == is => OnDisk::As,
            _ => OnDisk::Other,
        }
    }
    fn found_as(&mut self, _: &Record) -> Result<(), RelPath> {
        Ok(())
    }
    fn with_key(&mut self, key: &Key) -> Vec<Arc<Record>> {
        let good = self.memory.values().filter_map(|memo| memo.good.clone()).filter(|record| record.key == *key);
        let mut list: Vec<Arc<Record>> = good.collect();
        list.sort_by_key(|record| record.nonce);
        list
    }
    fn has_blobs(&mut self, record: &Record, files: &[RelPath]) -> bool {
        flat(record).iter().all(|(name, digest)| !concerns(files, name) || self.blobs.contains(digest))
    }
}

impl Survey for World {
    fn unchanged(&mut self, id: TaskId) -> bool {
        self.stamps && self.seen.get(&self.graph().task(id).name).is_some_and(|seen| *seen == self.facts(id))
    }
    fn remembered(&mut self, id: TaskId) -> Result<Remembered, String> {
        let Some(memo) = self.memory.get(&self.graph().task(id).name) else { return Ok(Remembered::default()) };
        let spoilt = if memo.last == Last::Spoilt { vec![path("s0")] } else { vec![] };
        Ok(Remembered { good: memo.good.clone(), last: Some(memo.last), spoilt })
    }
}

/// How often each thing was seen: the worlds are worth something only if all of them were.
#[derive(Default, Debug)]
struct Seen {
    fresh: usize,
    shortcut: usize,
    restored: usize,
    taken_over: usize,
    broken_restore: usize,
    ran: usize,
    pending_fresh: usize,
    pending_ran: usize,
    own: usize,
    failed: usize,
    spoilt: usize,
    killed: usize,
    uncertain: usize,
    blocked: usize,
    missing: usize,
}

fn any_world(random: &mut fastrand::Rng) -> World {
    let count = random.usize(2..8);
    let mut world = World { stamps: random.bool(), ..World::default() };
    for at in 0..count {
        let early = at < count / 2;
        let makes = match random.u8(..10) {
            0 => Makes::Nothing,
            1..=3 => Makes::Folder,
            4 if early => Makes::Mixed,
            _ => Makes::File,
        };
        let mut uses = vec![Use::Source(random.usize(..3))];
        for _ in 0..random.usize(..4) {
            if at == 0 {
                break;
            }
            let other = random.usize(..at);
            let folder = world.rules[other].makes == Makes::Folder;
            let used = match random.u8(..8) {
                0 => Use::Needs(other),
                1 if folder => Use::Member(other),
                2 if folder => Use::Inner(other),
                3 | 4 if folder => Use::Glob(other),
                5 if !early && world.rules.iter().any(|rule| rule.makes == Makes::Mixed) => Use::Mix,
                _ => Use::Of(other),
            };
            if !uses.contains(&used) {
                uses.push(used);
            }
        }
        if random.u8(..4) == 0 {
            uses.remove(0);
        }
        world.rules.push(Rule {
            name: format!("r{at}"),
            command: format!("c{at}"),
            values: [1, 2, 6, 1 << 40][random.usize(..4)],
            makes,
            uses,
            items: if random.u8(..4) == 0 { random.usize(2..4) } else { 1 },
            runs: Runs::Auto,
            cache: random.u8(..5) > 0,
        });
    }
    // `always`, `manual` and `never` are rare.
    for rule in &mut world.rules {
        rule.runs = match random.u8(..20) {
            0 => Runs::Always,
            1 => Runs::Manual,
            2 if rule.makes != Makes::Nothing => Runs::Never,
            _ => Runs::Auto,
        };
    }
    for n in 0..3 {
        world.disk.insert(format!("s{n}"), "0".into());
    }
    world.compile();
    // Who never runs has files from somewhere, most of the time.
    for id in 0..world.graph.of.len() {
        let (at, item) = world.graph.of[id];
        if world.rules[at].runs == Runs::Never && random.u8(..5) > 0 {
            let made = make(&world.rules[at], at, item, "from elsewhere");
            world.disk.extend(made);
        }
    }
    world
}

/// Somebody changes something between two runs.
fn any_edit(world: &mut World, random: &mut fastrand::Rng) {
    let files: Vec<String> = world.disk.keys().filter(|name| !name.starts_with('s')).cloned().collect();
    let at = random.usize(..world.rules.len());
    match random.u8(..13) {
        0..=2 => {
            world.disk.insert(format!("s{}", random.usize(..3)), random.u8(..3).to_string());
        }
        3 => {
            if let Some(name) = random.choice(&files) {
                world.disk.remove(name);
            }
        }
        4 => {
            if let Some(name) = random.choice(&files) {
                world.disk.insert(name.clone(), random.u8(..2).to_string());
            }
        }
        5 => {
            // A stranger in a folder output, or a whole output removed.
            let folder = format!("d{at}.0");
            match random.bool() {
                true if world.rules[at].makes == Makes::Folder && raw(&world.disk, &folder).is_some() => {
                    world.disk.insert(format!("{folder}/z{}", random.u8(..4)), "stranger".into());
                }
                _ => world.remove(&folder),
            }
        }
        6 => world.rules[at].command = format!("c{at}.{}", random.u8(..3)),
        7 => {
            let name = format!("r{at}.{}", random.u8(..3));
            world.rules[at].name = name;
        }
        8 => {
            let mut blobs: Vec<Digest> = world.blobs.iter().copied().collect();
            blobs.sort();
            blobs.retain(|_| random.u8(..3) == 0);
            for blob in blobs {
                world.blobs.remove(&blob);
            }
        }
        9 => {
            let rule = &mut world.rules[at];
            let used = Use::Source(random.usize(..3));
            match rule.uses.iter().position(|other| *other == used) {
                Some(position) if rule.uses.len() > 1 => drop(rule.uses.remove(position)),
                Some(_) => {}
                None => rule.uses.push(used),
            }
        }
        10 => world.rules[at].uses.reverse(),
        11 if world.rules[at].makes != Makes::Nothing => {
            world.rules[at].runs = if world.rules[at].runs == Runs::Never { Runs::Auto } else { Runs::Never };
        }
        _ => {}
    }
    world.compile();
}

/// What happens while a command runs.
#[derive(PartialEq)]
enum Luck {
    Well,
    Fails,
    /// A source it reads is edited meanwhile.
    Spoilt,
    /// flow is killed.
    Killed,
}

struct Run<'a> {
    world: &'a mut World,
    random: &'a mut fastrand::Rng,
    seen: &'a mut Seen,
    /// Whether anything may go wrong.
    rough: bool,
    executed: HashSet<TaskId>,
    restored: HashSet<TaskId>,
    failed: HashSet<TaskId>,
    killed: bool,
    edited: bool,
    /// A restore did not hold what it promised.
    broke: bool,
}

impl Run<'_> {
    /// What the bracket does after an attempt that did not end well: what the last record says is back.
    fn put_back(&mut self, id: TaskId) {
        let graph = self.world.graph();
        let good = self.world.memory.get(&graph.task(id).name).and_then(|memo| memo.good.clone());
        for output in &graph.task(id).outputs {
            let stands = good.as_ref().is_some_and(|good| {
                good.outputs
                    .iter()
                    .any(|made| made.path == output.path && tree(&self.world.disk, output.path.as_str()).as_ref() == Some(&made.what))
            });
            if !stands {
                self.world.remove(output.path.as_str());
            }
        }
    }

    fn execute(&mut self, id: TaskId, manifest: &Manifest) {
        let graph = self.world.graph();
        let task = graph.task(id);
        let (at, item) = self.world.graph.of[id.index()];
        let key = manifest.key().expect("what runs knows what it is made from");
        let cause = self.world.cause(id, &self.world.disk).expect("all inputs are there");
        self.executed.insert(id);
        self.seen.ran += 1;
        let luck = match (self.rough, self.random.u8(..24)) {
            (true, 0) => Luck::Fails,
            (true, 1) => Luck::Spoilt,
            (true, 2) => Luck::Killed,
            _ => Luck::Well,
        };
        let before = self.world.memory.get(&task.name).cloned();
        let good = before.as_ref().and_then(|memo| memo.good.clone());
        if luck == Luck::Fails || luck == Luck::Killed {
            self.put_back(id);
            self.failed.insert(id);
            let last = if luck == Luck::Fails { Last::Failed } else { Last::Aborted };
            self.world.remember(&task.name, Memo { good, last, executed: None, nonce: None });
            self.killed |= luck == Luck::Killed;
            self.seen.failed += usize::from(luck == Luck::Fails);
            self.seen.killed += usize::from(luck == Luck::Killed);
            return;
        }
        let made = make(&self.world.rules[at], at, item, &cause);
        for output in &task.outputs {
            self.world.remove(output.path.as_str());
        }
        self.world.disk.extend(made.clone());
        self.world.nonce += 1;
        let outputs = task
            .outputs
            .iter()
            .map(|output| Made { path: output.path.clone(), what: tree(&made, output.path.as_str()).unwrap(), stamp: Stamp::default() })
            .collect();
        let record = Arc::new(Record {
            key,
            manifest: manifest.clone(),
            outputs,
            found: vec![],
            nonce: self.world.nonce,
            ended: Ended { cause: Cause::Success, usage: Usage::default() },
            run: RunId { number: 1, nonce: 1 },
            at: 0,
        });
        let source = task.inputs.iter().find_map(|input| match &input.source {
            Source::Path { path, .. } if path.as_str().starts_with('s') => Some(path.to_string()),
            _ => None,
        });
        if let (Luck::Spoilt, Some(source)) = (&luck, source) {
            self.world.disk.insert(source, "meanwhile".into());
            self.edited = true;
            self.seen.spoilt += 1;
            self.world.remember(&task.name, Memo { good, last: Last::Spoilt, executed: None, nonce: Some(record.nonce) });
            return;
        }
        if graph.stage_of(id).cache {
            self.world.blobs.extend(made.values().map(|text| Digest::of(text.as_bytes())));
        }
        self.world.results.push(Outcome { record: Arc::clone(&record), cause: cause.clone(), made });
        self.world.remember(&task.name, Memo { nonce: Some(record.nonce), good: Some(record), last: Last::Well, executed: Some(cause) });
    }

    /// Brings files back. False: the cache had lost one after all.
    fn restore(&mut self, id: TaskId, record: &Arc<Record>, files: &[RelPath]) -> bool {
        if !files.is_empty() && self.rough && self.random.u8(..6) == 0 {
            self.seen.broken_restore += 1;
            self.broke = true;
            for (name, digest) in flat(record) {
                if concerns(files, &name) {
                    self.world.blobs.remove(&digest);
                }
            }
            self.put_back(id);
            return false;
        }
        let graph = self.world.graph();
        let task = graph.task(id);
        let result = self.world.results.iter().find(|result| Arc::ptr_eq(&result.record, record)).cloned().unwrap();
        for file in files {
            self.world.remove(file.as_str());
        }
        for (name, text) in &result.made {
            if !files.is_empty() && concerns(files, name) {
                self.world.disk.insert(name.clone(), text.clone());
            }
        }
        self.restored.insert(id);
        self.seen.restored += usize::from(!files.is_empty());
        self.seen.taken_over += usize::from(files.is_empty());
        if graph.stage_of(id).runs != Runs::Never {
            for made in &record.outputs {
                assert_eq!(tree(&self.world.disk, made.path.as_str()).as_ref(), Some(&made.what), "restored whole");
            }
        }
        self.world.remember(&task.name, Memo { good: Some(Arc::clone(record)), last: Last::Well, executed: None, nonce: None });
        true
    }
}

/// One run as the driver does it, and everything that must hold of it.
fn run(world: &mut World, selection: &Selection, rough: bool, random: &mut fastrand::Rng, seen: &mut Seen) {
    let graph = world.graph();
    // What a shortcut skips is what the full question would answer.
    let stamps = std::mem::replace(&mut world.stamps, false);
    let slow = walk(&graph, selection, world);
    world.stamps = stamps;
    seen.shortcut += (0..graph.tasks.len()).filter(|at| selection.chosen[*at] && world.unchanged(TaskId(*at as u32))).count();
    let plan = walk(&graph, selection, world);
    assert_eq!(plan.verdicts, slow.verdicts);
    assert!(plan.faults.is_empty());
    check_plan(world, &graph, selection, &plan);
    let mut it = Run {
        world,
        random,
        seen,
        rough,
        executed: HashSet::new(),
        restored: HashSet::new(),
        failed: HashSet::new(),
        killed: false,
        edited: false,
        broke: false,
    };
    let mut blocked: Vec<bool> = vec![false; graph.nodes()];
    for &id in &graph.order {
        blocked[id.index()] = graph.above.of(id).any(|(other, _)| blocked[other.index()] || it.failed.contains(&other));
        if graph.is_gate(id) || !selection.chosen[id.index()] {
            continue;
        }
        if it.killed {
            break;
        }
        let verdict = plan.verdicts[id.index()].as_ref().unwrap();
        if plan.certain[id.index()] {
            assert_eq!(*verdict, Verdict::UpToDate);
            it.seen.fresh += 1;
            continue;
        }
        if blocked[id.index()] {
            it.seen.blocked += 1;
            continue;
        }
        let remembered = it.world.remembered(id).unwrap();
        let gathered = gather(&graph, id, it.world).unwrap();
        if !gathered.missing.is_empty() {
            it.failed.insert(id);
            it.seen.missing += 1;
            continue;
        }
        let cause = it.world.cause(id, &it.world.disk);
        let now = ask(&graph, id, selection, &remembered, &gathered.manifest, it.world);
        match &now {
            Verdict::UpToDate => it.seen.uncertain += usize::from(*verdict == Verdict::UpToDate),
            Verdict::Restore { record, files } => {
                if !it.restore(id, record, files) {
                    if graph.stage_of(id).runs == Runs::Never {
                        it.failed.insert(id);
                    } else {
                        it.execute(id, &gathered.manifest);
                    }
                }
            }
            Verdict::Run(reasons) => {
                assert!(!reasons.is_empty());
                let order = matches!(reasons[0], Reason::Forced | Reason::Always | Reason::Named);
                let cause = cause.unwrap();
                let known = match graph.task(id).has_outputs() {
                    true => it.world.can_be_had(id, &cause),
                    false => {
                        let memo = it.world.memory.get(&graph.task(id).name);
                        memo.is_some_and(|memo| memo.last == Last::Well && memo.executed.as_ref() == Some(&cause))
                    }
                };
                assert!(order || !known, "{} runs without a reason: {reasons:?}", graph.task(id).name);
                it.execute(id, &gathered.manifest);
            }
            Verdict::Missing(_) => {
                it.seen.missing += 1;
                it.failed.insert(id);
            }
            Verdict::Pending { .. } | Verdict::Unknown(_) => {
                // Only what builds on an execution that is not chosen and did not end well.
                panic!("{} is asked when all above it is done: {now:?}", graph.task(id).name)
            }
        }
        // The plan said so.
        let did = (it.executed.contains(&id), it.restored.contains(&id));
        match verdict {
            Verdict::UpToDate if !it.edited => assert!(it.broke || did == (false, false)),
            Verdict::Restore { .. } if !it.edited => assert!(did.0 || did.1, "{}: planned to be restored", graph.task(id).name),
            Verdict::Run(_) if !it.edited => assert!(did.0, "{}: planned to run, {now:?}", graph.task(id).name),
            Verdict::Pending { own, .. } => {
                it.seen.own += usize::from(!own.is_empty());
                if own.is_empty() {
                    it.seen.pending_ran += usize::from(did.0);
                    it.seen.pending_fresh += usize::from(now == Verdict::UpToDate);
                } else if !it.edited {
                    assert_ne!(now, Verdict::UpToDate, "{}: {own:?}", graph.task(id).name);
                }
            }
            _ => {}
        }
        if did.0 && !it.edited {
            assert!(matches!(verdict, Verdict::Run(_) | Verdict::Pending { .. } | Verdict::Restore { .. } | Verdict::UpToDate));
            if matches!(verdict, Verdict::UpToDate | Verdict::Restore { .. }) {
                assert!(it.broke, "what runs was planned to");
            }
        }
    }
    let calm = it.failed.is_empty() && !it.killed && !it.edited;
    let blocked_any = blocked.iter().any(|blocked| *blocked);
    if !calm || blocked_any {
        return;
    }
    // All went well: nothing is left to do, and everything is as from scratch.
    let plain = Selection { forced: vec![false; graph.tasks.len()], named: vec![false; graph.tasks.len()], ..selection.clone() };
    let after = walk(&graph, &plain, world);
    check_plan(world, &graph, &plain, &after);
    // Below what runs always, all waits.
    let mut waits = vec![false; graph.nodes()];
    for &id in &graph.order {
        let above = graph.above.of(id).any(|(other, edge)| edge != Edge::Order && waits[other.index()]);
        let always = !graph.is_gate(id) && graph.stage_of(id).runs == Runs::Always;
        waits[id.index()] = above || always;
        if graph.is_gate(id) || !selection.chosen[id.index()] {
            continue;
        }
        match &after.verdicts[id.index()] {
            Some(Verdict::UpToDate) => {
                let facts = world.facts(id);
                world.seen.insert(graph.task(id).name.clone(), facts);
            }
            Some(Verdict::Run(reasons)) => assert!(always, "{}: {reasons:?}", graph.task(id).name),
            Some(Verdict::Pending { own, .. }) => assert!(above && (always || own.is_empty()), "{}: {own:?}", graph.task(id).name),
            other => panic!("{}: {other:?}", graph.task(id).name),
        }
    }
}

/// Nothing that is out of date is called up to date: what the walk promises is what everything from
/// scratch would give.
fn check_plan(world: &World, graph: &Graph, selection: &Selection, plan: &Walked) {
    let mut files = world.disk.clone();
    let mut sound = vec![true; graph.nodes()];
    for &id in &graph.order {
        let above = graph.above.of(id).all(|(other, edge)| edge == Edge::Order || sound[other.index()]);
        if graph.is_gate(id) {
            sound[id.index()] = above;
            continue;
        }
        let (at, item) = world.graph.of[id.index()];
        let rule = &world.rules[at];
        let name = &graph.task(id).name;
        if !selection.chosen[id.index()] {
            continue;
        }
        let verdict = plan.verdicts[id.index()].as_ref().unwrap();
        if let Verdict::Restore { record, files: wanted } = verdict {
            let result = world.results.iter().find(|result| Arc::ptr_eq(&result.record, record)).unwrap();
            for file in wanted {
                let below = format!("{file}/");
                files.retain(|has, _| has != file.as_str() && !has.starts_with(&below));
            }
            files.extend(result.made.iter().filter(|(name, _)| concerns(wanted, name)).map(|(name, text)| (name.clone(), text.clone())));
        }
        sound[id.index()] = verdict.is_settled();
        if rule.runs == Runs::Never {
            continue;
        }
        match verdict {
            Verdict::UpToDate | Verdict::Restore { .. } => {
                assert!(above, "{name} is settled while what it reads is not");
                assert!(rule.runs != Runs::Always && !selection.forced[id.index()]);
                let cause = world.cause(id, &files);
                let Some(cause) = cause else { panic!("{name} is settled and an input is missing") };
                if rule.makes == Makes::Nothing {
                    let memo = &world.memory[name];
                    assert_eq!(memo.executed.as_ref(), Some(&cause), "{name}");
                    continue;
                }
                let made = make(rule, at, item, &cause);
                for output in &graph.task(id).outputs {
                    let output = output.path.as_str();
                    assert_eq!(raw(&files, output), raw(&made, output), "{name} is called {verdict:?}");
                }
            }
            Verdict::Pending { waits_for, .. } => {
                assert!(!waits_for.is_empty());
                // Each is above it, and there is something to do for it.
                let open: HashSet<TaskName> = graph
                    .tasks_above(id)
                    .iter()
                    .filter(|(task, _)| plan.verdicts[task.index()] != Some(Verdict::UpToDate))
                    .map(|(task, _)| graph.task(*task).name.clone())
                    .collect();
                assert!(waits_for.iter().all(|task| open.contains(task)), "{name} waits for {waits_for:?}");
            }
            Verdict::Run(reasons) => assert!(!reasons.is_empty()),
            Verdict::Missing(_) | Verdict::Unknown(_) => panic!("{name}: {verdict:?}"),
        }
    }
}

fn any_selection(world: &World, random: &mut fastrand::Rng) -> Selection {
    let graph = world.graph();
    let count = graph.tasks.len();
    let mut selection =
        Selection { chosen: vec![true; count], named: vec![false; count], forced: vec![false; count], keep_manifests: true };
    if random.u8(..4) == 0 {
        let task = random.usize(..count);
        let forced = random.bool();
        selection.chosen = crate::graph::select::with_ancestors(&graph, &[TaskId(task as u32)]);
        selection.named[task] = true;
        selection.forced[task] = forced;
    }
    selection
}

#[test]
fn random_worlds() {
    let mut seen = Seen::default();
    for seed in 0..1500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = any_world(&mut random);
        for _ in 0..random.usize(2..7) {
            let selection = any_selection(&world, &mut random);
            let rough = random.u8(..3) == 0;
            let caught =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut world, &selection, rough, &mut random, &mut seen)));
            if let Err(what) = caught {
                world.rules.iter().for_each(|rule| eprintln!("world {seed}: {rule:?}"));
                std::panic::resume_unwind(what);
            }
            for _ in 0..random.usize(..3) {
                any_edit(&mut world, &mut random);
            }
        }
    }
    let all = format!("{seen:?}");
    assert!(!all.contains(": 0"), "{all}");
}

fn rule(at: usize, makes: Makes, uses: Vec<Use>) -> Rule {
    let (name, command) = (format!("r{at}"), format!("c{at}"));
    Rule { name, command, values: 1 << 40, makes, uses, items: 1, runs: Runs::Auto, cache: true }
}

fn made(rules: Vec<Rule>) -> (World, Selection) {
    let count = rules.len();
    let all = Selection { chosen: vec![true; count], named: vec![false; count], forced: vec![false; count], keep_manifests: true };
    let mut world = World { rules, stamps: true, ..World::default() };
    world.disk.insert("s0".into(), "0".into());
    world.compile();
    run(&mut world, &all, false, &mut fastrand::Rng::with_seed(0), &mut Seen::default());
    (world, all)
}

/// A restore that fails becomes a run, and that may make something else: what rests on it is asked again.
#[test]
fn what_rests_on_a_restore_is_not_certain() {
    let file = |at: usize, used: Use| rule(at, Makes::File, vec![used]);
    let (mut world, all) = made(vec![file(0, Use::Source(0)), file(1, Use::Of(0)), file(2, Use::Of(1)), file(3, Use::Needs(0))]);
    let said = |world: &mut World| {
        let walked = walk(&world.graph(), &all, world);
        let fresh: Vec<bool> = walked.verdicts.iter().map(|verdict| *verdict == Some(Verdict::UpToDate)).collect();
        (fresh, walked.certain)
    };
    assert_eq!(said(&mut world), (vec![true; 4], vec![true; 4]));
    world.disk.remove("o0.0");
    assert_eq!(said(&mut world), (vec![false, true, true, true], vec![false, false, false, true]));
}

/// Of a folder that is taken as it is the missing member comes back, and the changed one counts as it is.
#[test]
fn what_never_runs_counts_as_it_is() {
    let (mut world, all) = made(vec![
        rule(0, Makes::Folder, vec![Use::Source(0)]),
        rule(1, Makes::File, vec![Use::Member(0)]),
        rule(2, Makes::File, vec![Use::Of(0)]),
    ]);
    world.rules[0].runs = Runs::Never;
    world.compile();
    world.disk.remove("d0.0/x");
    let verdicts = |world: &mut World| walk(&world.graph(), &all, world).verdicts;
    let said = verdicts(&mut world);
    assert!(matches!(&said[0], Some(Verdict::Restore { files, .. }) if *files == [path("d0.0/x")]));
    assert_eq!(said[1], Some(Verdict::UpToDate));
    assert!(matches!(&said[2], Some(Verdict::Pending { own, .. }) if own.is_empty()));
    world.disk.insert("d0.0/s/y".into(), "by hand".into());
    assert!(matches!(verdicts(&mut world)[1], Some(Verdict::Run(_))));
    world.blobs.clear();
    assert!(matches!(verdicts(&mut world)[0], Some(Verdict::Missing(_))));
}
