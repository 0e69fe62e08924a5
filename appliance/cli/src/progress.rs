//! How far the work is: a bar for each run on a terminal, a line now and then elsewhere. All of
//! it goes to standard error.

use crate::output::{Show, clean, complain, duration, size};
use api::{Progress, Run, RunState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Without a terminal, the same step is reported again after this time.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows a fixed set of things that advance, each under its name.
pub(crate) enum Meter {
    /// A program reads the result; nobody looks.
    Quiet,
    Bars(Vec<ProgressBar>),
    Lines(Vec<Line>),
}

pub(crate) struct Line {
    name: String,
    said: String,
    at: Option<Instant>,
}

impl Meter {
    /// One place for each of `names`.
    pub(crate) fn new(show: Show, names: &[String]) -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars(bars(names))
        } else if show.json {
            Self::Quiet
        } else {
            let line = |name: &String| Line { name: clean(name), said: String::new(), at: None };
            Self::Lines(names.iter().map(line).collect())
        }
    }

    /// The run at `place` as it stands now.
    pub(crate) fn run(&mut self, place: usize, run: &Run) {
        let step = clean(run.step.as_deref().unwrap_or(state_word(run.state)));
        if run.state.is_final() {
            let whole = matches!(run.state, RunState::Succeeded | RunState::Warning);
            return self.done(place, whole, state_word(run.state));
        }
        match &run.progress {
            Some(progress) => {
                let figures = figures(progress);
                self.advance(place, progress.done_bytes, progress.total_bytes, &step, &figures);
            }
            None => self.advance(place, 0, 0, &step, ""),
        }
    }

    /// `done` of `total` bytes, in `step`, with more `figures` for people.
    pub(crate) fn advance(
        &mut self,
        place: usize,
        done: u64,
        total: u64,
        step: &str,
        figures: &str,
    ) {
        match self {
            Self::Quiet => {}
            Self::Bars(bars) => {
                let bar = &bars[place];
                bar.set_length(total.max(1));
                bar.set_position(done);
                bar.set_message(join(step, figures));
            }
            Self::Lines(lines) => lines[place].say(step, figures, Instant::now()),
        }
    }

    /// Nothing more will come at `place`; `whole`: all of it was done.
    pub(crate) fn done(&mut self, place: usize, whole: bool, word: &str) {
        match self {
            Self::Quiet => {}
            Self::Bars(bars) if bars[place].is_finished() => {}
            Self::Bars(bars) => {
                let bar = &bars[place];
                if whole {
                    bar.set_position(bar.length().unwrap_or(0));
                }
                bar.abandon_with_message(word.to_owned());
            }
            Self::Lines(lines) => lines[place].say(word, "", Instant::now()),
        }
    }
}

impl Line {
    /// Says a new step at once, the same one when some time has passed.
    fn say(&mut self, step: &str, figures: &str, now: Instant) {
        let due = self.at.is_none_or(|at| now.duration_since(at) >= LINE_INTERVAL);
        if self.said == step && (figures.is_empty() || !due) {
            return;
        }
        complain(&format!("{}: {}\n", self.name, join(step, figures)));
        step.clone_into(&mut self.said);
        self.at = Some(now);
    }
}

fn bars(names: &[String]) -> Vec<ProgressBar> {
    let together = MultiProgress::new();
    let width = names.iter().map(|name| clean(name).chars().count()).max().unwrap_or(0);
    let style = ProgressStyle::with_template("{prefix} {bar:16} {percent:>3} %  {wide_msg}")
        .expect("the template is a constant")
        .progress_chars("━╸─");
    let bar = |name: &String| {
        let bar = together.add(ProgressBar::new(1)).with_style(style.clone());
        bar.set_prefix(format!("{:<width$}", clean(name)));
        bar
    };
    names.iter().map(bar).collect()
}

fn figures(progress: &Progress) -> String {
    let (done, total) = (size(progress.done_bytes), size(progress.total_bytes));
    let rate = size(progress.rate_bytes_per_second);
    let left = progress.eta_seconds.map(|s| format!(", {} left", duration(s))).unwrap_or_default();
    format!("{done} of {total}, {rate}/s{left}, {}", clean(&progress.disk))
}

fn join(step: &str, figures: &str) -> String {
    if figures.is_empty() { step.to_owned() } else { format!("{step}: {figures}") }
}

/// The state in words.
pub(crate) fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Queued => "queued",
        RunState::Running => "running",
        RunState::Succeeded => "succeeded",
        RunState::Warning => "succeeded with warnings",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
    }
}
