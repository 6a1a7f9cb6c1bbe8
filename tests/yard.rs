//! A workspace in a folder of its own, where the built program is called as a person would.
//!
//! Commands of its pipelines append their names to `../log`, outside the workspace, so that a test can
//! say which tasks ran, and how often.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for a slow machine, short enough to see that something hangs.
pub const LONG: Duration = Duration::from_secs(60);

/// A folder with a workspace in it.
pub struct Yard {
    dir: TempDir,
    /// The workspace's name.
    name: String,
    seen: Cell<usize>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code; a signal counts as in a shell.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said.
    pub err: String,
}

impl Said {
    /// From what the system says.
    pub fn of(output: Output) -> Said {
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal)).unwrap();
        Said { code, out: String::from_utf8_lossy(&output.stdout).into_owned(), err: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// It ended with this code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Said {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }

    /// It said this.
    #[track_caller]
    pub fn says(self, text: &str) -> Said {
        assert!(self.err.contains(text), "no `{text}` in {self:#?}");
        self
    }
}

impl Yard {
    /// With this pipeline.
    pub fn new(pipeline: &str) -> Yard {
        let yard = Yard { dir: tempfile::tempdir().unwrap(), name: "ws".into(), seen: Cell::new(0) };
        fs::create_dir(yard.dir.path().join("tmp")).unwrap();
        yard.write("pipeline.yaml", pipeline);
        yard
    }

    /// The folder around the workspace.
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }

    /// The workspace.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// A path in the workspace.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// From now on the workspace is another one beside it.
    pub fn moves_to(&mut self, name: &str) {
        self.name = name.into();
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a program.
    pub fn program(&self, path: &str, text: &str) {
        self.write(path, text);
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A file's text; empty if there is none.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    /// Whether something is there.
    pub fn has(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// Removes a file or a folder.
    pub fn remove(&self, path: &str) {
        let path = self.at(path);
        match path.symlink_metadata().unwrap().is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }

    /// Renames.
    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// Writes the pipeline anew with one text for another.
    #[track_caller]
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "no `{from}` in {text}");
        self.write(path, text.replace(from, to));
    }

    /// All files below a folder of the workspace, sorted.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let mut list = Vec::new();
        let mut look = vec![self.at(folder)];
        while let Some(folder) = look.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => look.push(entry.path()),
                    false => list.push(entry.path().strip_prefix(self.root()).unwrap().to_string_lossy().into_owned()),
                }
            }
        }
        list.sort();
        list
    }

    /// A call of flow, to be changed and started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flow"));
        self.settle(&mut command);
        command.args(args);
        command
    }

    /// A shell that knows flow as `$FLOW`.
    pub fn shell(&self, script: &str) -> Said {
        let mut command = Command::new("bash");
        self.settle(&mut command);
        command.args(["-c", script]).env("FLOW", env!("CARGO_BIN_EXE_flow"));
        Said::of(command.output().unwrap())
    }

    fn settle(&self, command: &mut Command) {
        for name in ["FLOW_JOBS", "FLOW_CACHE_DIR", "FLOW_CACHE_STORE", "FLOW_PROFILE", "FLOW_ATTEMPT", "TZ", "LC_ALL"] {
            command.env_remove(name);
        }
        command.current_dir(self.root()).env("TMPDIR", self.outside().join("tmp")).env("NO_COLOR", "1").stdin(Stdio::null());
    }

    /// Calls flow.
    pub fn flow(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// `flow run`, which must end with 0.
    #[track_caller]
    pub fn run(&self) -> Said {
        self.flow(&["run"]).ends(0)
    }

    /// `flow run` must end with 0, and these tasks run, in any order; twice: again nothing.
    #[track_caller]
    pub fn runs(&self, tasks: &[&str]) -> Said {
        let said = self.run();
        assert_eq!(self.ran(), tasks, "{said:#?}");
        said
    }

    /// A run that has nothing to do, and says so.
    #[track_caller]
    pub fn rests(&self) {
        let said = self.run();
        assert_eq!(self.ran(), [""; 0], "{said:#?}");
        assert!(said.err.contains(" up to date in ") && said.err.lines().count() == 1, "{said:#?}");
    }

    /// The tasks that ran since this was asked last, sorted.
    pub fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.outside().join("log")).unwrap_or_default();
        let mut new: Vec<String> = text[self.seen.get()..].lines().map(String::from).collect();
        self.seen.set(text.len());
        new.sort();
        new
    }

    /// Starts flow and leaves it running.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Where what made way is kept: paths below `.flow/kept`.
    pub fn kept(&self) -> Vec<String> {
        self.files(".flow/kept")
    }
}

/// Waits for something that will be.
#[track_caller]
pub fn wait_until(mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LONG, "waited too long");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether tests may do what only root can.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Appends to a file.
pub fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}
