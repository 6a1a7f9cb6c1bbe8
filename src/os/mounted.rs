//! A small file system in memory, for tests of a full disk and of one that cannot be written.
//!
//! Owns mounting it and taking it away again. Only for tests; where mounting is not allowed there is none,
//! and the test is left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mounted file system; taken away when it is dropped.
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts a tmpfs on a folder; `None`: we may not.
    pub fn tmpfs(at: &Path, options: &str) -> Option<Mounted> {
        let root = rustix::process::geteuid().is_root();
        (root && run("mount", &["-t", "tmpfs", "-o", options, "flow-test"], at)).then(|| Mounted { at: at.to_path_buf() })
    }

    /// From now on nothing in it can be written.
    pub fn read_only(&self) {
        assert!(run("mount", &["-o", "remount,ro"], &self.at));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.at);
    }
}

fn run(program: &str, words: &[&str], at: &Path) -> bool {
    let status = Command::new(program).args(words).arg(at).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
