//! What stands at an output, against what a record says of it.
//!
//! Owns the comparison member by member. Moves nothing. Must hold: content decides, never a time.

use crate::hash::{Kind, Stamp};
use crate::pattern::is_flows_own;
use crate::record::record::{Made, Member, Tree};
use crate::run::bracket::{Fault, fault};
use crate::run::ground::{Ground, Side};

/// What stands at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// What the record says; the stamp it has now.
    Same(Stamp),
    /// A folder where the record has one, but not all of it.
    Folder {
        /// The folder's stamp.
        now: Stamp,
        /// Paths of what was changed or added; of an added folder that alone.
        strange: Vec<String>,
        /// Something the record names is not there.
        missing: bool,
    },
    /// Anything else.
    Other,
}

/// Compares what stands at an output path, or at one in a folder output, with what records say of
/// it: `Same` is what the first says, but a file or member is strange only if none of them says so.
/// `hint`: a record whose stamps are good for files of the same content.
pub fn compare<G: Ground>(ground: &mut G, path: &str, said: &[&Made], hint: Option<&Made>) -> Result<Standing, Fault> {
    let look = "look at";
    let Some(now) = ground.stat(Side::Out, path).map_err(fault(look, path))? else { return Ok(Standing::Nothing) };
    if now.kind() != Kind::Folder {
        return Ok(if as_said(ground, path, &now, said, hint)? { Standing::Same(now) } else { Standing::Other });
    }
    if !said.iter().any(|made| matches!(said_at(made, path), Some((Tree::Folder(_), _)))) {
        return Ok(Standing::Other);
    }
    let mut strange = Vec::new();
    let mut seen = 0;
    let mut folders = vec![path.to_string()];
    while let Some(folder) = folders.pop() {
        let Some(names) = ground.names(Side::Out, &folder).map_err(fault(look, &folder))? else {
            // A name that is not UTF-8 is in no record, and no path of ours can say it.
            if folder == path {
                return Ok(Standing::Other);
            }
            strange.push(folder);
            continue;
        };
        for name in names {
            let member = format!("{folder}/{name}");
            let Some(stamp) = ground.stat(Side::Out, &member).map_err(fault(look, &member))? else { continue };
            let first = said.first().and_then(|made| said_at(made, &member));
            if first.is_none() && is_flows_own(&name) {
                continue;
            }
            if !as_said(ground, &member, &stamp, said, hint)? {
                strange.push(member);
                continue;
            }
            seen += usize::from(first.is_some());
            if stamp.kind() == Kind::Folder {
                folders.push(member);
            }
        }
    }
    let missing = seen < said.first().map_or(0, |made| members(made, path).len());
    Ok(if strange.is_empty() && !missing { Standing::Same(now) } else { Standing::Folder { now, strange, missing } })
}

/// Whether one of the records says this of the path; of a folder only that it is one.
fn as_said<G: Ground>(ground: &mut G, path: &str, now: &Stamp, said: &[&Made], hint: Option<&Made>) -> Result<bool, Fault> {
    for made in said {
        let Some((what, stamp)) = said_at(made, path) else { continue };
        let better = hint.and_then(|hint| said_at(hint, path)).filter(|(same, _)| *same == what);
        let stamp = better.map_or(stamp, |(_, stamp)| stamp);
        if ground.same(path, now, what, stamp).map_err(fault("look at", path))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The output of this path.
pub fn made_at<'a>(made: &'a [Made], path: &str) -> Option<&'a Made> {
    made.iter().find(|made| made.path.as_str() == path)
}

/// What an output's record says of its path or of one in it.
pub fn said_at<'a>(made: &'a Made, path: &str) -> Option<(&'a Tree, &'a Stamp)> {
    let below = path.strip_prefix(made.path.as_str())?;
    if below.is_empty() {
        return Some((&made.what, &made.stamp));
    }
    let (name, Tree::Folder(members)) = (below.strip_prefix('/')?, &made.what) else { return None };
    let at = members.binary_search_by(|member| member.name.as_bytes().cmp(name.as_bytes())).ok()?;
    members.get(at).map(|member| (&member.what, &member.stamp))
}

/// The members of a recorded folder output below one of its folders (or itself).
fn members<'a>(made: &'a Made, path: &str) -> &'a [Member] {
    let Tree::Folder(members) = &made.what else { return &[] };
    let Some(below) = path.strip_prefix(made.path.as_str()) else { return &[] };
    let Some(name) = below.strip_prefix('/') else { return members };
    let prefix = format!("{name}/");
    let start = members.partition_point(|member| member.name.as_bytes() < prefix.as_bytes());
    let rest = members.get(start..).unwrap_or_default();
    let len = rest.iter().take_while(|member| member.name.starts_with(&prefix)).count();
    rest.get(..len).unwrap_or_default()
}

/// What a record says of a path, as a whole.
pub fn subtree(made: &Made, path: &str) -> Option<Tree> {
    let (what, _) = said_at(made, path)?;
    if made.path.as_str() == path || !matches!(what, Tree::Folder(_)) {
        return Some(what.clone());
    }
    let skip = path.len() - made.path.as_str().len();
    let below =
        members(made, path).iter().map(|member| Member { name: member.name.get(skip..).unwrap_or_default().to_string(), ..member.clone() });
    Some(Tree::Folder(below.collect()))
}

/// The folder above a path; `None` at the top.
pub fn folder_of(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| !folder.is_empty())
}
