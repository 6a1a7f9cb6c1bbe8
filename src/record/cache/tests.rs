//! What the cache promises, on both stores and on real files.

use super::*;
use crate::attempt::{Cause, Ended, Usage};
use crate::name::{RelPath, RunId};
use crate::record::manifest::Manifest;
use crate::record::record::Member;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn key(text: &str) -> Key {
    Key(Digest::of(text.as_bytes()))
}

fn record(key: Key, outputs: Vec<Made>) -> Record {
    Record {
        key,
        manifest: Manifest::default(),
        outputs,
        found: Vec::new(),
        nonce: 0,
        ended: Ended { cause: Cause::Success, usage: Usage::default() },
        run: RunId { number: 1, nonce: 1 },
        at: 0,
    }
}

/// What stands there, as a record says it.
fn tree(path: &Path) -> (Tree, Stamp) {
    let folder = Beneath::open(path.parent().unwrap()).unwrap();
    let stamp = stat(&folder, path.file_name().unwrap().to_str().unwrap()).unwrap();
    let what = if path.is_symlink() {
        Tree::Link(std::fs::read_link(path).unwrap().to_str().unwrap().into())
    } else if path.is_dir() {
        let mut members = Vec::new();
        let mut look = vec![String::new()];
        while let Some(folder) = look.pop() {
            for entry in std::fs::read_dir(path.join(&folder)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if path.join(&name).is_dir() {
                    look.push(name.clone());
                    members.push(Member { name, what: Tree::Folder(Vec::new()), stamp: Stamp::default() });
                } else {
                    let (what, stamp) = tree(&path.join(&name));
                    members.push(Member { name, what, stamp });
                }
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Tree::Folder(members)
    } else {
        let bytes = std::fs::read(path).unwrap();
        Tree::File { digest: Digest::of(&bytes), executable: stamp.executable(), bytes: bytes.len() as u64 }
    };
    (what, stamp)
}

fn made(dir: &Path, name: &str) -> Made {
    let (what, stamp) = tree(&dir.join(name));
    Made { path: RelPath::normal(name).unwrap(), what, stamp }
}

fn save(cache: &Cache, dir: &Path, record: &Record) {
    let (_, permit) = cache.lookup(&record.key).parts();
    let folder = Beneath::workspace(dir).unwrap();
    cache.save(permit, record, &|path| folder.read(path));
}

/// Restores all of a record into a folder.
fn restore(cache: &Cache, key: &Key, dir: &Path) -> Result<(), Lost> {
    let (records, _) = cache.lookup(key).parts();
    let stored = records.first().expect("a record");
    let folder = Beneath::workspace(dir).unwrap();
    for made in &stored.record.outputs {
        let stamp = cache.restore(stored, &made.what, &folder, made.path.as_str())?;
        assert_eq!(stamp.kind(), made.what.kind().into_iter().next().unwrap());
        if let Tree::Folder(members) = &made.what {
            for member in members {
                cache.restore(stored, &member.what, &folder, &format!("{}/{}", made.path, member.name))?;
            }
        }
    }
    Ok(())
}

fn outputs(dir: &Path) -> Vec<Made> {
    std::fs::write(dir.join("plain"), "plain".repeat(300)).unwrap();
    std::fs::write(dir.join("run"), "#!".repeat(600)).unwrap();
    std::fs::set_permissions(dir.join("run"), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(dir.join("big"), vec![7; 300_000]).unwrap();
    std::os::unix::fs::symlink("no/where", dir.join("link")).unwrap();
    std::fs::create_dir_all(dir.join("folder/a/empty")).unwrap();
    std::fs::write(dir.join("folder/a/f"), "plain".repeat(300)).unwrap();
    ["plain", "run", "big", "link", "folder"].map(|name| made(dir, name)).to_vec()
}

#[test]
fn what_is_saved_comes_back() {
    #[expect(clippy::type_complexity, reason = "two ways to make a store")]
    let stores: [fn(&Path) -> Box<dyn Store>; 2] = [|dir| Box::new(Local::open(dir).unwrap()), |_| Box::new(Memory::new())];
    for store in stores {
        let (dir, back, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache::new(store(at.path()), Keep::Auto, 1);
        let record = record(key("k"), outputs(dir.path()));
        assert!(matches!(cache.lookup(&record.key), Lookup::Miss(_)));
        save(&cache, dir.path(), &record);
        assert_eq!(cache.warning(), None);
        assert!(cache.can_restore(&record, &record.outputs.iter().map(|made| &made.what).collect::<Vec<_>>()));
        restore(&cache, &record.key, back.path()).unwrap();
        for made in &record.outputs {
            assert_eq!(tree(&back.path().join(made.path.as_str())).0.content(), made.what.content());
        }
        assert_eq!(cache.lookup(&record.key).parts().0[0].record, record);
    }
}

#[test]
fn blobs_are_read_only_files_of_their_own() {
    let (dir, back, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache::local(at.path(), Keep::Auto, 1);
    let record = record(key("k"), outputs(dir.path()));
    save(&cache, dir.path(), &record);
    restore(&cache, &record.key, back.path()).unwrap();
    // Neither the file it was made of nor the one made of it reaches into the blob.
    for (place, name) in [(&dir, "plain"), (&back, "plain"), (&dir, "big"), (&back, "big")] {
        std::fs::write(place.path().join(name), "other").unwrap();
    }
    let again = tempfile::tempdir().unwrap();
    restore(&cache, &record.key, again.path()).unwrap();
    assert_eq!(std::fs::read(again.path().join("plain")).unwrap(), "plain".repeat(300).as_bytes());
    let mode = std::fs::metadata(at.path().join("v1").join(blob(&record.outputs[1].what))).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777 & !0o444, 0);
    let shard = at.path().join("v1").join(blob(&record.outputs[1].what)).parent().unwrap().to_path_buf();
    assert!(std::fs::read_dir(shard).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with(".new")));
}

fn blob(what: &Tree) -> String {
    let Tree::File { digest, .. } = what else { panic!("no file") };
    let hex = digest.hex();
    format!("blobs/{}/{}", &hex[..1], &hex[1..])
}

#[test]
fn a_damaged_blob_is_found_and_removed() {
    for boot in [1, 2] {
        let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache::local(at.path(), Keep::Auto, 1);
        let record = record(key("k"), outputs(dir.path()));
        save(&cache, dir.path(), &record);
        let cache = Cache::local(at.path(), Keep::Auto, boot);
        let blob = at.path().join("v1").join(blob(&record.outputs[0].what));
        std::fs::set_permissions(&blob, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&blob, "PLAIN").unwrap();
        let back = tempfile::tempdir().unwrap();
        assert!(matches!(restore(&cache, &record.key, back.path()), Err(Lost::Damaged(path)) if path == "plain"));
        assert!(!blob.exists());
        let back = tempfile::tempdir().unwrap();
        assert!(matches!(restore(&cache, &record.key, back.path()), Err(Lost::Missing(path)) if path == "plain"));
        // Two outputs hold it.
        assert_eq!(cache.lacks(&record.outputs.iter().map(|made| &made.what).collect::<Vec<_>>()), [0, 4]);
    }
}

#[test]
fn a_blob_that_was_there_before_is_not_believed() {
    let (dir, at, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache::local(at.path(), Keep::Auto, 1);
    let record = record(key("k"), outputs(dir.path()));
    let blob = at.path().join("v1").join(blob(&record.outputs[0].what));
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::fs::write(&blob, "w".repeat(1500)).unwrap();
    save(&cache, dir.path(), &record);
    assert!(matches!(restore(&cache, &record.key, back.path()), Err(Lost::Damaged(_))));
    save(&cache, dir.path(), &record);
    restore(&cache, &record.key, tempfile::tempdir().unwrap().path()).unwrap();
}

#[test]
fn a_file_that_changed_since_is_not_stored() {
    let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache::local(at.path(), Keep::Auto, 1);
    std::fs::write(dir.path().join("f"), "one").unwrap();
    let record = record(key("k"), vec![made(dir.path(), "f")]);
    std::fs::write(dir.path().join("f"), "two!").unwrap();
    save(&cache, dir.path(), &record);
    assert_eq!(cache.lacks(&[&record.outputs[0].what]), [0]);
    assert_eq!(cache.lookup(&record.key).parts().0.len(), 1);
}

#[test]
fn a_key_may_have_several_records() {
    for store in [Box::new(Memory::new()) as Box<dyn Store>, Box::new(Local::open(tempfile::tempdir().unwrap().path()).unwrap())] {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(store, Keep::Auto, 1);
        let mut one = record(key("k"), Vec::new());
        let header = |text: &str| vec![(RelPath::normal("a.h").unwrap(), Content::Is(Digest::of(text.as_bytes())))];
        one.found = header("1");
        save(&cache, dir.path(), &one);
        one.found = header("2");
        save(&cache, dir.path(), &one);
        one.nonce = 5;
        save(&cache, dir.path(), &one);
        let records = cache.lookup(&one.key).parts().0;
        assert_eq!(records.len(), 2);
        assert!(records.iter().any(|stored| stored.record == one));
        cache.used(&records[0]);
        assert!(matches!(cache.lookup(&key("other")), Lookup::Miss(_)));
    }
}

#[test]
fn a_big_file_is_lent() {
    let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache::local(at.path(), Keep::Auto, 1);
    let big = dir.path().join("f");
    std::fs::File::create(&big).unwrap().set_len(COPIED + 1).unwrap();
    std::fs::set_permissions(&big, PermissionsExt::from_mode(0o755)).unwrap();
    let record = record(key("k"), vec![made(dir.path(), "f")]);
    save(&cache, dir.path(), &record);
    let folder = Beneath::open(dir.path()).unwrap();
    if cache.lacks(&[&record.outputs[0].what]).is_empty() {
        return; // this file system shares blocks
    }
    std::fs::hard_link(&big, dir.path().join("g")).unwrap();
    assert!(!cache.adopt(&folder, "f", &record.outputs[0].what));
    std::fs::remove_file(dir.path().join("g")).unwrap();
    assert!(cache.adopt(&folder, "f", &record.outputs[0].what));
    assert!(!big.exists());
    restore(&cache, &record.key, dir.path()).unwrap();
    assert_eq!(tree(&big).0, record.outputs[0].what);
    assert!(!cache.adopt(&folder, "f", &record.outputs[0].what));
    assert!(big.exists());
}

#[test]
fn off_and_out_of_order_it_steps_aside() {
    let (dir, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let record = record(key("k"), outputs(dir.path()));
    let off = Cache::new(Box::new(Memory::new()), Keep::Off, 1);
    save(&off, dir.path(), &record);
    assert!(matches!(off.lookup(&record.key), Lookup::Miss(_)));
    assert_eq!(off.warning(), None);

    std::fs::write(at.path().join("file"), "").unwrap();
    let none = Cache::local(&at.path().join("file"), Keep::Auto, 1);
    assert!(none.warning().is_some_and(|warning| warning.contains("file")));
    save(&none, dir.path(), &record);
    assert_eq!(none.warning(), None);

    let cache = Cache::local(&at.path().join("cache"), Keep::Auto, 1);
    std::fs::write(at.path().join("cache/v1/blobs"), "").unwrap();
    save(&cache, dir.path(), &record);
    save(&cache, dir.path(), &record);
    assert!(cache.warning().is_some());
    assert_eq!(cache.warning(), None);
    assert!(matches!(cache.lookup(&record.key), Lookup::Miss(_)));
}

#[test]
fn a_damaged_or_strange_record_is_none() {
    let member = |name: &str, what: Tree| Member { name: name.into(), what, stamp: Stamp::default() };
    let folder = |members: Vec<Member>| {
        let made = Made { path: RelPath::normal("d").unwrap(), what: Tree::Folder(members), stamp: Stamp::default() };
        encode(&Stored { boot: 1, ..Stored::of(record(key("k"), vec![made])) }).unwrap()
    };
    let link = || Tree::Link("x".into());
    let good = folder(vec![member("a", Tree::Folder(Vec::new())), member("a/b", link())]);
    assert!(decode(&good).is_some());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(decode(&bad).is_none());
        assert!(decode(&good[..at]).is_none());
    }
    for name in ["../x", "/x", "", "a/../x", "./x", "a//x", "x/", "a\0b"] {
        assert!(decode(&folder(vec![member(name, link())])).is_none(), "{name}");
    }
    assert!(decode(&folder(vec![member("a", link()), member("a/b", link())])).is_none());
    assert!(decode(&folder(vec![member("b", link()), member("a", link())])).is_none());
}

#[test]
fn the_thread_saves_all() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::new(Box::new(Memory::new()), Keep::Auto, 1));
    let folder = Beneath::workspace(dir.path()).unwrap();
    let saver = Saver::start(cache.clone(), Box::new(move |path| folder.read(path)));
    let keys: Vec<Key> = (0..50).map(|n| key(&n.to_string())).collect();
    for (n, key) in keys.iter().enumerate() {
        let name = format!("f{n}");
        std::fs::write(dir.path().join(&name), &name).unwrap();
        let (_, permit) = cache.lookup(key).parts();
        saver.save(permit, Arc::new(record(*key, vec![made(dir.path(), &name)])));
    }
    saver.finish();
    let back = tempfile::tempdir().unwrap();
    for key in &keys {
        restore(&cache, key, back.path()).unwrap();
    }
    assert_eq!(std::fs::read(back.path().join("f49")).unwrap(), b"f49");
}
