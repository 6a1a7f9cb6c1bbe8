//! Processes of this machine, as far as flow asks: who runs, since when, what it may use, and where
//! programs are.
//!
//! Owns reading `/proc`. Starts and stops nothing. Must hold: a process is known by its number *and*
//! its start time, since numbers are used again; what cannot be asked is `None`, never a guess.
//! Without `/proc` (macOS) nobody but the process itself can be asked: those answers are `None`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::process::Pid;

/// What `/proc/PID/stat` says, as far as it is used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its number.
    pub pid: i32,
    /// Its parent's number.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// Whether it has exited and only waits to be reaped.
    pub ended: bool,
    /// When it started, in clock ticks since the machine did.
    pub start: u64,
}

/// What a process is now; `None` if there is none of this number, or nobody can say.
pub fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &text)
}

/// The name of a program stands in brackets and may hold anything, so what follows is found from
/// the last bracket.
fn parse_stat(pid: i32, text: &[u8]) -> Option<Stat> {
    let after = text.iter().rposition(|&b| b == b')')? + 1;
    let rest = std::str::from_utf8(text.get(after..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    Some(Stat {
        pid,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        ended: matches!(*fields.first()?, "Z" | "X" | "x"),
        start: fields.get(19)?.parse().ok()?,
    })
}

/// When a process started, in clock ticks since the machine did; `None` if there is none.
pub fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start)
}

/// Whether the process of this number that started then still runs (one that only waits to be
/// reaped does not).
pub fn alive(pid: i32, start: u64) -> bool {
    stat(pid).is_some_and(|stat| stat.start == start && !stat.ended)
}

/// Whether there is a process of this number, whoever it is; for machines without `/proc`.
pub fn exists(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    })
}

/// The numbers of all processes that can be seen; empty without `/proc`.
pub fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The value of a variable in the environment a process was started with; `None` if it is not set,
/// or if we may not look.
pub fn variable(pid: i32, name: &str) -> Option<Vec<u8>> {
    match environment_variable(pid, name) {
        Variable::Is(value) => Some(value),
        Variable::Unset | Variable::Unsure => None,
    }
}

/// What is known of a variable in the environment of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Variable {
    /// Its value.
    Is(Vec<u8>),
    /// It is not set, or we may not look.
    Unset,
    /// There is no environment: the process ends or becomes another program at this moment, or it
    /// was started without any.
    Unsure,
}

/// As [`variable`], and whether the answer may be another in a moment.
pub fn environment_variable(pid: i32, name: &str) -> Variable {
    let environment = match fs::read(format!("/proc/{pid}/environ")) {
        Ok(environment) if environment.is_empty() => return Variable::Unsure,
        Ok(environment) => environment,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Variable::Unset,
        Err(_) => return Variable::Unsure,
    };
    let value = environment.split(|&b| b == 0).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    value.map_or(Variable::Unset, |value| Variable::Is(value.to_vec()))
}

/// The short name of a process, for people.
pub fn program_name(pid: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// This process and those above it.
pub fn ancestors() -> Vec<i32> {
    let mut line = vec![rustix::process::getpid().as_raw_pid()];
    while let Some(parent) = line.last().and_then(|&pid| stat(pid)).map(|stat| stat.parent) {
        // A parent of another pid namespace is 0.
        if parent <= 0 || line.contains(&parent) {
            break;
        }
        line.push(parent);
    }
    line
}

/// Which start of the machine this is; `None` where it has no such number.
pub fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim_end().to_owned())
}

/// How many processors this process may use (affinity and, on Linux, the cgroup's quota count), at
/// least 1.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many bytes of memory the machine has, or the cgroup may use if that is less; `None` if
/// nobody can say.
pub fn memory() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let info = rustix::system::sysinfo();
        let machine = u64::from(info.mem_unit) * info.totalram as u64;
        Some(cgroup_memory_limit().map_or(machine, |limit| limit.min(machine)))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The smallest memory limit of this process's cgroup and those above it, in bytes.
