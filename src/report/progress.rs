//! The live block below the lines: a bar, and the tasks that have been running longest.
//!
//! Owns the terminal's last lines while a run goes on. Must hold: it is redrawn at most ten times a
//! second, by one thread that does nothing else; the cursor is never hidden, so that a killed flow
//! leaves the terminal usable; a run that is over before the first redraw shows no block at all.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::plain::{Out, Plain};
use super::words::{self, Again};
use super::{Paint, Style};
use crate::event::{Event, Sink};

/// Time between two redraws.
const REDRAW: Duration = Duration::from_millis(100);
/// Columns of the bar at most.
const BAR_COLUMNS: usize = 24;
/// Running tasks that are shown.
const TASKS: usize = 4;

/// Lines above, the live block below.
pub struct Live {
    plain: Plain,
    style: Style,
    shared: Arc<Shared>,
    drawer: Option<(ProgressBar, JoinHandle<()>)>,
    target: Option<ProgressDrawTarget>,
}

struct Shared {
    board: Mutex<Board>,
    wake: Condvar,
    /// Where lines go; locked by whoever writes them, the block not being there meanwhile.
    out: Mutex<Out>,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, lines: &str) {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write(lines);
    }
}

/// What the block shows.
#[derive(Default)]
struct Board {
    started: Option<Instant>,
    running: HashMap<String, Instant>,
    done: u64,
    total: u64,
    /// Lines that wait to be printed above.
    lines: String,
    over: bool,
}

impl Board {
    fn note(&mut self, now: Instant, event: &Event) {
        self.started.get_or_insert(now);
        match event {
            Event::RunStarted(started) => (self.done, self.total) = (started.counts.done(), started.counts.total),
            Event::Progress(progress) => (self.done, self.total) = (progress.counts.done(), progress.counts.total),
            Event::TaskStarted(started) => {
                self.running.insert(started.task.task.clone(), now);
            }
            Event::TaskEnded(ended) => {
                self.running.remove(&ended.task.task);
            }
            Event::TaskDone(done) => {
                self.running.remove(&done.task.task);
                self.done += 1;
            }
            Event::TaskFailed(_) | Event::TaskBlocked(_) => self.done += 1,
            _ => {}
        }
    }

    /// The block's lines.
    fn block(&self, now: Instant, style: &Style) -> String {
        let width = if style.width == 0 { 80 } else { style.width };
        let mut out = String::new();
        let elapsed = self.started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started));
        let total = self.total.max(self.done);
        if total > 0 {
            let columns = BAR_COLUMNS.min(width / 3).max(1);
            // The head takes a column of its own, until all is done.
            let full = if self.done == total { columns } else { (self.done as u128 * columns as u128 / u128::from(total)) as usize };
            let head = if full < columns { "╸" } else { "" };
            let rest = "━".repeat(columns.saturating_sub(full + 1));
            let bar = style.paint(Paint::Good, &("━".repeat(full) + head)) + &style.paint(Paint::Dim, &rest);
            let text = format!("  {} of {total}   {}", self.done, words::duration(elapsed));
            out.push_str(&format!(" {bar}{}", words::cut(&text, width.saturating_sub(columns + 2).max(1))));
        }
        let mut longest: Vec<(&String, &Instant)> = self.running.iter().collect();
        longest.sort_by(|a, b| a.1.cmp(b.1).then_with(|| a.0.cmp(b.0)));
        longest.truncate(TASKS);
        let names: Vec<String> =
            longest.iter().map(|(name, _)| words::cut(&words::printable(name), width.saturating_sub(16).max(8)).into_owned()).collect();
        let columns = names.iter().map(|name| words::columns(name)).max().unwrap_or(0);
        for (name, (_, since)) in names.iter().zip(&longest) {
            if !out.is_empty() {
                out.push('\n');
            }
            let time = words::duration(now.saturating_duration_since(**since));
            out.push_str(&format!(" {}  {time}", words::pad(name, columns)));
        }
        out
    }
}

impl Live {
    /// `out` and `target` are the same terminal, stderr: lines go to `out`, the block is drawn on
    /// `target`, which must not be hidden (indicatif draws nothing there).
    pub fn new(out: Box<dyn Write + Send>, target: ProgressDrawTarget, style: Style, again: Again) -> Live {
        // `plain` only makes the lines; a writer that drops all keeps it from writing them too.
        let plain = Plain::new(Box::new(std::io::sink()), style, again);
        let shared = Shared { board: Mutex::default(), wake: Condvar::new(), out: Mutex::new(Out::new(out)) };
        Live { plain, style, shared: Arc::new(shared), drawer: None, target: Some(target) }
    }

    /// Starts to draw, with the first task that starts: a no-op needs no thread.
    fn draw(&mut self) {
        let Some(target) = self.target.take() else { return };
        let shared = Arc::clone(&self.shared);
        let style = self.style;
        let block = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            // A block that cannot be written is drawn again soon.
            let _ = out.write_str(&shared.board().block(Instant::now(), &style));
        };
        let Ok(template) = ProgressStyle::with_template("{block}") else { return };
        let bar = ProgressBar::with_draw_target(None, target).with_style(template.with_key("block", block));
        let (shared, drawn) = (Arc::clone(&self.shared), bar.clone());
        let spawned = std::thread::Builder::new().name("progress".into()).spawn(move || redraw(&shared, &drawn));
        if let Ok(thread) = spawned {
            self.drawer = Some((bar, thread));
        }
    }
}

