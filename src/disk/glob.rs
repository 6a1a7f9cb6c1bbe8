//! Globs, answered from disk.
//!
//! Must hold: what is found is what [`Pattern::matches`] says of the paths that are there, and a file
//! that is added, removed or renamed later so that the answer changes moves one of the stamps in
//! [`Globbed::walked`].

use rustix::io::Errno;

use crate::hash::{Kind, Stamp};
use crate::name::RelPath;
use crate::pattern::{Part, Pattern, Places};

use super::fault::{DiskFault, shown};
use super::list::{Entry, Listing};
use super::{Disk, child};

/// What a glob found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Globbed {
    /// Files (of a pattern that ends in `/`: folders), sorted bytewise.
    pub paths: Vec<RelPath>,
    /// What the answer rests on, sorted: the folders that were listed with their stamps, and what a
    /// plain part of the pattern or a link led to where nothing fitting was (`None`: nothing at
    /// all). As long as these stamps (links followed) stand, so does the answer.
    pub walked: Vec<(RelPath, Option<Stamp>)>,
    /// Whether all listings are final; if not, [`Disk::settle_all`] takes them again.
    pub settled: bool,
}

/// A folder on the way, and how far each branch of the pattern is in it.
type Step = (RelPath, Vec<(usize, Places)>);

impl Disk {
    /// What a pattern means on disk. `exclude` takes files away; one that ends in `/` or has no
    /// wildcard takes a folder away with all below it. Links are followed where a part of the
    /// pattern names or matches them, but never by `**`.
    pub fn glob(&self, pattern: &Pattern, exclude: &[Pattern]) -> Result<Globbed, DiskFault> {
        let mut walk = Walk { disk: self, pattern, exclude, open: Vec::new(), found: Globbed { settled: true, ..Globbed::default() } };
        for (at, branch) in pattern.branches().iter().enumerate() {
            let base = RelPath(branch.base().into());
            if walk.is_below_excluded(&base) {
                continue;
            }
            match walk.open.iter_mut().find(|(folder, _)| *folder == base) {
                Some((_, places)) => places.push((at, branch.start())),
                None => walk.open.push((base, vec![(at, branch.start())])),
            }
        }
        while let Some((folder, places)) = walk.open.pop() {
            walk.enter(&folder, &places)?;
        }
        let Walk { mut found, .. } = walk;
        found.paths.sort_unstable();
        found.paths.dedup();
        found.walked.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found.walked.dedup_by(|a, b| a.0 == b.0);
        Ok(found)
    }
}

struct Walk<'a> {
    disk: &'a Disk,
    pattern: &'a Pattern,
    exclude: &'a [Pattern],
    open: Vec<Step>,
    found: Globbed,
}

