//! A pipeline opened: from its file, or from what was compiled before, to graph and memory.
//!
//! Owns the choice between the two: the compiled graph in `state` is used as long as nothing it was made
//! from has changed. Writes nothing and takes no lock; commands that look use this alone. Must hold: a
//! graph from `state` is the graph the file would give.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diag::{Diagnostic, Sources};
use crate::disk::{Disk, DiskFault, read_small, stamp};
use crate::graph::compile::{Given, compile};
use crate::graph::{Graph, Source, Task, Tool};
use crate::name::{RelPath, TaskName};
use crate::os::beneath::{Beneath, is_gone};
use crate::os::process::boot_id;
use crate::pipeline::config::{self, SetFault};
use crate::pipeline::spec::{CacheSettings, Pipeline};
use crate::pipeline::{read, yaml};
use crate::record::known::Known;
use crate::record::record::Tree;
use crate::record::state::{Reader, StateFault};
use crate::run::fresh::{Compared, Fresh, Guard, section};
use crate::run::look::{Account, Looking};
use crate::run::site::{PipelineFile, Site, SiteFault, find};
use crate::run::survey::Surroundings;

/// Largest pipeline file that is read, in bytes.
const LARGEST: u64 = 1 << 30;

/// What is asked of a pipeline file.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The file as given; `None`: the default one, here or above.
    pub file: Option<String>,
    /// The caller's folder.
    pub here: PathBuf,
    /// Settings given by `--set`.
    pub set: Vec<(String, String)>,
    /// Trust no stamp.
    pub rehash: bool,
}

