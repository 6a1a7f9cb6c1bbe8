//! Starting one command, and saying in words why it could not be started.
//!
//! Owns what a new process gets: its group, folder, environment and the three standard files.
//! Waits for nothing. Must hold: nothing of the launcher leaks into the command; the standard
//! library's fast way of starting is kept (an absolute program, no code between fork and exec).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::protocol::{Bytes, Start};
use crate::os::process::{find_file_on_path, find_program_from};

/// Where programs are looked for if the environment has no PATH.
const USUAL_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// Times a program that someone still writes is tried again; the pauses double from 1 ms, 255 ms in all.
const BUSY_TRIES: u32 = 8;

/// A command that was started.
pub struct Started {
    /// The process.
    pub child: Child,
    /// The end of the pipe its output comes from, and the log, if there are texts to hide.
    pub piped: Option<(PipeReader, File)>,
}

/// Where programs were found on a PATH: asked once, and again when one can no longer be started.
#[derive(Default)]
pub struct Programs(HashMap<(Vec<u8>, Vec<u8>), PathBuf>);

impl Programs {
    /// Where a program is. What depends on the folder of the command is looked for each time.
    fn find(&mut self, name: &OsStr, search: &OsStr, dir: &Path) -> Option<PathBuf> {
        let fixed = !name.as_bytes().contains(&b'/') && search.as_bytes().split(|&b| b == b':').all(|folder| folder.first() == Some(&b'/'));
        if !fixed {
            return find_program_from(name, search, dir);
        }
        let key = (name.as_bytes().to_vec(), search.as_bytes().to_vec());
        if let Some(found) = self.0.get(&key) {
            return Some(found.clone());
        }
        let found = find_program_from(name, search, dir)?;
        self.0.insert(key, found.clone());
        Some(found)
    }
}

/// Starts a command; the error says in words why it could not be.
pub fn start(order: &Start, common: &[(OsString, OsString)], programs: &mut Programs) -> Result<Started, String> {
    let started = try_start(order, common, programs);
    if started.is_err() && !programs.0.is_empty() {
        // What was found before may be gone or another now.
        programs.0.clear();
        return try_start(order, common, programs);
    }
    started
}

fn try_start(order: &Start, common: &[(OsString, OsString)], programs: &mut Programs) -> Result<Started, String> {
    let [name, ..] = &*order.argv else { return Err("an empty command".into()) };
    let name = OsStr::from_bytes(name.0);
    let dir = path(order.dir);
    let files = Files::open(order)?;
    let usual = || common.iter().rev().find(|(key, _)| key == "PATH").map_or(USUAL_PATH, |(_, value)| value.as_bytes());
    let search = order.env.iter().rev().find(|(key, _)| key.0 == b"PATH").map_or_else(usual, |(_, value)| value.0);
    let search = OsStr::from_bytes(search);
    let Some(program) = programs.find(name, search, dir) else { return Err(missing_words(name, search, dir)) };

    let mut result = command(&program, Some(name), order, common, &files).and_then(|mut command| spawn(&mut command));
    if result.as_ref().is_err_and(|error| is(error, Errno::NOEXEC)) && is_text(&program) {
        // What every shell does with a script that does not name its interpreter.
        result = command(Path::new("/bin/sh"), None, order, common, &files).and_then(|mut shell| {
            // `sh SCRIPT ARGUMENTS`: the first argument was left out for this.
            spawn(shell_script(&mut shell, &program, order))
        });
    }
    match result {
        Ok(child) => Ok(Started { child, piped: files.pipe.map(|(reader, _)| (reader, files.log)) }),
        Err(error) => Err(failure_words(&error, name, &program, order, common)),
    }
}

/// The standard files of a command.
struct Files {
    stdin: Option<File>,
    stdout: Option<File>,
    log: File,
    pipe: Option<(PipeReader, PipeWriter)>,
}

impl Files {
    fn open(order: &Start) -> Result<Files, String> {
        // To append: a command may open `/dev/stderr` again or leave a process behind, and none of
        // these may write over what another wrote.
        let log = OpenOptions::new().create(true).append(true).open(path(order.log)).and_then(|log| {
            // Usually it is empty already, which costs less to see than to make so.
            if log.metadata()?.len() > 0 {
                log.set_len(0)?;
            }
            Ok(log)
        });
        let log_words = |error: io::Error| format!("cannot write its log {}: {}", path(order.log).display(), words(&error));
        let pipe = order.hide.is_some().then(io::pipe).transpose();
        Ok(Files {
            log: log.map_err(log_words)?,
            pipe: pipe.map_err(log_words)?,
            stdin: order.stdin.map(|(file, shown)| open_input(path(file)).map_err(|error| input_words(shown, &error))).transpose()?,
            stdout: order
                .stdout
                .map(|(file, shown)| File::create(path(file)).map_err(|error| format!("cannot write {shown}: {}", words(&error))))
                .transpose()?,
        })
    }