impl Walk<'_> {
    /// Goes through one folder: by its listing if a wildcard asks for it, else by names.
    fn enter(&mut self, folder: &RelPath, places: &[(usize, Places)]) -> Result<(), DiskFault> {
        let branches = self.pattern.branches();
        let parts = || places.iter().filter_map(|(at, places)| branches.get(*at).map(|branch| (branch, *places)));
        let next: Vec<&Part> = parts().flat_map(|(branch, places)| branch.next_parts(places)).collect();
        if next.iter().all(|part| part.name().is_some()) {
            let mut names: Vec<&str> = next.iter().filter_map(|part| part.name()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let to = self.step(places, name, true);
                self.arrive(child(folder, name), None, to)?;
            }
            return Ok(());
        }
        let listing = match self.disk.list(folder) {
            Ok(Some(listing)) => listing,
            Ok(None) => {
                self.found.walked.push((folder.clone(), None));
                return Ok(());
            }
            Err(DiskFault::NotAFolder { .. }) => {
                let stamp = self.disk.stamp(folder, true)?;
                self.found.walked.push((folder.clone(), stamp));
                return Ok(());
            }
            Err(fault) => return Err(fault),
        };
        self.found.walked.push((folder.clone(), Some(listing.stamp)));
        self.found.settled &= listing.settled;
        for entry in candidates(&listing, &next) {
            let to = self.step(places, &entry.name, entry.kind == Kind::Folder);
            if !to.is_empty() {
                self.arrive(child(folder, &entry.name), Some(entry.kind), to)?;
            }
        }
        for name in &listing.odd {
            // Only a name that is meant is a fault.
            if !self.step(places, &String::from_utf8_lossy(name), false).is_empty() {
                return Err(DiskFault::NotUtf8 { folder: folder.as_str().into(), name: shown(name) });
            }
        }
        Ok(())
    }

    fn step(&self, places: &[(usize, Places)], name: &str, through: bool) -> Vec<(usize, Places)> {
        let branches = self.pattern.branches();
        let to = places.iter().filter_map(|(at, from)| {
            let places = branches.get(*at)?.step(*from, name, through);
            (!places.is_empty()).then_some((*at, places))
        });
        to.collect()
    }

    /// Looks at what the pattern has led to. `kind` is what the listing said of it.
    fn arrive(&mut self, path: RelPath, kind: Option<Kind>, places: Vec<(usize, Places)>) -> Result<(), DiskFault> {
        // A name that no listing gave, and a link, must be looked at, and watched if they do not fit.
        let mut looked = None;
        let kind = match kind {
            Some(kind) if kind != Kind::Link => kind,
            _ => {
                let stamp = match self.disk.stamp(&path, true) {
                    Err(DiskFault::System { error: Errno::LOOP, .. }) => None,
                    stamp => stamp?,
                };
                looked = Some(stamp);
                stamp.map_or(Kind::Other, |stamp| stamp.kind())
            }
        };
        let branches = self.pattern.branches();
        let any = |test: fn(&crate::pattern::Branch, Places) -> bool| {
            places.iter().any(|(at, places)| branches.get(*at).is_some_and(|branch| test(branch, *places)))
        };
        let is_end = any(|branch, places| branch.is_end(places));
        let goes_on = any(|branch, places| branch.goes_on(places));
        let wanted = if self.pattern.folders_only() { Kind::Folder } else { Kind::File };
        if let Some(stamp) = looked
            && ((is_end && kind != wanted) || (goes_on && kind != Kind::Folder))
        {
            self.found.walked.push((path.clone(), stamp));
        }
        if self.is_excluded(path.as_str(), kind) {
            return Ok(());
        }
        if goes_on && kind == Kind::Folder {
            self.open.push((path.clone(), places));
        }
        if is_end && kind == wanted {
            self.found.paths.push(path);
        }
        Ok(())
    }

    fn is_excluded(&self, path: &str, kind: Kind) -> bool {
        self.exclude.iter().any(|pattern| match kind {
            Kind::Folder => (pattern.folders_only() || pattern.is_literal()) && pattern.finds(path),
            _ => pattern.matches(path),
        })
    }

    fn is_below_excluded(&self, folder: &RelPath) -> bool {
        let mut at = Some(folder.clone());
        while let Some(folder) = at {
            if self.is_excluded(folder.as_str(), Kind::Folder) {
                return true;
            }
            at = folder.parent();
        }
        false
    }
}