/// Why a pipeline cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// There is no file, or no workspace.
    #[error(transparent)]
    Site(#[from] SiteFault),
    /// The file cannot be read.
    #[error("{0}")]
    File(DiskFault),
    /// The file has mistakes.
    #[error("the pipeline has mistakes")]
    Mistakes(Vec<Diagnostic>, Sources),
    /// A `--set` cannot be taken.
    #[error(transparent)]
    Set(#[from] SetFault),
    /// `state` cannot be used.
    #[error(transparent)]
    State(#[from] StateFault),
    /// The workspace cannot be used.
    #[error("{0}")]
    Workspace(String),
}

/// What is known before anything is compiled: enough for a run that has nothing to do.
pub struct Front {
    /// The places.
    pub site: Site,
    /// The pipeline's own folder under `.flow/`; `None`: it is not there.
    pub own: Option<Beneath>,
    /// `state`; `None`: there is none.
    pub reader: Option<Reader>,
    /// The workspace.
    pub disk: Arc<Disk>,
    /// Stamps and flags, if they hold for this call.
    pub fresh: Option<Fresh>,
    /// How they compare with the disk.
    pub compared: Option<Compared>,
    /// What `state` could not be used for.
    pub damage: Option<StateFault>,
    /// The caller's environment.
    pub surroundings: Surroundings,
    boot: String,
    /// The file as it was read, if it had to be.
    text: Option<Read>,
}

/// A pipeline file that was read.
struct Read {
    sources: Sources,
    pipeline: Pipeline,
    faults: Vec<Diagnostic>,
    stamp: Option<crate::hash::Stamp>,
}

/// A pipeline with its graph and what is remembered of it.
pub struct Opened {
    /// The places.
    pub site: Site,
    /// The pipeline's own folder under `.flow/`; `None`: it is not there.
    pub own: Option<Beneath>,
    /// The workspace.
    pub disk: Arc<Disk>,
    /// The graph.
    pub graph: Arc<Graph>,
    /// What is remembered.
    pub known: Known,
    /// Where the last whole frame of `state` ends, and where its block ends; `None`: there is no state.
    pub state_end: Option<(u64, u64)>,
    /// What the graph rests on.
    pub account: Account,
    /// The guard for the next stamps.
    pub guard: Guard,
    /// The stamps as they were, if the graph is the one they belong to.
    pub fresh: Option<Fresh>,
    /// For each task whether every fact is as it was when it was last found up to date.
    pub unchanged: Vec<bool>,
    /// Warnings of the compile step.
    pub warnings: Vec<Diagnostic>,
    /// The files that places point into.
    pub sources: Sources,
    /// `cache` of the file.
    pub cache: CacheSettings,
    /// Whether the file was compiled anew.
    pub compiled: bool,
    /// What `state` could not be used for.
    pub damage: Option<StateFault>,
    /// The caller's environment.
    pub surroundings: Surroundings,
    /// This boot.
    pub boot: String,
}

/// Opens as much as a comparison of stamps needs. `lock` is called once the pipeline's own folder is
/// known, before `state` is read: a writer takes its lock there.
pub fn front<E: From<OpenFault>>(request: &Request, mut lock: impl FnMut(&Site, &Beneath) -> Result<(), E>) -> Result<Front, E> {
    let file = find(request.file.as_deref(), &request.here).map_err(OpenFault::from)?;
    // A file without `root` has its state beside it: then nothing has to be read to know where.
    let site = Site::new(file.clone(), None, &request.here).map_err(OpenFault::from)?;
    if site.own().join(crate::record::state::STATE).exists() {
        let front = front_at(site, request, &mut lock)?;
        if front.compared.as_ref().is_some_and(|compared| compared.graph) {
            return Ok(front);
        }
        let read = read_pipeline(&file)?;
        return match &read.pipeline.root {
            None => Ok(Front { text: Some(read), ..front }),
            Some(words) => {
                let site = Site::new(file, Some(&words.text), &request.here).map_err(OpenFault::from)?;
                Ok(Front { text: Some(read), ..front_at(site, request, &mut lock)? })
            }
        };
    }
    let read = read_pipeline(&file)?;
    let root = read.pipeline.root.as_ref().map(|words| words.text.clone());
    let site = Site::new(file, root.as_deref(), &request.here).map_err(OpenFault::from)?;
    Ok(Front { text: Some(read), ..front_at(site, request, &mut lock)? })
}

fn front_at<E: From<OpenFault>>(
    site: Site,
    request: &Request,
    lock: &mut impl FnMut(&Site, &Beneath) -> Result<(), E>,
) -> Result<Front, E> {
    let disk = Disk::new(site.workspace.clone()).map_err(|fault| OpenFault::Workspace(fault.to_string()))?;
    let disk = Arc::new(if request.rehash { disk.rehash() } else { disk });
    let own = match Beneath::open(&site.flow).and_then(|flow| flow.folder(&site.folder)) {
        Ok(own) => Some(own),
        Err(error) if is_gone(&error) => None,
        Err(error) => return Err(OpenFault::Workspace(format!("cannot open {}: {error}", site.own().display())).into()),
    };
    let boot = boot_id().unwrap_or_default();
    let mut front = Front {
        site,
        own,
        reader: None,
        disk,
        fresh: None,
        compared: None,
        damage: None,
        surroundings: Surroundings::here(),
        boot,
        text: None,
    };
    if let Some(own) = &front.own {
        lock(&front.site, own)?;
        match Reader::open(own) {
            Ok(reader) => front.reader = reader,
            // A folder, a fifo, a link: whatever it is, it is no state of ours.
            Err(StateFault::Io { path, .. }) if !is_file(own, crate::record::state::STATE) => {
                front.damage = Some(StateFault::Damaged { path, what: "not a file" });
            }
            Err(fault @ StateFault::Io { .. }) => return Err(OpenFault::State(fault).into()),
            Err(fault) => front.damage = Some(fault),
        }
    }
    front.read_stamps(request);
    Ok(front)
}

impl Front {
    fn read_stamps(&mut self, request: &Request) {
        let Some(reader) = &self.reader else { return };
        let sections = match reader.first(section::HOT) {
            Ok(sections) => sections,
            Err(fault) => {
                self.damage = Some(fault);
                self.reader = None;
                return;
            }
        };
        let Some(fresh) = Fresh::read(&sections) else { return };
        let guard = &fresh.guard;
        let same = guard.version == env!("CARGO_PKG_VERSION")
            && guard.boot == self.boot
            && guard.set == request.set
            && !request.rehash
            && guard.variables.iter().all(|(name, value)| self.surroundings.variable(name) == *value);
        if same {
            self.compared = Some(fresh.compare(&self.disk));
            self.fresh = Some(fresh);
        }
    }

    /// Whether a run without selectors has nothing to do: the pipeline's name, and how many tasks are
    /// up to date.
    pub fn nothing_to_do(&self) -> Option<(&str, u64)> {
        let (fresh, compared) = (self.fresh.as_ref()?, self.compared.as_ref()?);
        if self.reader.as_ref()?.has_frames() || self.damage.is_some() {
            return None;
        }
        fresh.nothing_to_do(compared).map(|count| (fresh.guard.name.as_str(), count))
    }

    /// Opens the rest.
    pub fn rest(self, request: &Request) -> Result<Opened, OpenFault> {
        let Front { site, own, reader, disk, fresh, compared, mut damage, surroundings, boot, text } = self;
        let (mut known, state_end) = match &reader {
            Some(reader) => match Known::load(reader, &boot) {
                Ok((known, end)) => (known, Some((end, reader.block_end()))),
                Err(fault @ StateFault::Io { .. }) => return Err(fault.into()),
                Err(fault) => {
                    damage = Some(fault);
                    (Known::new(&boot), None)
                }
            },
            None => (Known::new(&boot), None),
        };
        let stored = match (&reader, &compared, damage.is_none()) {
            (Some(reader), Some(compared), true) if compared.graph => stored_graph(reader),
            _ => None,
        };
        seed(&disk, reader.as_ref().filter(|_| damage.is_none()), &known)?;
        let touched = known.touched();
        if let (Some(stored), Some(fresh), Some(compared)) = (stored, fresh, compared) {
            let unchanged = untouched(&compared.unchanged, &stored.graph, &touched);
            return Ok(Opened {
                site,
                own,
                disk,
                graph: Arc::new(stored.graph),
                known,
                state_end,
                account: stored.account,
                guard: fresh.guard.clone(),
                fresh: Some(fresh),
                unchanged,
                warnings: Vec::new(),
                sources: Sources::default(),
                cache: stored.cache.into(),
                compiled: false,
                damage,
                surroundings,
                boot,
            });
        }
        let read = match text {
            Some(read) => read,
            None => read_pipeline(&site.file)?,
        };
        let settings = config::settle(read.pipeline.config.as_ref(), &request.set)?;
        let mut faults = read.faults;
        faults.extend(config::check(&settings));
        let environment = surroundings.texts();
        let root = site.workspace.to_string_lossy().into_owned();
        let stem = site.stem();
        let given = Given {
            sources: &read.sources,
            file: 0,
            config: settings,
            stem: &stem,
            root: &root,
            here: site.file_folder.clone(),
            own: RelPath(site.relative.as_str().into()),
            environment: &environment,
        };
        let gone = |is_there: &dyn Fn(&str) -> bool| left_by(&known, is_there);
        let looking = Looking::new(&disk, surroundings.path(), &gone);
        let (graph, more) = compile(&read.pipeline, &given, &looking);
        let mut account = looking.account();
        account.insert(RelPath(site.file.path.to_string_lossy().as_ref().into()), read.stamp);
        faults.extend(more);
        if faults.iter().any(Diagnostic::is_error) {
            return Err(OpenFault::Mistakes(faults, read.sources));
        }
        let guard = guard(&graph, request, &surroundings, &boot);
        known.changed = true;
        Ok(Opened {
            site,
            own,
            disk,
            unchanged: vec![false; graph.tasks.len()],
            graph: Arc::new(graph),
            known,
            state_end,
            account,
            guard,
            fresh: None,
            warnings: faults,
            sources: read.sources,
            cache: read.pipeline.cache,
            compiled: true,
            damage,
            surroundings,
            boot,
        })
    }
}

/// Opens a pipeline to look at it: no lock is taken.
pub fn open(request: &Request) -> Result<Opened, OpenFault> {
    front(request, |_, _| Ok::<(), OpenFault>(()))?.rest(request)
}

/// What `check` found.
pub struct Checked {
    /// The places.
    pub site: Site,
    /// Mistakes and warnings.
    pub faults: Vec<Diagnostic>,
    /// The files they point into.
    pub sources: Sources,
    /// What could be compiled.
    pub graph: Graph,
}

/// Only reads and compiles the file: for `check`.
pub fn check(request: &Request) -> Result<Checked, OpenFault> {
    let file = find(request.file.as_deref(), &request.here)?;
    let read = read_pipeline(&file)?;
    let root = read.pipeline.root.as_ref().map(|words| words.text.clone());
    let site = Site::new(file, root.as_deref(), &request.here)?;
    let disk = Disk::new(site.workspace.clone()).map_err(|fault| OpenFault::Workspace(fault.to_string()))?;
    let settings = config::settle(read.pipeline.config.as_ref(), &request.set)?;
    let surroundings = Surroundings::here();
    let environment = surroundings.texts();
    let (root, stem) = (site.workspace.to_string_lossy().into_owned(), site.stem());
    let mut faults = read.faults;
    faults.extend(config::check(&settings));
    let given = Given {
        sources: &read.sources,
        file: 0,
        config: settings,
        stem: &stem,
        root: &root,
        here: site.file_folder.clone(),
        own: RelPath(site.relative.as_str().into()),
        environment: &environment,
    };
    let gone = |_: &dyn Fn(&str) -> bool| HashSet::new();
    let looking = Looking::new(&disk, surroundings.path(), &gone);
    let (graph, more) = compile(&read.pipeline, &given, &looking);
    faults.extend(more);
    Ok(Checked { site, faults, sources: read.sources, graph })
}

/// Whether a plain file stands there, or nothing.
fn is_file(own: &Beneath, name: &str) -> bool {
    let regular = |stat: rustix::fs::Stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
    own.stat(name).ok().flatten().is_none_or(regular)
}

fn read_pipeline(file: &PipelineFile) -> Result<Read, OpenFault> {
    let before = stamp(&file.path);
    let bytes = read_small(&file.path, LARGEST).map_err(|fault| OpenFault::File(fault.shown_as(&file.shown)))?;
    let mut sources = Sources::default();
    let text = match yaml::decode(bytes, 0) {
        Ok(text) => text,
        Err((text, fault)) => {
            sources.add(&file.shown, text);
            return Err(OpenFault::Mistakes(vec![*fault], sources));
        }
    };
    let (pipeline, faults) = read::read(&text, 0);
    sources.add(&file.shown, text);
    let after = stamp(&file.path);
    Ok(Read { sources, pipeline, faults, stamp: after.filter(|after| before == Some(*after)) })
}

/// Outputs of tasks that are remembered and no longer there; of folders all that was made in them.
fn left_by(known: &Known, is_there: &dyn Fn(&str) -> bool) -> HashSet<RelPath> {
    known
        .tasks()
        .filter(|(name, _)| !is_there(name.as_str()))
        .filter_map(|(_, memory)| known.read(memory.good?).ok())
        .flat_map(|record| record.outputs)
        .flat_map(|made| {
            let members = match &made.what {
                Tree::Folder(members) => members.iter().filter_map(|member| made.path.join(&member.name).ok()).collect(),
                _ => Vec::new(),
            };
            members.into_iter().chain([made.path])
        })
        .collect()
}

/// What a compilation rests on beside paths.
fn guard(graph: &Graph, request: &Request, surroundings: &Surroundings, boot: &str) -> Guard {
    let mut names: Vec<String> = vec!["TZ".into(), "PATH".into()];
    names.extend(graph.variables.iter().cloned());
    for task in &graph.tasks {
        names.extend(task.read_env.iter().cloned());
        names.extend(task.env.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.clone()));
    }
    names.sort();
    names.dedup();
    Guard {
        version: env!("CARGO_PKG_VERSION").into(),
        boot: boot.into(),
        set: request.set.clone(),
        variables: names.into_iter().map(|name| (name.clone(), surroundings.variable(&name))).collect(),
        asks: graph.tasks.iter().any(|task| task.tools.iter().any(|tool| matches!(tool, Tool::Asked { .. }))),
        name: graph.name.clone(),
        tasks: graph.tasks.len() as u32,
    }
}

/// [`StoredGraph`] before it is written.
#[derive(serde::Serialize)]
pub struct StoringGraph<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// What it rests on.
    pub account: &'a Account,
    /// `cache` of the file.
    pub cache: StoredCache,
}

