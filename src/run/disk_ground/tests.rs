//! What stands where, on real folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use super::*;
use crate::hash::Digest;
use crate::name::{AttemptId, RelPath, RunId};
use crate::record::cache::{Cache, Keep};
use crate::record::record::Made;
use crate::run::bracket::{Bracketed, Fault, Open, Output, Work, begin, done, fail, settle};
use crate::run::recover::{Unsettled, recover};

struct Place {
    dir: tempfile::TempDir,
    outside: Vec<PathBuf>,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap(), outside: Vec::new() }
    }

    fn ground(&self) -> DiskGround {
        let dir = self.dir.path();
        DiskGround::open(dir, &dir.join(".flow"), "p.yaml", &self.outside, "2026-11-25").unwrap()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join(path)).ok()
    }

    fn made(&self, path: &str) -> Made {
        let full = self.dir.path().join(path);
        let folder = Beneath::workspace(full.parent().unwrap()).unwrap();
        let stamp = stamp_of(&folder.stat(full.file_name().unwrap().to_str().unwrap()).unwrap().unwrap());
        let bytes = fs::read(full).unwrap();
        let what = Tree::File { digest: Digest::of(&bytes), executable: false, bytes: bytes.len() as u64 };
        Made { path: RelPath::normal(path).unwrap(), what, stamp }
    }

    fn entries(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.dir.path().join(path)) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn attempt(n: u16) -> AttemptId {
    AttemptId { run: RunId { number: 8, nonce: 0 }, task: "t".into(), n }
}

fn outputs(paths: &[&str]) -> Vec<Output> {
    paths.iter().map(|path| Output { path: RelPath::normal(path).unwrap(), persist: false }).collect()
}

fn open(ground: &mut DiskGround, n: u16, paths: &[&str], last: &[Made]) -> Result<Open, Fault> {
    begin(ground, &Bracketed { attempt: &attempt(n), outputs: &outputs(paths), last, work: Work::Command }, |_| Ok(()))
}

fn close(ground: &mut DiskGround, n: u16, opened: Open, made: &[Made]) -> Vec<String> {
    let closed = done(ground, &attempt(n), opened, made, |_| Ok(())).unwrap();
    settle(ground, vec![closed]).unwrap()
}

fn give_up(ground: &mut DiskGround, n: u16, paths: &[&str], last: &[Made], opened: Open) -> crate::run::bracket::Failed {
    fail(ground, &Bracketed { attempt: &attempt(n), outputs: &outputs(paths), last, work: Work::Command }, opened, |_| Ok(())).unwrap()
}

#[test]
fn a_failure_keeps_stamps_and_what_was_written() {
    let place = Place::new();
    place.write("a/f", "old");
    let last = [place.made("a/f")];
    let mut ground = place.ground();
    let opened = open(&mut ground, 1, &["a/f"], &last).unwrap();
    assert_eq!(place.read("a/f"), None);
    assert_eq!(place.read(".flow/p.yaml/aside/a/f").unwrap(), "old");
    place.write("a/f", "half");
    let failed = give_up(&mut ground, 1, &["a/f"], &last, opened);
    assert_eq!(failed.wrote[0].place, ".flow/p.yaml/failed/t/8.1/a/f");
    assert_eq!(place.read(&failed.wrote[0].place).unwrap(), "half");
    assert_eq!(place.read("a/f").unwrap(), "old");
    // The digest goes over to the stamp the renames left.
    assert_eq!(failed.back[0].stamp, Some(place.made("a/f").stamp));
    assert_eq!(place.entries(".flow/p.yaml"), ["failed"]);
}

#[test]
fn only_the_newest_failure_stays_and_a_success_removes_it() {
    let place = Place::new();
    let mut ground = place.ground();
    for n in [1, 2] {
        let opened = open(&mut ground, n, &["f"], &[]).unwrap();
        place.write("f", "half");
        if n == 2 {
            give_up(&mut ground, n, &["f"], &[], opened);
        }
    }
    assert_eq!(place.entries(".flow/p.yaml/failed/t"), ["8.2"]);
    // Another process.
    let mut ground = place.ground();
    let opened = open(&mut ground, 1, &["f"], &[]).unwrap();
    place.write("f", "new");
    close(&mut ground, 1, opened, &[place.made("f")]);
    assert_eq!(place.entries(".flow/p.yaml"), [""; 0]);
}