/// Redraws until all is over. Lines that waited and the block are one drawing.
fn redraw(shared: &Shared, bar: &ProgressBar) {
    let mut board = shared.board();
    while !board.over {
        let (woken, _) = shared.wake.wait_timeout_while(board, REDRAW, |board| !board.over).unwrap_or_else(PoisonError::into_inner);
        board = woken;
        if board.over {
            return;
        }
        let lines = std::mem::take(&mut board.lines);
        drop(board);
        match lines.is_empty() {
            true => bar.tick(),
            false => bar.suspend(|| shared.write(&lines)),
        }
        board = shared.board();
    }
}

impl Sink for Live {
    fn take(&mut self, at: i64, event: &Event) {
        let lines = self.plain.lines(at, event);
        if matches!(event, Event::TaskStarted(_)) {
            self.draw();
        }
        let mut board = self.shared.board();
        board.note(Instant::now(), event);
        if self.drawer.is_some() && !board.over {
            board.lines.push_str(&lines);
        } else {
            drop(board);
            self.shared.write(&lines);
        }
    }

    fn end(&mut self) {
        let waiting = {
            let mut board = self.shared.board();
            board.over = true;
            std::mem::take(&mut board.lines)
        };
        self.shared.wake.notify_all();
        if let Some((bar, thread)) = self.drawer.take() {
            // A thread that panicked has drawn its last; the lines are written all the same.
            let _ = thread.join();
            bar.finish_and_clear();
        }
        self.shared.write(&waiting);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Counts, Progress, RunEnded, RunState, TaskDone, TaskFields, TaskStarted};
    use crate::report::plain::tests::Page;

    fn started(name: &str) -> Event {
        Event::TaskStarted(TaskStarted { task: TaskFields::of(&name.into()), ..TaskStarted::default() })
    }

    fn progress(done: u64, total: u64) -> Event {
        Event::Progress(Progress { counts: Counts { up_to_date: done, total, ..Counts::default() }, ..Progress::default() })
    }

    #[test]
    fn the_block() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut board = Board::default();
        let style = Style { colour: false, width: 80, live: true };
        assert_eq!(board.block(start, &style), "");
        board.note(start, &progress(4, 9));
        for (n, name) in ["report@customer=acme", "a", "b", "train", "c"].iter().enumerate() {
            board.note(after(if *name == "train" { 1 } else { 60 + n as u64 }), &started(name));
        }
        board.note(after(62), &Event::TaskDone(TaskDone { task: TaskFields::of(&"a".into()), ..TaskDone::default() }));
        assert_eq!(
            board.block(after(72), &style),
            concat!(
                " ━━━━━━━━━━━━━╸━━━━━━━━━━  5 of 9   1 m 12 s\n",
                " train                 1 m 11 s\n",
                " report@customer=acme  12 s\n",
                " b                     10 s\n",
                " c                     8 s"
            )
        );
        let narrow = board.block(after(72), &Style { width: 20, ..style });
        assert!(narrow.lines().all(|line| words::columns(line) < 20), "{narrow}");
        board.note(after(73), &progress(9, 9));
        assert!(board.block(after(73), &style).starts_with(&format!(" {}  9 of 9", "━".repeat(24))));
    }

    /// A terminal that keeps what it is sent.
    #[derive(Clone, Debug)]
    struct Screen(Page);

    impl indicatif::TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
            self.write_str(&format!("<up {n}>"))
        }

        fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
            self.write_str(&format!("<down {n}>"))
        }

        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }

        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.0.clone().write_all(text.as_bytes())
        }

        fn clear_line(&self) -> std::io::Result<()> {
            self.write_str("<clear>")
        }

        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn wait_for(screen: &Page, text: &str) {
        for _ in 0..2_000 {
            if screen.text().contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no {text:?} in {:?}", screen.text());
    }

    #[test]
    fn lines_stay_and_the_block_goes() {
        let screen = Page::default();
        let style = Style { colour: false, width: 80, live: true };
        let target = ProgressDrawTarget::term_like(Box::new(Screen(screen.clone())));
        let mut live = Live::new(Box::new(screen.clone()), target, style, Again::default());
        live.take(0, &started("train"));
        live.take(0, &progress(0, 1));
        wait_for(&screen, " train ");
        live.take(0, &Event::TaskDone(TaskDone { task: TaskFields::of(&"train".into()), recorded: true, ..TaskDone::default() }));
        wait_for(&screen, "━  1 of 1");
        live.take(0, &Event::RunEnded(RunEnded { state: RunState::Fine, ..RunEnded::default() }));
        live.end();
        drop(live);
        let text = screen.text();
        // The block is cleared before a line, drawn again below it, and cleared at the end.
        let line = text.find("<clear> ran       train\n").or_else(|| text.find(" ran       train\n<up")).unwrap();
        let (before, after) = text.split_at(line);
        assert!(before.contains("━  0 of 1") && after.contains("━  1 of 1"), "{text:?}");
        assert!(text.ends_with(" : nothing to do in 0 s\n"), "{text:?}");
        let last_block = text.rfind(" of 1").unwrap();
        assert!(text[last_block..].contains("<clear>"), "{text:?}");
        assert!(!text.contains("?25l"), "the cursor is hidden");
    }

    #[test]
    fn a_no_op_draws_nothing() {
        let (out, screen) = (Page::default(), Page::default());
        let target = ProgressDrawTarget::term_like(Box::new(Screen(screen.clone())));
        let mut live = Live::new(Box::new(out.clone()), target, Style { live: true, ..Style::default() }, Again::default());
        live.take(0, &Event::RunEnded(RunEnded { state: RunState::Fine, ..RunEnded::default() }));
        live.end();
        assert_eq!((screen.text().as_str(), out.text().as_str()), ("", " : nothing to do in 0 s\n"));
    }
}