/// A graph as it is kept in `state`.
#[derive(serde::Deserialize)]
pub struct StoredGraph {
    /// The graph.
    pub graph: Graph,
    /// What it rests on.
    pub account: Account,
    /// `cache` of the file.
    pub cache: StoredCache,
}

/// [`CacheSettings`] without places.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct StoredCache {
    store: u8,
    dir: Option<String>,
    size: Option<u64>,
}

impl From<&CacheSettings> for StoredCache {
    fn from(settings: &CacheSettings) -> StoredCache {
        use crate::pipeline::spec::Store;
        let store = match settings.store {
            None => 0,
            Some(Store::Auto) => 1,
            Some(Store::All) => 2,
            Some(Store::Off) => 3,
        };
        StoredCache { store, dir: settings.dir.as_ref().map(|words| words.text.clone()), size: settings.size }
    }
}

impl From<StoredCache> for CacheSettings {
    fn from(stored: StoredCache) -> CacheSettings {
        use crate::pipeline::spec::{Store, Words};
        let store = match stored.store {
            1 => Some(Store::Auto),
            2 => Some(Store::All),
            3 => Some(Store::Off),
            _ => None,
        };
        let dir = stored.dir.map(|text| Words { text, at: crate::diag::Span::default(), style: crate::value::Style::Plain });
        CacheSettings { store, dir, size: stored.size }
    }
}

