//! Rounds: everybody who is wanted does all that is wanted of him, one after another, three times.
//!
//! So that each contestant meets the same minutes of a machine whose speed changes, the rounds
//! are interleaved; what counts is the median of a run's figures over the rounds. One campaign
//! serves all cases: a full ingest is measured once per round, however many ratios it is in.

use super::contestants::{self, Contestant};
use super::disk::{DataSet, data_set};
use super::median;
use super::timed::Figure;
use anyhow::{Context as _, Result, anyhow, bail};
use lab::place::fresh_directory;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Of an odd number the median is one of them.
pub const ROUNDS: usize = 3;

/// One program doing one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Run {
    /// A full backup of the first state into a new repository.
    OurFull,
    /// That point's disk to nowhere.
    OurRestore,
    /// Everything that the point reaches, read and checked.
    OurVerify,
    /// The second state, with the list of what changed.
    OurIncremental,
    /// A full backup, new repository.
    BorgFull,
    /// That archive to nowhere.
    BorgRestore,
    /// `check --verify-data`.
    BorgVerify,
    /// A full backup, new repository.
    ResticFull,
    /// A full backup, new repository.
    KopiaFull,
    /// The compression alone, stored nowhere.
    ZstdLimit,
}

/// The figures of a campaign.
pub struct Figures {
    /// What was measured with.
    pub data: DataSet,
    taken: BTreeMap<Run, Vec<Figure>>,
    versions: BTreeMap<&'static str, String>,
    absent: BTreeMap<&'static str, String>,
    failed: BTreeMap<&'static str, String>,
    loads: Vec<f64>,
}

/// A contestant is not installed; the text says which and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Absent(String);

impl Figures {
    /// Measures `wanted` and what must go before.
    ///
    /// # Errors
    /// When the disk to measure with cannot be made. Failures of contestants come out of
    /// [`Figures::of`], for the cases that need them only.
    pub fn take(wanted: &BTreeSet<Run>) -> Result<Self> {
        let mut figures = Self {
            data: data_set()?,
            taken: BTreeMap::new(),
            versions: BTreeMap::new(),
            absent: BTreeMap::new(),
            failed: BTreeMap::new(),
            loads: Vec::new(),
        };
        let those: Vec<_> = contestants::ALL.iter().filter(|one| has_part(one, wanted)).collect();
        for one in &those {
            match (one.version)() {
                Ok(version) => drop(figures.versions.insert(one.name, version)),
                Err(error) => drop(figures.absent.insert(one.name, format!("{error:#}"))),
            }
        }
        let directory = fresh_directory()?;
        for round in 0..ROUNDS {
            for one in &those {
                figures.turn(one, wanted, directory.path(), round == 0);
            }
        }
        Ok(figures)
    }

    /// One contestant's turn; what goes wrong is kept.
    fn turn(&mut self, one: &Contestant, wanted: &BTreeSet<Run>, directory: &Path, first: bool) {
        if self.absent.contains_key(one.name) || self.failed.contains_key(one.name) {
            return;
        }
        self.loads.extend(load());
        if let Err(error) = self.try_turn(one, wanted, directory, first) {
            self.failed.insert(one.name, format!("{error:#}"));
        }
    }

    fn try_turn(
        &mut self,
        one: &Contestant,
        wanted: &BTreeSet<Run>,
        directory: &Path,
        first: bool,
    ) -> Result<()> {
        let turn = tempfile::tempdir_in(directory)?;
        let place = turn.path().join("store");
        std::fs::create_dir(&place)?;
        (one.prepare)(&place).with_context(|| format!("preparing {}", one.name))?;
        for &run in one.runs {
            // The first run of a contestant makes the store that the others need.
            if run == one.runs[0] || wanted.contains(&run) {
                let figure = (one.run)(run, &place, &self.data);
                let figure = figure.with_context(|| format!("measuring {run:?}"))?;
                self.taken.entry(run).or_default().push(figure);
            }
        }
        if first && one.runs[0] == Run::OurFull {
            contestants::check(&place, &self.data, wanted.contains(&Run::OurIncremental))?;
        }
        Ok(turn.close()?)
    }

    /// The medians of a run over the rounds.
    ///
    /// # Errors
    /// [`Absent`] when its contestant is not installed; another when it failed.
    pub fn of(&self, run: Run) -> Result<Figure> {
        let one = contestants::ALL.iter().find(|one| one.runs.contains(&run));
        let name = one.context("a run is somebody's")?.name;
        if let Some(why) = self.absent.get(name) {
            return Err(anyhow!(Absent(why.clone())));
        }
        if let Some(why) = self.failed.get(name) {
            bail!("{why}");
        }
        let taken = self.taken.get(&run).with_context(|| format!("{run:?} was not asked for"))?;
        let of = |figure: fn(&Figure) -> f64| median(taken.iter().map(figure).collect());
        Ok(Figure {
            seconds: of(|figure| figure.seconds),
            cpu_seconds: of(|figure| figure.cpu_seconds),
            ..taken.last().cloned().unwrap_or_default()
        })
    }

    /// Name and version of a contestant.
    #[must_use]
    pub fn version(&self, name: &str) -> String {
        self.versions.get(name).cloned().unwrap_or_default()
    }

    /// The conditions, for a note.
    #[must_use]
    pub fn about(&self) -> String {
        let low = self.loads.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.loads.iter().copied().fold(0.0, f64::max);
        format!(
            "{} from memory, whole processes until synced, median of {ROUNDS} interleaved \
             rounds, load of the machine {low:.1} to {high:.1}",
            self.data.about()
        )
    }
}

fn has_part(one: &Contestant, wanted: &BTreeSet<Run>) -> bool {
    one.runs.iter().any(|run| wanted.contains(run))
}

/// The load average of the last minute, where the system tells it.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
