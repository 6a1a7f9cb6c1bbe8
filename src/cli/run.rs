//! `flow run`: bring the selected tasks up to date.

use std::io;

use crate::cli::error::{CliError, FAILED, FINE};
use crate::cli::listing::{cache_options, jobs, request, session_error, words};
use crate::cli::options::{PlanArgs, RunArgs};
use crate::cli::{plan, terminal};
use crate::event::Sink;
use crate::os::beneath::Beneath;
use crate::os::lock::Holder;
use crate::report::jsonl::JsonLines;
use crate::report::words::Again;
use crate::report::{Sinks, terminal as lines};
use crate::run::driver::Outcome;
use crate::run::session::{Finished, Options, run as bring_up_to_date};
use crate::run::site::Site;

/// Runs the command.
pub fn run(args: &RunArgs) -> Result<u8, CliError> {
    if args.dry_run {
        return plan::run(&PlanArgs {
            words: args.words.clone(),
            which: args.which.clone(),
            short_file: args.short_file.clone(),
            jobs: args.jobs,
            force: args.force,
            only: args.only,
            rehash: args.rehash,
        });
    }
    let words = words(&args.words, &args.which, &args.short_file);
    let (cache_dir, cache_store) = cache_options()?;
    let options = Options {
        request: request(words.file, &args.which, args.rehash)?,
        selectors: words.rest,
        only: args.only,
        force: args.force,
        keep_going: match (args.keep_going, args.fail_fast) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
        wait: args.wait,
        jobs: jobs(args.jobs),
        args: std::env::args().skip(1).collect(),
        cache_dir,
        cache_store,
        ..Options::default()
    };
    go(&options, words.again, args.which.json)
}

/// Runs with these options and tells what happens.
pub fn go(options: &Options, again: Again, json: bool) -> Result<u8, CliError> {
    let mut waiting = |holder: &Option<Holder>| {
        let who = holder.as_ref().map(|holder| format!(" (run {}, process {})", holder.run, holder.pid)).unwrap_or_default();
        terminal::say(&format!(" waiting for another run of this pipeline{who}\n"));
    };
    let mut make = |_: &Site, run: Option<(u64, &Beneath)>| sinks(run, &again, json);
    let finished = bring_up_to_date(options, &mut waiting, &mut make).map_err(|fault| session_error(fault, json))?;
    Ok(exit_code(finished))
}

/// Who hears of a run: the terminal or stdout, and the run's own file.
fn sinks(run: Option<(u64, &Beneath)>, again: &Again, json: bool) -> Box<dyn Sink> {
    let complain = |what: &'static str| move |error: io::Error| terminal::say(&format!(" warning   cannot write {what}: {error}\n"));
    let mut list: Vec<Box<dyn Sink>> = Vec::new();
    if json {
        list.push(Box::new(JsonLines::new(Box::new(io::stdout()), complain("to stdout"))));
    } else {
        list.push(lines(Box::new(io::stderr()), terminal::stderr(), again.clone()));
    }
    if let Some((number, own)) = run {
        let path = format!("runs/{number}");
        match own.make_folder(&path).and_then(|folder| folder.create_file("events.jsonl")) {
            Ok(file) => list.push(Box::new(JsonLines::new(Box::new(file), complain("events.jsonl")))),
            Err(error) => complain("events.jsonl")(error),
        }
    }
    Box::new(Sinks(list))
}

fn exit_code(finished: Finished) -> u8 {
    match finished.outcome {
        Outcome::Fine => FINE,
        Outcome::Failed => FAILED,
        Outcome::Stopped(stop) => stop.exit_code(),
    }
}