/// The members that may be meant: if the next part can only be one name with wildcards, those that
/// begin as it does.
fn candidates<'a>(listing: &'a Listing, next: &[&Part]) -> &'a [Entry] {
    match next {
        [Part::Wild(wild)] => listing.beginning(&wild.beginning()),
        _ => &listing.entries,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::disk::tests::{disk, path};

    fn found(disk: &Disk, pattern: &str, exclude: &[&str]) -> Vec<String> {
        let exclude: Vec<Pattern> = exclude.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let found = disk.glob(&Pattern::parse(pattern).unwrap(), &exclude).unwrap();
        found.paths.iter().map(|path| path.to_string()).collect()
    }

    fn walked(disk: &Disk, pattern: &str) -> Vec<(String, bool)> {
        let found = disk.glob(&Pattern::parse(pattern).unwrap(), &[]).unwrap();
        found.walked.iter().map(|(path, stamp)| (path.to_string(), stamp.is_some())).collect()
    }

    fn fill(dir: &tempfile::TempDir, files: &[&str]) {
        for file in files {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    }

    #[test]
    fn files_folders_and_what_is_left_out() {
        let (dir, disk) = disk();
        fill(&dir, &["a.csv", "b.txt", ".h.csv", "r/a.csv", "r/s/b.csv", "r/.h/c.csv", "__pycache__/d.csv", ".git/e.csv", "r/.flow/f.csv"]);
        fs::create_dir(dir.path().join("d.csv")).unwrap();
        assert_eq!(found(&disk, "*.csv", &[]), ["a.csv"]);
        assert_eq!(found(&disk, "**/*.csv", &[]), ["a.csv", "r/a.csv", "r/s/b.csv"]);
        assert_eq!(found(&disk, "r/**", &[]), ["r/a.csv", "r/s/b.csv"]);
        assert_eq!(found(&disk, "*/", &[]), ["d.csv", "r"]);
        assert_eq!(found(&disk, "r/.h/*", &[]), ["r/.h/c.csv"]);
        assert_eq!(found(&disk, "__pycache__/*", &[]), ["__pycache__/d.csv"]);
        assert_eq!(found(&disk, "{a,b}.{csv,txt}", &[]), ["a.csv", "b.txt"]);
        assert_eq!(found(&disk, "{r/*,*/a}.csv", &[]), ["r/a.csv"]);
        assert_eq!(found(&disk, "r/s/../a.csv", &[]), ["r/a.csv"]);
        let outside = dir.path().join("r").display().to_string();
        assert_eq!(found(&disk, &format!("{outside}/*.csv"), &[]), [format!("{outside}/a.csv")]);
    }

    #[test]
    fn what_is_excluded() {
        let (dir, disk) = disk();
        fill(&dir, &["lua.o", "l1.o", "v/l2.o", "v/w/l3.o"]);
        assert_eq!(found(&disk, "l*.o", &["lua.o"]), ["l1.o"]);
        assert_eq!(found(&disk, "**/*.o", &["v/"]), ["l1.o", "lua.o"]);
        assert_eq!(found(&disk, "**/*.o", &["v"]), ["l1.o", "lua.o"]);
        assert_eq!(found(&disk, "**/*.o", &["*/"]), ["l1.o", "lua.o"]);
        assert_eq!(found(&disk, "**/*.o", &["v/*"]), ["l1.o", "lua.o", "v/w/l3.o"]);
        assert_eq!(found(&disk, "v/w/*.o", &["v/"]), [""; 0]);
    }

    #[test]
    fn links_are_followed_where_they_are_meant() {
        let (dir, disk) = disk();
        fill(&dir, &["r/a.csv"]);
        symlink("r", dir.path().join("link")).unwrap();
        symlink(".", dir.path().join("r/loop")).unwrap();
        symlink("a.csv", dir.path().join("r/b.csv")).unwrap();
        symlink("gone", dir.path().join("r/c.csv")).unwrap();
        symlink("d.csv", dir.path().join("r/d.csv")).unwrap();
        assert_eq!(found(&disk, "**/*.csv", &[]), ["r/a.csv", "r/b.csv"]);
        assert_eq!(found(&disk, "*/a.csv", &[]), ["link/a.csv", "r/a.csv"]);
        assert_eq!(found(&disk, "link/*.csv", &[]), ["link/a.csv", "link/b.csv"]);
        assert_eq!(walked(&disk, "r/*.csv"), [("r".into(), true), ("r/c.csv".into(), false), ("r/d.csv".into(), false)]);
    }

    #[test]
    fn the_answer_rests_on_stamps() {
        let (dir, disk) = disk();
        disk.probe(dir.path());
        fill(&dir, &["a/out/x", "b/y", "c", "d/out"]);
        assert_eq!(walked(&disk, "gone/*"), [("gone".into(), false)]);
        assert_eq!(walked(&disk, "c/*"), [("c".into(), true)]);
        // The literal part behind a wildcard: missing in `b`, a file in `d`.
        assert_eq!(walked(&disk, "*/out/x"), [(".".into(), true), ("b/out".into(), false), ("d/out".into(), true)]);
        assert_eq!(walked(&disk, "{c,e}"), [("e".into(), false)]);

        let mut rng = fastrand::Rng::with_seed(4);
        let pattern = ["*/out/x", "**/x", "{a,b}*/**/[xy]", "b/*", "gone/*", "*/out/*"].map(|text| Pattern::parse(text).unwrap());
        let mut last: Vec<Option<Globbed>> = vec![None; pattern.len()];
        for _ in 0..150 {
            let at =
                format!("{}/{}", rng.choice(["a", "b", "ab", "gone"]).unwrap(), rng.choice(["out", "x", "y", "out/x", "z/y"]).unwrap());
            let at = dir.path().join(at);
            if rng.bool() {
                let _ = fs::create_dir_all(at.parent().unwrap()).and_then(|()| fs::write(&at, ""));
            } else {
                let _ = if at.is_dir() { fs::remove_dir_all(&at) } else { fs::remove_file(&at) };
            }
            for (pattern, last) in pattern.iter().zip(&mut last) {
                let now = disk.glob(pattern, &[]).unwrap();
                if let Some(last) = last
                    && last.settled
                {
                    let stands = |(path, stamp): &(RelPath, Option<Stamp>)| disk.stamp(path, true).unwrap() == *stamp;
                    let files = |paths: &[RelPath]| paths.iter().all(|path| disk.stamp(path, true).unwrap().is_some());
                    if last.walked.iter().all(stands) && files(&last.paths) {
                        assert_eq!(last.paths, now.paths, "{pattern}");
                    }
                }
                *last = Some(now);
            }
        }
    }

    #[test]
    fn agrees_with_the_pattern() {
        let (dir, disk) = disk();
        disk.probe(dir.path());
        let mut rng = fastrand::Rng::with_seed(5);
        let names = ["a", "b", ".c", "ab", "__pycache__"];
        let mut files = Vec::new();
        for _ in 0..120 {
            let parts: Vec<&str> = (0..rng.usize(1..5)).map(|_| *rng.choice(&names).unwrap()).collect();
            let (name, file) = (parts.join("/"), dir.path().join(parts.join("/")));
            if !file.exists() && fs::create_dir_all(file.parent().unwrap()).is_ok() && fs::write(&file, "").is_ok() {
                files.push(name);
            }
        }
        files.sort();
        let parts = ["a", "b", ".c", "*", "?", "a*", "**", "[ab]", "{a,b}", ".*", "__pycache__", "{a,*/b}"];
        let mut count = 0;
        for _ in 0..400 {
            let text: Vec<&str> = (0..rng.usize(1..5)).map(|_| *rng.choice(&parts).unwrap()).collect();
            let text = text.join("/");
            let pattern = Pattern::parse(&text).unwrap();
            let want: Vec<&String> = files.iter().filter(|path| pattern.matches(path)).collect();
            count += want.len();
            assert_eq!(found(&disk, &text, &[]).iter().collect::<Vec<_>>(), want, "{text}");
        }
        assert!(count > 300, "only {count}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn odd_names_only_where_they_are_meant() {
        let (dir, disk) = disk();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"a\xff.txt")), "").unwrap();
        fs::write(dir.path().join("b.csv"), "").unwrap();
        assert_eq!(found(&disk, "*.csv", &[]), ["b.csv"]);
        let fault = disk.glob(&Pattern::parse("*.txt").unwrap(), &[]).unwrap_err();
        assert_eq!(fault.to_string(), "a name in `.` is not UTF-8: `a\\xFF.txt`; rename it");
    }

    #[test]
    fn deep_folders() {
        let (dir, disk) = disk();
        let deep = vec!["dd"; 300].join("/");
        fs::create_dir_all(dir.path().join(&deep)).unwrap();
        fs::write(dir.path().join(&deep).join("f"), "").unwrap();
        assert_eq!(found(&disk, "**/f", &[]), [format!("{deep}/f")]);
        assert_eq!(path(&deep).as_str(), deep);
    }
}