    fn output(&self) -> io::Result<Stdio> {
        match &self.pipe {
            Some((_, writer)) => Ok(writer.try_clone()?.into()),
            None => Ok(self.log.try_clone()?.into()),
        }
    }
}

fn command(program: &Path, shown: Option<&OsStr>, order: &Start, common: &[(OsString, OsString)], files: &Files) -> io::Result<Command> {
    let mut command = Command::new(program);
    if let Some(shown) = shown {
        command.arg0(shown);
        command.args(order.argv.iter().skip(1).map(|argument| OsStr::from_bytes(argument.0)));
    }
    command.env_clear().envs(common.iter().map(|(key, value)| (key, value)));
    command.envs(order.env.iter().map(|(key, value)| (OsStr::from_bytes(key.0), OsStr::from_bytes(value.0))));
    command.current_dir(path(order.dir)).process_group(0);
    command.stdin(match &files.stdin {
        Some(file) => file.try_clone()?.into(),
        None => Stdio::null(),
    });
    command.stdout(match &files.stdout {
        Some(file) => file.try_clone()?.into(),
        None => files.output()?,
    });
    command.stderr(files.output()?);
    Ok(command)
}

fn shell_script<'a>(shell: &'a mut Command, script: &Path, order: &Start) -> &'a mut Command {
    shell.arg(script).args(order.argv.iter().skip(1).map(|argument| OsStr::from_bytes(argument.0)))
}

fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(error) if is(&error, Errno::TXTBSY) && tries < BUSY_TRIES => {
                // Someone wrote the program just now; often another process that was being started
                // at that moment and still holds the file.
                thread::sleep(Duration::from_millis(1 << tries));
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Opens what is to be standard input, without waiting for anyone (a named pipe) and never a folder.
fn open_input(file: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32).open(file)?;
    if opened.metadata()?.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    let flags = rustix::fs::fcntl_getfl(&opened)?;
    rustix::fs::fcntl_setfl(&opened, flags - OFlags::NONBLOCK)?;
    Ok(opened)
}

fn path(bytes: Bytes<'_>) -> &Path {
    Path::new(OsStr::from_bytes(bytes.0))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Whether a shell would run it as a script: no NUL where the first line is.
fn is_text(file: &Path) -> bool {
    let mut head = [0; 256];
    let count = File::open(file).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    let head = head.get(..count).unwrap_or_default();
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default();
    !line.contains(&0)
}

/// An error of the system, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn input_words(shown: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!("no such file: {shown} (its standard input)"),
        ErrorKind::IsADirectory => format!("a folder, not a file: {shown} (its standard input)"),
        _ => format!("cannot read {shown} (its standard input): {}", words(error)),
    }
}

/// Why no program was found.
fn missing_words(name: &OsStr, search: &OsStr, dir: &Path) -> String {
    if !dir.is_dir() {
        return folder_words(dir);
    }
    let shown = name.display();
    if name.as_bytes().contains(&b'/') {
        return match fs::metadata(dir.join(name)) {
            Ok(meta) if meta.is_dir() => format!("a folder, not a program: {shown}"),
            Ok(meta) if meta.is_file() => format!("not executable: {shown} (chmod +x {shown})"),
            Ok(_) => format!("not a program: {shown}"),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => format!("cannot reach {shown}: permission denied"),
            Err(_) => format!("command not found: {shown}"),
        };
    }
    match find_file_on_path(name, search, dir) {
        Some(file) => format!("not executable: {} (chmod +x {})", file.display(), file.display()),
        None => format!("command not found: {shown}"),
    }
}

fn folder_words(dir: &Path) -> String {
    if dir.exists() { format!("not a folder: {}", dir.display()) } else { format!("no such folder: {}", dir.display()) }
}

/// Why a program that is there could not be started.
fn failure_words(error: &io::Error, name: &OsStr, program: &Path, order: &Start, common: &[(OsString, OsString)]) -> String {
    let dir = path(order.dir);
    let shown = name.display();
    if !dir.is_dir() {
        return folder_words(dir);
    }
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::NOENT | Errno::NOTDIR) => match interpreter(program) {
            Some(said) => match said.strip_suffix('\r') {
                Some(plain) => {
                    format!("its first line ends in a carriage return, so {plain} is not found: {shown} (save it with Unix line ends)")
                }
                None => format!("its interpreter is not there: {shown} asks for {said}"),
            },
            None => format!("the loader it asks for is not there: {shown} (made for another system?)"),
        },
        Some(Errno::ACCESS | Errno::PERM) => match interpreter(program) {
            Some(said) => format!("permission denied: {shown} (or its interpreter {said} is not executable)"),
            None => format!("permission denied: {shown}"),
        },
        Some(Errno::NOEXEC) => format!("not a program of this machine: {shown}"),
        Some(Errno::TXTBSY) => format!("someone is still writing it: {shown}"),
        Some(Errno::TOOBIG) => {
            let bytes: usize = order.argv.iter().map(|a| a.0.len() + 1).sum();
            let common: usize = common.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
            let env: usize = common + order.env.iter().map(|(key, value)| key.0.len() + value.0.len() + 2).sum::<usize>();
            format!("too long for this system: {bytes} bytes of arguments and {env} of environment")
        }
        Some(Errno::AGAIN | Errno::NOMEM) => format!("the system cannot start another process now: {}", words(error)),
        None if error.kind() == ErrorKind::InvalidInput => format!("a NUL character in its arguments or environment: {shown}"),
        _ => format!("cannot start {shown}: {}", words(error)),
    }
}

