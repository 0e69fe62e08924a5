//! Does a path lead to the LUN that was found? Asked before a path is used, after a loss or an
//! announced change, and by whoever has read a disk and is about to use it.

use super::Lun;
use super::way::Way;
use crate::SanError;
use crate::facts::{Identity, identify, look};
use crate::job::Mark;
use crate::multipath::Link;
use crate::path::Path;
use scsi::{AccessState, disk};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::{Instant, timeout};

/// What two paths to one LUN must show alike, beside their names (the first MiB).
const COMPARED: u64 = 1 << 20;
/// How often it is read again because it is being written.
const COMPARE_MAX: u32 = 5;

/// Hash of the first MiB.
pub(super) type Print = blake3::Hash;

impl Lun {
    /// Asks the LUN again who it is, by every path that brought bytes since this was last asked.
    /// An error when it is not what it was when it was found.
    ///
    /// A device has to announce a change (unit attention), and then this happens by itself; one
    /// that does not (tgtd is one) can only be caught by asking. So ask after the last read of a
    /// disk, before what was read is used. A path that was lost since cannot be asked; what it
    /// brought was proven when it came. At least one path has to answer.
    pub async fn verify(&self) -> Result<(), SanError> {
        let ways: Vec<(usize, Arc<Way>)> = self.ways().iter().cloned().enumerate().collect();
        let (used, unused): (Vec<_>, Vec<_>) =
            ways.into_iter().partition(|(_, way)| way.used.swap(false, Relaxed));
        let (mut asked, mut problem) = (false, None);
        for (at, way) in used {
            match self.ask(at, &way).await {
                Ok(_) => asked = true,
                Err(error) => {
                    way.used.store(true, Relaxed);
                    if matches!(error, SanError::IdentityChanged { .. }) {
                        return Err(error);
                    }
                    problem = Some(error);
                }
            }
        }
        let candidates = unused.into_iter().filter(|(at, _)| self.lock().view(*at).proven);
        for (at, way) in candidates {
            if asked {
                break;
            }
            match self.ask(at, &way).await {
                Ok(_) => asked = true,
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        if asked { Ok(()) } else { Err(problem.unwrap_or_else(|| self.no_path())) }
    }

    /// True when the LUN was the right one at `mark`. A new mark makes it be asked who it is;
    /// false when that does not settle it and the bytes must be read again.
    pub(super) async fn is_verified(&self, at: usize, mark: Mark) -> Result<bool, SanError> {
        let way = self.way(at);
        if way.verified() == Some(mark) {
            return Ok(true);
        }
        let _one_at_a_time = way.asking.lock().await;
        if way.verified() == Some(mark) {
            return Ok(true);
        }
        match self.ask(at, &way).await {
            Ok(now) => Ok(now == mark),
            // What is left decides: another path reads the bytes again.
            Err(error) if self.lock().overtaken(at, true).is_some() => {
                tracing::warn!(path = way.path.line(), "read again by another path: {error}");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks by one path, which counts as restored after a good answer, as refused after a wrong
    /// one, and as lost without any.
    async fn ask(&self, at: usize, way: &Way) -> Result<Mark, SanError> {
        let asked = self.unless_overtaken(at, Instant::now(), identify(&way.path)).await;
        let asked = asked.unwrap_or_else(|_| Err(way.path.unanswered("identification", "silent")));
        self.take(at, way, asked)
    }

    /// What the answer means for the path.
    fn take(
        &self,
        at: usize,
        way: &Way,
        asked: Result<(Identity, Mark), SanError>,
    ) -> Result<Mark, SanError> {
        self.hear(at, way);
        let (identity, mark) = match asked {
            Ok(answer) => answer,
            Err(error) => {
                self.blame(at, way, &error);
                return Err(error);
            }
        };
        if let Some(what) = self.way(0).facts.identity.difference(&identity) {
            let error = way.changed(what);
            self.refuse(at, way, &error);
            return Err(error);
        }
        if identity.capacity.is_none() {
            return Err(way.path.unanswered("identification", "it does not tell its size now"));
        }
        way.set_verified(mark);
        let view = self.lock().view(at);
        if view.link == Link::Down && view.proven {
            self.lock().restored(at, self.now());
            tracing::info!(path = way.path.line(), "the path is back");
            self.announce();
        }
        Ok(mark)
    }

    /// Asks by a path that was lost, for as long as it takes.
    pub(super) async fn is_the_same(&self, at: usize, way: &Way) -> Result<(), SanError> {
        let asked = identify(&way.path).await;
        self.take(at, way, asked).map(drop)
    }

    /// Compares a path with the others: names, texts, size, and the first MiB. It is used from
    /// then on, or refused with an error that names what differs.
    pub(crate) async fn prove(&self, at: usize) -> Result<(), SanError> {
        let mut print = self.0.print.lock().await;
        let way = self.way(at);
        let looked = look(&way.path).await?;
        let Some((facts, mark)) = looked else {
            let error = way.changed("its kind");
            self.refuse(at, &way, &error);
            return Err(error);
        };
        let reference = self.way(0);
        let mut what = reference.facts.difference(&facts);
        if what.is_none() {
            if facts.identity.capacity.is_none() {
                return Err(way.path.unanswered("identification", "it does not tell its size now"));
            }
            what = (!self.shows_the_same(at, &way, &mut print).await?).then_some("the first MiB");
        }
        if let Some(what) = what {
            let error = self.ambiguous(&reference, &way, what);
            self.refuse(at, &way, &error);
            return Err(error);
        }
        way.set_verified(mark);
        way.told_protection(facts.write_protected);
        self.lock().restored(at, self.now());
        self.announce();
        Ok(())
    }

    /// Whether the first MiB is the same by this path as by one that is proven, or, where none
    /// answers, as it was when paths were last compared.
    async fn shows_the_same(
        &self,
        at: usize,
        way: &Way,
        print: &mut Option<Print>,
    ) -> Result<bool, SanError> {
        let mut proven = 0;
        for other in 0..self.count() {
            let view = self.lock().view(other);
            if other == at || !view.proven {
                continue;
            }
            proven += 1;
            if view.link == Link::Up
                && let Some(same) = self.compare(&self.way(other), way, print).await?
            {
                return Ok(same);
            }
        }
        let here = self.print_of(&way.path).await?;
        match *print {
            Some(known) => Ok(known == here),
            None if proven == 0 => {
                *print = Some(here);
                Ok(true)
            }
            None => Err(way.path.unanswered("comparison", "no other path answers")),
        }
    }

    /// `None`: the other path does not answer. What differs may be a write of another host
    /// between two reads, so it counts only when the other path shows the same before and after.
    async fn compare(
        &self,
        other: &Way,
        way: &Way,
        print: &mut Option<Print>,
    ) -> Result<Option<bool>, SanError> {
        let patience = self.limits().failover_after;
        for _ in 0..COMPARE_MAX {
            let Ok(Ok(before)) = timeout(patience, self.print_of(&other.path)).await else {
                return Ok(None);
            };
            let here = self.print_of(&way.path).await?;
            let mut same = here == before;
            if !same {
                let Ok(Ok(after)) = timeout(patience, self.print_of(&other.path)).await else {
                    return Ok(None);
                };
                same = here == after;
                if !same && before == after {
                    return Ok(Some(false));
                }
            }
            if same {
                *print = Some(here);
                return Ok(Some(true));
            }
        }
        Err(way.path.unanswered("comparison", "the first MiB is written all the time"))
    }

    /// Takes down what the first MiB is, while a path serves reads that is proven: one that joins
    /// in standby may serve them only when no other one does any more.
    pub(crate) async fn keep_print(&self) {
        let mut print = self.0.print.lock().await;
        for at in 0..self.count() {
            let view = self.lock().view(at);
            let reads = view.access.is_none_or(AccessState::reads);
            if print.is_some() || !view.proven || view.link != Link::Up || !reads {
                continue;
            }
            match self.print_of(&self.way(at).path).await {
                Ok(here) => *print = Some(here),
                Err(error) => tracing::debug!(lun = self.info().line(), "no print: {error}"),
            }
        }
    }

    async fn print_of(&self, path: &Path) -> Result<Print, SanError> {
        let block_size = self.info().block_size;
        let blocks = self.info().capacity.min(COMPARED) / u64::from(block_size);
        let most = u64::from((path.transport.limits().transfer / block_size).max(1));
        let mut hash = blake3::Hasher::new();
        let mut done = 0;
        while done < blocks {
            let count = u32::try_from((blocks - done).min(most)).expect("a MiB fits 32 bits");
            let cdb = disk::read_16(done, count, block_size).expect("a MiB fits 32 bits");
            let read = path.run("READ(16)", cdb).await?;
            let (got, wanted) = (read.transferred, cdb.data_in());
            if got != wanted {
                let (lun, target) = (path.lun, path.target());
                return Err(SanError::Short { operation: "READ(16)", lun, target, got, wanted });
            }
            hash.update(read.received());
            done += u64::from(count);
        }
        Ok(hash.finalize())
    }

    fn ambiguous(&self, one: &Way, other: &Way, what: &'static str) -> SanError {
        match self.info().names.first() {
            Some(name) => {
                let seen = [one, other].map(Way::line).to_vec();
                SanError::Ambiguous { name: name.clone(), what, seen }
            }
            None => other.changed(what),
        }
    }

    /// The path leads to something else.
    fn refuse(&self, at: usize, way: &Way, error: &SanError) {
        tracing::warn!(path = way.path.line(), "not used any more: {error}");
        way.remember(error);
        way.refuse(error);
        self.lock().refused(at);
        self.announce();
    }
}
