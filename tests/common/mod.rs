//! A folder with files, and the program run in it as from a clean login.
//!
//! Owns the environment of the tests: what a test sees depends on nothing of the machine but its
//! programs. Must hold: nothing is left behind, also when a test fails.

#![allow(dead_code, reason = "each test uses what it needs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use snapbox::IntoData;
use snapbox::assert::Assert;

/// Long enough for a slow machine, short enough to see that something hangs.
pub const LONG: Duration = Duration::from_secs(60);

/// A folder for one test.
pub struct TestDir {
    dir: tempfile::TempDir,
}

/// What a call came to.
pub struct Got {
    /// The exit code; `None`: a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl TestDir {
    /// With these files: path and text. The workspace is `w/`.
    pub fn new(files: &[(&str, &str)]) -> TestDir {
        let dir = TestDir { dir: tempfile::tempdir().unwrap() };
        for folder in ["w", "home", "tmp"] {
            fs::create_dir(dir.dir.path().join(folder)).unwrap();
        }
        for (path, text) in files {
            dir.write(path, text);
        }
        dir
    }

    /// With one file, `pipeline.yaml`.
    pub fn pipeline(text: &str) -> TestDir {
        TestDir::new(&[("pipeline.yaml", text)])
    }

    /// A path in the workspace.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("w").join(path)
    }

    /// Writes a file, with its folders.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a text that stands once in a file.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {path}:\n{text}");
        self.write(path, &text.replace(from, to));
    }

    /// A file's text.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether something is there.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    /// The program with these arguments in a folder of the workspace (`.`: itself), to be started. Its
    /// environment is whole: change it where a test is about that.
    pub fn command(&self, folder: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flow"));
        command
            .args(args)
            .current_dir(self.path(folder))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path().join("home"))
            .env("TMPDIR", self.dir.path().join("tmp"))
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("FLOW_JOBS", "2")
            .stdin(Stdio::null());
        command
    }

    /// Runs `flow` with these words in the workspace.
    pub fn flow(&self, args: &[&str]) -> Got {
        self.flow_in(".", args)
    }

    /// The same in a folder of the workspace.
    pub fn flow_in(&self, folder: &str, args: &[&str]) -> Got {
        Got::of(&mut self.command(folder, args))
    }

    /// Starts `flow`; it is killed when what is returned is dropped.
    pub fn start(&self, args: &[&str]) -> Running {
        Running(self.command(".", args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits until something is there.
    pub fn wait_for(&self, path: &str) {
        self.wait_until(path, || self.has(path));
    }

    /// Waits until something is so.
    pub fn wait_until(&self, what: &str, so: impl Fn() -> bool) {
        let since = Instant::now();
        while !so() {
            assert!(since.elapsed() < LONG, "{what} does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything under a folder of the workspace, with content and times: equal only if nothing was
    /// written.
    pub fn tree(&self, folder: &str) -> Vec<(PathBuf, SystemTime, Vec<u8>)> {
        let mut list = Vec::new();
        let mut stack = vec![self.path(folder)];
        while let Some(path) = stack.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                stack.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            list.push((path, meta.modified().unwrap(), bytes));
        }
        list.sort();
        list
    }

    /// The root of everything, for what lies beside the workspace.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }
}

/// A process that ends with the test.
pub struct Running(Child);

impl Running {
    /// Its number.
    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(since.elapsed() < LONG, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Got {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Got {
        let output = command.output().unwrap();
        Got {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It must have ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Got {
        assert_eq!(self.code, Some(code), "stdout:\n{}stderr:\n{}", self.out, self.err);
        self
    }

    /// Standard output must be this: `[..]` stands for any text within a line, `...` on a line of its
    /// own for any lines. The text may start with a newline, so that it can stand on lines of its own.
    #[track_caller]
    pub fn out(self, want: &str) -> Got {
        same(&self.out, want);
        self
    }

    /// The same for lines whose order hangs on how long something took.
    #[track_caller]
    pub fn out_in_any_order(self, want: &str) -> Got {
        same(&sorted(&self.out), &sorted(want));
        self
    }

    /// The same for standard error.
    #[track_caller]
    pub fn err_in_any_order(self, want: &str) -> Got {
        same(&sorted(&self.err), &sorted(want));
        self
    }

    /// The same as [`Got::out`] for standard error.
    #[track_caller]
    pub fn err(self, want: &str) -> Got {
        same(&self.err, want);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Compares with wildcards.
#[track_caller]
pub fn same(got: &str, want: &str) {
    let want = want.strip_prefix('\n').unwrap_or(want);
    Assert::new().eq(got.to_string(), want.into_data());
}