/// What the first line of a script asks for.
fn interpreter(script: &Path) -> Option<String> {
    let mut head = [0; 256];
    let count = File::open(script).and_then(|mut file| file.read(&mut head)).ok()?;
    let line = head.get(..count)?.split(|&b| b == b'\n').next()?.strip_prefix(b"#!")?;
    let line = String::from_utf8_lossy(line);
    let said = line.trim_matches([' ', '\t']);
    Some(said.split([' ', '\t']).next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn why(dir: &Path, argv: &[&str], stdin: Option<&str>) -> String {
        let log = dir.join("log");
        let input = stdin.map(|file| dir.join(file));
        let order = Start {
            number: 1,
            argv: argv.iter().map(|a| Bytes(a.as_bytes())).collect(),
            env: vec![(Bytes(b"PATH"), Bytes(b"bin:/usr/bin:/bin"))],
            dir: Bytes(dir.as_os_str().as_bytes()),
            stdin: input.as_ref().map(|file| (Bytes(file.as_os_str().as_bytes()), stdin.unwrap())),
            stdout: None,
            log: Bytes(log.as_os_str().as_bytes()),
            hide: None,
            timeout: None,
            grace: Duration::ZERO,
        };
        match start(&order, &[], &mut Programs::default()) {
            Err(words) => words,
            Ok(mut started) => format!("{:?} {}", started.child.wait().unwrap().code(), fs::read_to_string(log).unwrap().trim_end()),
        }
    }

    #[test]
    fn a_failure_to_start_says_why() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let file = |name: &str, mode: u32, text: &str| {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        file("plain.sh", 0o644, "echo");
        file("bin/tool", 0o644, "echo");
        file("bad.py", 0o755, "#! /usr/bin/pyton3 -u\n");
        file("crlf.sh", 0o755, "#!/bin/sh\r\necho\r\n");
        file("binary", 0o755, "\x7fEL\0\0");
        file("bare.sh", 0o755, "echo $0 $1\n");
        assert_eq!(why(dir, &["samtolls"], None), "command not found: samtolls");
        assert_eq!(why(dir, &["./no.sh"], None), "command not found: ./no.sh");
        assert_eq!(why(dir, &["./plain.sh"], None), "not executable: ./plain.sh (chmod +x ./plain.sh)");
        let tool = dir.join("bin/tool");
        assert_eq!(why(dir, &["tool"], None), format!("not executable: {0} (chmod +x {0})", tool.display()));
        assert_eq!(why(dir, &["./bin"], None), "a folder, not a program: ./bin");
        assert_eq!(why(dir, &["./bad.py"], None), "its interpreter is not there: ./bad.py asks for /usr/bin/pyton3");
        assert!(why(dir, &["./crlf.sh"], None).starts_with("its first line ends in a carriage return, so /bin/sh is not found"));
        assert_eq!(why(dir, &["./binary"], None), "not a program of this machine: ./binary");
        assert_eq!(why(dir, &["./bare.sh", "x"], None), format!("Some(0) {} x", dir.join("./bare.sh").display()));
        assert_eq!(why(dir, &["cat"], Some("gone")), "no such file: gone (its standard input)");
        assert_eq!(why(dir, &["cat"], Some("bin")), "a folder, not a file: bin (its standard input)");
        assert_eq!(why(dir, &["echo", "a\0b"], None), "a NUL character in its arguments or environment: echo");
        assert_eq!(why(dir, &[], None), "an empty command");
        let long = "x".repeat(3 << 20);
        assert!(why(dir, &["echo", &long], None).starts_with("too long for this system: 3145734 bytes"));
        assert_eq!(why(dir, &["cat"], Some("plain.sh")), "Some(0) echo");
        let gone = dir.join("gone");
        assert_eq!(why(&gone, &["true"], None), format!("cannot write its log {}: no such file or directory", gone.join("log").display()));
    }

    #[test]
    fn a_program_that_is_still_written_is_tried_again() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("prog");
        fs::copy("/bin/true", &file).unwrap();
        let writer = OpenOptions::new().append(true).open(&file).unwrap();
        let ends = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            drop(writer);
        });
        assert_eq!(why(temp.path(), &["./prog"], None), "Some(0) ");
        ends.join().unwrap();
    }
}
