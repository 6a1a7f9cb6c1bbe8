//! `flow check`: the pipeline's mistakes, and nothing else.
//!
//! Only reads and compiles. Must hold: what is found is the result, so it goes to stdout; inputs that are
//! not there are no mistake of the file.

use crate::cli::error::{CliError, FINE, WRONG};
use crate::cli::listing::{open_error, print, print_json, request, words};
use crate::cli::options::CheckArgs;
use crate::cli::{render, terminal};
use crate::diag::{Diagnostic, Sources};
use crate::event::PipelineFields;
use crate::graph::Graph;
use crate::report::json::CheckJson;
use crate::report::words::{count, printable};
use crate::run::open::{OpenFault, check};

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<u8, CliError> {
    let words = words(&args.words, &args.which, &args.short_file);
    if let Some(word) = words.rest.first() {
        return Err(CliError::wrong(format!("`{word}` is no pipeline file"))
            .hint("flow check [FILE]: its name ends in .yaml or .yml, or follows `--file`"));
    }
    let json = args.which.json;
    let request = request(words.file, &args.which, false)?;
    let (mut faults, sources, compiled) = match check(&request) {
        Ok(checked) => (checked.faults, checked.sources, Some((checked.site, checked.graph))),
        Err(OpenFault::Mistakes(faults, sources)) => (faults, sources, None),
        Err(fault) => return Err(open_error(fault, json)),
    };
    faults.sort_by_key(|fault| fault.at);
    faults.dedup();
    let wrong = faults.iter().any(Diagnostic::is_error);
    if json {
        let mut pipeline = PipelineFields {
            file: sources.files().first().map(|source| source.path.clone()).unwrap_or_default(),
            ..PipelineFields::default()
        };
        if let Some((site, graph)) = &compiled {
            pipeline.name = graph.name.clone();
            pipeline.workspace = site.workspace.to_string_lossy().into_owned();
        }
        print_json(&CheckJson::of(&faults, &sources), &pipeline)?;
    } else {
        let graph = compiled.as_ref().map(|(_, graph)| graph).filter(|_| !wrong);
        print(&text(&faults, &sources, graph))?;
    }
    Ok(if wrong { WRONG } else { FINE })
}

/// The frames and the sum; the graph counts only if it is whole.
fn text(faults: &[Diagnostic], sources: &Sources, graph: Option<&Graph>) -> String {
    let style = terminal::stdout();
    let width = if style.width == 0 { render::Look::default().width } else { style.width };
    let mut text = render::diagnostics(faults, sources, render::Look { colour: style.colour, width });
    if !text.is_empty() {
        text.push('\n');
    }
    let mut parts = Vec::new();
    if let Some(graph) = graph {
        parts.push(count(graph.stages.len() as u64, "stage"));
        parts.push(count(graph.tasks.len() as u64, "task"));
    }
    let errors = faults.iter().filter(|fault| fault.is_error()).count() as u64;
    parts.push(if errors == 0 { "no mistakes".into() } else { count(errors, "mistake") });
    let warnings = faults.len() as u64 - errors;
    if warnings > 0 {
        parts.push(count(warnings, "warning"));
    }
    let file = sources.files().first().map_or("", |source| source.path.as_str());
    text.push_str(&format!("{}: {}\n", printable(file), parts.join(", ")));
    text
}