#[test]
fn what_is_not_flows_is_kept_and_never_over_another() {
    let place = Place::new();
    for content in ["one", "two"] {
        let mut ground = place.ground();
        place.write("d/f", content);
        let opened = open(&mut ground, 1, &["d/f"], &[]).unwrap();
        assert_eq!(opened.kept.len(), 1);
        place.write("d/f", "new");
        assert_eq!(close(&mut ground, 1, opened, &[place.made("d/f")]), [""; 0]);
        fs::remove_file(place.dir.path().join("d/f")).unwrap();
    }
    assert_eq!(place.read(".flow/kept/2026-11-25-changed/d/f").unwrap(), "one");
    assert_eq!(place.read(".flow/kept/2026-11-25-changed.2/d/f").unwrap(), "two");
    // A file where a folder is needed.
    let mut ground = place.ground();
    fs::remove_dir_all(place.dir.path().join("d")).unwrap();
    place.write("d", "three");
    open(&mut ground, 1, &["d"], &[]).unwrap();
    assert_eq!(place.read(".flow/kept/2026-11-25-changed.3/d").unwrap(), "three");
    // The same bytes again: nothing to keep.
    place.write("g", "same");
    let opened = open(&mut ground, 1, &["g"], &[]).unwrap();
    place.write("g", "same");
    let dropped = close(&mut ground, 1, opened, &[place.made("g")]);
    assert_eq!(dropped, [".flow/kept/2026-11-25-changed/g"]);
    assert_eq!(place.entries(".flow/kept/2026-11-25-changed"), ["d"]);
}

#[test]
fn a_link_out_of_the_workspace_needs_outside() {
    let mut place = Place::new();
    let other = tempfile::tempdir().unwrap();
    symlink(other.path(), place.dir.path().join("data")).unwrap();
    fs::write(other.path().join("f"), "old").unwrap();
    let last = [place.made("data/f")];
    assert!(open(&mut place.ground(), 1, &["data/f"], &last).unwrap_err().to_string().contains("outside"));
    let absolute = other.path().join("f").to_str().unwrap().to_string();
    assert!(open(&mut place.ground(), 1, &[&absolute], &[]).is_err());

    place.outside.push(other.path().to_path_buf());
    let mut ground = place.ground();
    let opened = open(&mut ground, 1, &["data/f", "data/new/g"], &last).unwrap();
    assert_eq!(place.entries(".flow/p.yaml/aside/data"), ["f"]);
    place.write("data/f", "new");
    place.ground().reader().unwrap()("data/f").unwrap();
    assert!(place.ground().reader().unwrap()("data/none").is_err());
    assert!(other.path().join("new").is_dir());
    give_up(&mut ground, 1, &["data/f"], &last, opened);
    assert_eq!(place.read("data/f").unwrap(), "old");

    let made = Made { path: RelPath::normal(&absolute).unwrap(), ..place.made("data/f") };
    let opened = open(&mut ground, 1, &[&absolute], std::slice::from_ref(&made)).unwrap();
    assert_eq!(opened.aside.len(), 1);
    assert!(!other.path().join("f").exists());
    let mut ground = place.ground();
    assert_eq!(ground.tops().unwrap().len(), 1);
    let unsettled = Unsettled {
        task: "t".into(),
        attempt: Some(attempt(1)),
        open: true,
        closed: false,
        outputs: outputs(&[&absolute]),
        last: Some(std::slice::from_ref(&made)),
        restoring: None,
    };
    let did = recover(&mut ground, vec![unsettled], &[], &mut |_| None, &mut |_, _| Ok(())).unwrap();
    assert_eq!(did[0].back, [absolute]);
    assert!(other.path().join("f").exists());
}

#[test]
fn odd_paths_mirror() {
    for path in ["a/b", "/a/b", "../a/b", "../../a", "%/a", "%..a", "../%/a"] {
        let place = Place::new();
        let ground = place.ground();
        let at = format!("aside/{}", encoded(path));
        ground.own.make_folder(at.rsplit_once('/').unwrap().0).unwrap();
        ground.own.create_file(&at).unwrap();
        let mut ground = ground;
        let tops = ground.tops().unwrap();
        assert!(
            tops.iter().all(|top| path == top || path.strip_prefix(top.as_str()).is_some_and(|rest| rest.starts_with('/'))),
            "{path} {tops:?}"
        );
        assert_eq!(tops.len(), 1);
    }
}

/// A folder on another mount, if this machine has one.
fn other_mount(place: &Place) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir_in("/dev/shm").ok()?;
    let dev = |path: &Path| rustix::fs::stat(path).unwrap().st_dev;
    (dev(dir.path()) != dev(place.dir.path())).then_some(dir)
}

