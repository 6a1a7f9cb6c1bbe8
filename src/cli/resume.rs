//! `flow resume`: on with the newest run, if it did not end well.
//!
//! Owns which run that is and what is asked again. Decides nothing of its own: what is left to do is what
//! the one decision says, from the file as it is now. Must hold: what was forced and done is not forced
//! again.

use std::io::BufReader;

use jiff::tz::TimeZone;

use crate::cli::error::{CliError, FINE};
use crate::cli::listing::{cache_options, jobs, open_error, request, words};
use crate::cli::options::ResumeArgs;
use crate::cli::run::go;
use crate::cli::terminal;
use crate::event::{Run, RunState, Time};
use crate::os::beneath::Beneath;
use crate::os::lock::{Lock, LockFault, holder};
use crate::os::process::boot_id;
use crate::record::known::{Known, RunMemory};
use crate::record::state::frame::RunEnd;
use crate::report::runs::read;
use crate::report::words::{local_time, resuming};
use crate::run::open::{Front, OpenFault, Request, front};
use crate::run::session::{Options, SessionFault};

/// Runs the command.
pub fn run(args: &ResumeArgs) -> Result<u8, CliError> {
    let words = words(&args.words, &args.which, &args.short_file);
    let wanted = run_number(&words.rest)?;
    let mut request = request(words.file, &args.which, false)?;
    let json = args.which.json;
    let mut newest = newest(&request, json)?;
    if let Some((own, _, _)) = &newest
        && let Some(holder) = holder(own)
    {
        if !args.wait {
            return Err(crate::cli::listing::session_error(SessionFault::Lock(LockFault::Held(Some(holder))), json));
        }
        terminal::say(&format!(" waiting for another run of this pipeline (run {}, process {})\n", holder.run, holder.pid));
        // Only then is it known how that run ended.
        drop(Lock::wait(own, |_| true).map_err(|fault| CliError::broken(fault.to_string()))?);
        newest = self::newest(&request, json)?;
    }
    let Some((own, last, forced_done)) = newest else {
        return Err(CliError::wrong("this pipeline has never run").hint(format!("start with: {}", words.again.command("run", &[]))));
    };
    let number = last.run.number;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != number) {
        return Err(CliError::wrong(format!("run {wanted} is not the newest run, which is {number}"))
            .hint(format!("only the newest can go on: {}", words.again.command("resume", &[]))));
    }
    let now = jiff::Timestamp::now().as_nanosecond() as i64;
    let zone = TimeZone::system();
    if matches!(last.end, Some((RunEnd::Fine, _, _))) {
        terminal::say(&format!(" run {number} of {} ended well: nothing to go on with\n", local_time(last.at, now, &zone)));
        return Ok(FINE);
    }
    if !json {
        terminal::say(&format!(" {}\n", resuming(&told(&own, &last), now, &zone)));
    }
    // What is set now is on top of what was set then.
    request.set = [last.asked.set, request.set].concat();
    let (cache_dir, cache_store) = cache_options()?;
    let options = Options {
        request,
        selectors: last.asked.selectors,
        only: last.asked.only,
        force: last.asked.force,
        keep_going: last.asked.keep_going,
        wait: args.wait,
        jobs: jobs(args.jobs),
        args: std::env::args().skip(1).collect(),
        resumes: Some(number),
        forced_done,
        here: Some(last.asked.here),
        cache_dir,
        cache_store,
    };
    go(&options, words.again, json)
}

/// RUN of the command line.
fn run_number(words: &[String]) -> Result<Option<u64>, CliError> {
    match words {
        [] => Ok(None),
        [word] => match word.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(CliError::wrong(format!("`{word}` is no number of a run"))
                .hint("flow resume [FILE] [RUN]: it asks again for what that run was asked")),
        },
        _ => Err(CliError::wrong("too many words: `flow resume [FILE] [RUN]`")),
    }
}

/// The newest run on record, with what it forced and is done.
fn newest(request: &Request, json: bool) -> Result<Option<(Beneath, RunMemory, Vec<String>)>, CliError> {
    let front: Front = front(request, |_, _| Ok::<(), OpenFault>(())).map_err(|fault| open_error(fault, json))?;
    if let Some(damage) = front.damage {
        return Err(CliError::broken(format!("the last run is not known: {damage}")).hint("flow run goes on from what is there"));
    }
    let (Some(own), Some(reader)) = (front.own, front.reader) else { return Ok(None) };
    let (known, _) = Known::load(&reader, &boot_id().unwrap_or_default()).map_err(|fault| open_error(fault.into(), json))?;
    Ok(known.last_run().cloned().map(|last| (own, last, known.forced_done())))
}

/// What is told of a run: its events, and how it ended as the state says.
fn told(own: &Beneath, last: &RunMemory) -> Run {
    let number = last.run.number;
    let events = own.read(&format!("runs/{number}/events.jsonl")).ok();
    let mut run = events.and_then(|file| read(BufReader::new(file), false)).unwrap_or_default();
    run.run = Some(number);
    run.started = Some(Time(last.at));
    run.state = match last.end {
        Some((RunEnd::Fine, _, _)) => RunState::Fine,
        Some((RunEnd::Failed | RunEnd::Broken, _, _)) => RunState::Failed,
        Some((RunEnd::Interrupted, _, _)) => RunState::Interrupted,
        None => RunState::Killed,
    };
    run
}