/// The compiled graph in a state, if there is one.
pub fn stored_graph(reader: &Reader) -> Option<StoredGraph> {
    let bytes = reader.section(section::GRAPH).ok()??;
    postcard::from_bytes(&bytes).ok()
}

/// A digest that is kept: path, stamp, digest, and whether it is believed in another boot.
pub type KeptDigest = (RelPath, crate::hash::Stamp, crate::hash::Digest, bool);

/// Of tasks whose stamps are as they were, those that frames behind the block do not speak of, and no
/// stage without outputs that they read either: no stamp on disk tells that such a one ran.
pub fn untouched(unchanged: &[bool], graph: &Graph, touched: &HashSet<TaskName>) -> Vec<bool> {
    let is_touched = |task: &Task| touched.contains(&task.name);
    let reads_touched =
        |task: &Task| task.inputs.iter().any(|input| matches!(input.source, Source::Stamp(other) if is_touched(graph.task(other))));
    let asked_again = |task: &Task| !touched.is_empty() && (is_touched(task) || reads_touched(task));
    unchanged.iter().zip(&graph.tasks).map(|(unchanged, task)| *unchanged && !asked_again(task)).collect()
}

/// Hands the disk what earlier runs found out.
fn seed(disk: &Disk, reader: Option<&Reader>, known: &Known) -> Result<(), OpenFault> {
    let Some(reader) = reader else { return Ok(()) };
    let believed = known.trusts_block();
    if let Some(bytes) = reader.section(section::DIGESTS)?
        && let Ok(kept) = postcard::from_bytes::<Vec<KeptDigest>>(&bytes)
    {
        for (path, stamp, digest, synced) in kept {
            if believed || synced {
                disk.know(path, stamp, digest);
            }
        }
    }
    // What was made since, by a run that was killed, is read again: nobody knows whether its stamps were final.
    Ok(())
}

/// The pipeline's own folder, made if it is not there.
pub fn make_own(site: &Site) -> io::Result<Beneath> {
    let flow = Beneath::create(&site.flow)?;
    if flow.stat(".gitignore")?.is_none() {
        use std::io::Write;
        flow.create_file(".gitignore")?.write_all(b"*\n")?;
    }
    flow.make_folder(&site.folder)
}