pub fn cgroup_memory_limit() -> Option<u64> {
    let mut least = None;
    for (folder, file) in memory_cgroups() {
        let file = match file {
            Hierarchy::Two => "memory.max",
            Hierarchy::One => "memory.limit_in_bytes",
        };
        let limit = fs::read_to_string(folder.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
        // Version 1 says "no limit" by a number near the largest.
        if let Some(limit) = limit.filter(|&limit| limit < 1 << 60) {
            least = Some(least.map_or(limit, |least: u64| least.min(limit)));
        }
    }
    least
}

/// How often the kernel has killed a process of this cgroup (of the machine where there is no
/// cgroup with such a count) for want of memory; `None` if nobody can say.
pub fn out_of_memory_kills() -> Option<u64> {
    let count = |path: PathBuf, key: &str| {
        let text = fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
    };
    for (folder, hierarchy) in memory_cgroups() {
        let file = match hierarchy {
            Hierarchy::Two => "memory.events",
            Hierarchy::One => "memory.oom_control",
        };
        if let Some(kills) = count(folder.join(file), "oom_kill") {
            return Some(kills);
        }
    }
    count(PathBuf::from("/proc/vmstat"), "oom_kill")
}

enum Hierarchy {
    One,
    Two,
}

/// The folders of this process's memory cgroup and of those above it, inner first.
fn memory_cgroups() -> Vec<(PathBuf, Hierarchy)> {
    let mut found = Vec::new();
    let Ok(text) = fs::read_to_string("/proc/self/cgroup") else { return found };
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, two) = match controllers {
            "" => ("/sys/fs/cgroup", true),
            _ if controllers.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", false),
            _ => continue,
        };
        let mut inner = Path::new(root).join(path.trim_start_matches('/'));
        loop {
            found.push((inner.clone(), if two { Hierarchy::Two } else { Hierarchy::One }));
            if inner == Path::new(root) || !inner.pop() {
                break;
            }
        }
    }
    found
}

/// Bytes a process read from and wrote to disk, with those of its children that it waited for; it
/// may have ended if it was not yet reaped.
pub fn disk_bytes(pid: i32) -> Option<(u64, u64)> {
    let mut text = [0; 512];
    let mut file = fs::File::open(format!("/proc/{pid}/io")).ok()?;
    let length = file.read(&mut text).ok()?;
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    Some((value("read_bytes:")?, value("write_bytes:")?))
}

/// Where a program is: `name` itself if it has a `/`, else the first file that can be executed in
/// the folders of `path`. Relative ones are seen from the current folder.
pub fn find_program(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    find_program_from(name, path, Path::new(""))
}

/// As [`find_program`], with relative paths seen from `dir`.
pub fn find_program_from(name: &OsStr, path: &OsStr, dir: &Path) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    candidates(name, path, dir).find(|file| is_program(file))
}

/// The first file of that name on `path`, whether it can be executed or not: for a better message.
pub fn find_file_on_path(name: &OsStr, path: &OsStr, dir: &Path) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    candidates(name, path, dir).find(|file| file.is_file())
}

fn candidates<'a>(name: &'a OsStr, path: &'a OsStr, dir: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    let direct = name.as_bytes().contains(&b'/');
    let folders = path.as_bytes().split(|&b| b == b':').filter(move |_| !direct);
    // An empty entry of PATH is the current folder.
    let folders = folders.map(move |folder| dir.join(OsString::from_vec(folder.to_vec())).join(name));
    direct.then(|| dir.join(name)).into_iter().chain(folders)
}

fn is_program(file: &Path) -> bool {
    rustix::fs::access(file, Access::EXEC_OK).is_ok() && file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_stat_may_hold_anything() {
        let text = b"7 (a) b) Z 1 2) S 3 4 5 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 99 1 1\n";
        let stat = parse_stat(7, text).unwrap();
        assert_eq!(stat, Stat { pid: 7, parent: 3, group: 4, session: 5, ended: false, start: 99 });
        for end in 0..text.len() {
            let _ = parse_stat(7, &text[..end]);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn we_are_alive_since_we_started() {
        let me = rustix::process::getpid().as_raw_pid();
        let start = start_time(me).unwrap();
        assert!(alive(me, start));
        assert!(!alive(me, start + 1));
        assert!(all().contains(&me));
        assert_eq!(ancestors().first(), Some(&me));
        assert!(ancestors().len() > 1);
        assert!(memory().unwrap() > 1 << 20);
        assert!(disk_bytes(me).is_some());
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(cpus() >= 1);
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("a/tool", 0o644);
        file("b/tool", 0o755);
        fs::create_dir_all(dir.path().join("a/folder")).unwrap();
        let find = |name: &str, path: &str| find_program_from(name.as_ref(), path.as_ref(), dir.path());
        assert_eq!(find("tool", "a:b"), Some(dir.path().join("b/tool")));
        assert_eq!(find("tool", "a"), None);
        assert_eq!(find("folder", "a"), None);
        assert_eq!(find("", "a:b"), None);
        assert_eq!(find("b/tool", ""), Some(dir.path().join("b/tool")));
        file("here", 0o755);
        assert_eq!(find("here", "a:"), Some(dir.path().join("here")));
        assert_eq!(find_file_on_path("tool".as_ref(), "a:b".as_ref(), dir.path()), Some(dir.path().join("a/tool")));
        assert!(find_program("sh".as_ref(), "/bin:/usr/bin".as_ref()).is_some());
    }
}