#[test]
fn on_another_mount_it_stays_beside() {
    let mut place = Place::new();
    let Some(other) = other_mount(&place) else { return };
    place.outside.push(other.path().to_path_buf());
    symlink(other.path(), place.dir.path().join("data")).unwrap();
    let names = || {
        let mut names: Vec<String> =
            fs::read_dir(other.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    fs::write(other.path().join("f"), "old").unwrap();
    let last = [place.made("data/f")];
    let mut ground = place.ground();
    open(&mut ground, 1, &["data/f"], &last).unwrap();
    assert_eq!(names(), [".flow-aside.f"]);
    assert_eq!(fs::read_link(place.dir.path().join(".flow/p.yaml/aside/data/f")).unwrap().to_str(), Some("data/.flow-aside.f"));
    place.write("data/f", "half");

    // The next process finds it.
    let unsettled = |last| Unsettled {
        task: "t".into(),
        attempt: Some(attempt(1)),
        open: true,
        closed: false,
        outputs: outputs(&["data/f"]),
        last: Some(last),
        restoring: None,
    };
    let mut ground = place.ground();
    let did = recover(&mut ground, vec![unsettled(&last)], &[], &mut |_| None, &mut |_, _| Ok(())).unwrap();
    assert_eq!(did[0].back, ["data/f"]);
    assert_eq!(place.read("data/f").unwrap(), "old");
    assert_eq!(place.entries(".flow/p.yaml"), ["failed"]);

    // A retry, a failure, a hand edit, a success.
    let last = [place.made("data/f")];
    let opened = open(&mut ground, 1, &["data/f"], &last).unwrap();
    place.write("data/f", "half");
    let mut again = open(&mut ground, 2, &["data/f"], &last).unwrap();
    again.join(Some(opened));
    place.write("data/f", "half again");
    give_up(&mut ground, 2, &["data/f"], &last, again);
    assert_eq!(place.read("data/f").unwrap(), "old");
    place.write("data/f", "by hand");
    let opened = open(&mut ground, 1, &["data/f"], &last).unwrap();
    assert_eq!(opened.kept.len(), 1);
    place.write("data/f", "new");
    let last = [place.made("data/f")];
    close(&mut ground, 1, opened, &last);
    let opened = open(&mut ground, 1, &["data/f"], &last).unwrap();
    place.write("data/f", "newer");
    close(&mut ground, 1, opened, &[place.made("data/f")]);
    assert_eq!(place.read("data/f").unwrap(), "newer");
    // What was kept, and what an interrupted attempt wrote, are still there; nothing else is.
    let contents: Vec<String> = names().iter().map(|name| fs::read_to_string(other.path().join(name)).unwrap()).collect();
    assert_eq!(contents.len(), 3, "{:?}", names());
    for content in ["by hand", "half", "newer"] {
        assert!(contents.contains(&content.to_string()), "{content}");
    }
    assert_eq!(place.entries(".flow/p.yaml"), [""; 0]);
}

#[test]
fn an_old_output_is_lent_to_the_cache() {
    let place = Place::new();
    let cache = Arc::new(Cache::local(&place.dir.path().join(".flow/cache"), Keep::Auto, 1));
    let mut ground = place.ground();
    let lend = cache.clone();
    ground.lend_to(Box::new(move |folder, path, what| lend.adopt(folder, path, what)));
    let big = "x".repeat(100_000);
    place.write("f", &big);
    let last = [place.made("f")];
    let opened = open(&mut ground, 1, &["f"], &last).unwrap();
    place.write("f", "new");
    close(&mut ground, 1, opened, &[place.made("f")]);
    assert_eq!(cache.lacks(&[&last[0].what]), [0; 0]);
    assert_eq!(place.entries(".flow/p.yaml"), [""; 0]);
}

#[test]
fn a_folder_with_odd_names_makes_way_as_a_whole() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    fs::create_dir(place.dir.path().join("d")).unwrap();
    fs::write(place.dir.path().join("d").join(std::ffi::OsStr::from_bytes(b"\xff")), "odd").unwrap();
    let last = [Made { path: RelPath::normal("d").unwrap(), what: Tree::Folder(Vec::new()), stamp: Stamp::default() }];
    let mut ground = place.ground();
    let opened = open(&mut ground, 1, &["d"], &last).unwrap();
    assert_eq!(opened.kept.len(), 1);
    fs::create_dir(place.dir.path().join("d")).unwrap();
    fs::write(place.dir.path().join("d").join(std::ffi::OsStr::from_bytes(b"\xfe")), "odd").unwrap();
    give_up(&mut ground, 1, &["d"], &[], opened);
    assert_eq!(place.entries(".flow/p.yaml/failed/t/8.1"), ["d"]);
    let opened = open(&mut ground, 2, &["d"], &[]).unwrap();
    close(&mut ground, 2, opened, &[]);
    assert_eq!(place.entries(".flow/p.yaml"), [""; 0]);
}
