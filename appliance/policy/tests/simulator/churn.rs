//! Which cells of a virtual disk change on a day: four kinds of machines.
//!
//! Shares are of the disk's cells (1 MiB each). Every machine has a small hot set that changes
//! every day (journals, registry, directories), and gets patches each month.
//!
//! - Database, 12-28 GiB: draws of 3 % a day by Zipf over the data files; a redo log that is a ring
//!   of 2 %, half of it a day; 1 % temporary, all of it daily; on Sundays 3 % in one piece (a
//!   rebuilt index); grows from 70 % to 95 %.
//! - File server, 24-48 GiB: 0.15 % a day appended; 0.1 % edits, the more likely the younger the
//!   file; when full, new files take the place of a removed one anywhere.
//! - Idle, 8-12 GiB: the hot set, a log ring of 1 %, patches.
//! - Dev machine, 10-20 GiB: on workdays a fifth of a build area of 15 %; images through a ring of
//!   25 %, 0.5 % a day; 0.3 % by Zipf anywhere.
//!
//! Patches: on one day of each month 3 % of the disk in pieces of 8 cells within its first 30 %,
//! and every sixth month 8 %.

use crate::chance::{Chance, whole};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Database,
    FileServer,
    Idle,
    Dev,
}

impl Profile {
    /// Cells of a disk: smallest and largest.
    fn cells(self) -> (u32, u32) {
        match self {
            Self::Database => (12 << 10, 28 << 10),
            Self::FileServer => (24 << 10, 48 << 10),
            Self::Idle => (8 << 10, 12 << 10),
            Self::Dev => (10 << 10, 20 << 10),
        }
    }
}

/// Cells that are written together, so that hot and cold do not alternate cell by cell.
const PIECE: u32 = 8;
/// Cells that change every day, whatever the machine does.
const HOT: u32 = 12;

pub(crate) struct Machine {
    profile: Profile,
    cells: u32,
    /// First cell never written to yet; everything below is in use.
    used: u32,
    ring: u32,
    patch_day: u32,
    /// Rank of popularity -> piece.
    pieces: Vec<u32>,
    chance: Chance,
    changed: Vec<u32>,
}

impl Machine {
    pub(crate) fn new(profile: Profile, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let (least, most) = profile.cells();
        let cells = chance.between(least, most);
        let share = if profile == Profile::FileServer { 0.6 } else { 0.7 };
        let used = whole(f64::from(cells) * share);
        let mut pieces: Vec<u32> = (0..used / PIECE).collect();
        for at in (1..pieces.len()).rev() {
            let other = chance.below(u32::try_from(at + 1).unwrap()) as usize;
            pieces.swap(at, other);
        }
        let patch_day = chance.below(28);
        Self { profile, cells, used, ring: 0, patch_day, pieces, chance, changed: Vec::new() }
    }

    pub(crate) fn cells(&self) -> u32 {
        self.cells
    }

    /// The first backup: every cell in use.
    pub(crate) fn full(&self) -> Vec<u32> {
        (0..self.used).collect()
    }

    /// The cells that changed on `day`, in no order, some more than once.
    pub(crate) fn day(&mut self, day: u32) -> Vec<u32> {
        for hot in 0..HOT {
            self.touch(hot * 97 % self.used);
        }
        match self.profile {
            Profile::Database => self.database(day),
            Profile::FileServer => self.file_server(),
            Profile::Idle => self.ring(0.9, 0.01, 0.002),
            Profile::Dev => self.dev(day),
        }
        if day % 30 == self.patch_day {
            self.patch(day);
        }
        std::mem::take(&mut self.changed)
    }

    fn database(&mut self, day: u32) {
        self.popular(0.03);
        self.ring(0.3, 0.02, 0.01);
        self.range(self.of(0.35), self.of(0.01));
        if day % 7 == 6 {
            let from = self.chance.below(self.used - self.of(0.03));
            self.range(from, self.of(0.03));
        }
        if self.used < self.of(0.95) {
            let more = self.share(0.000_25);
            self.append(more);
        }
    }

    fn file_server(&mut self) {
        for _ in 0..self.share(0.001) {
            let back = self.chance.zipf(self.used);
            self.touch(self.used - 1 - back);
        }
        let new = self.share(0.0015);
        if self.used + new < self.of(0.98) {
            self.append(new);
        } else {
            let from = self.chance.below(self.used - new);
            self.range(from, new);
        }
    }

    fn dev(&mut self, day: u32) {
        self.popular(0.003);
        self.ring(0.3, 0.25, 0.005);
        if day % 7 < 5 {
            let (from, area) = (self.of(0.55), self.of(0.15));
            for _ in 0..area / 5 / PIECE {
                let at = from + self.chance.below(area);
                self.range(at, PIECE);
            }
        }
    }

    fn patch(&mut self, day: u32) {
        let share = if day % 180 < 30 { 0.08 } else { 0.03 };
        for _ in 0..self.of(share) / PIECE {
            let at = self.chance.below(self.of(0.3));
            self.range(at, PIECE);
        }
    }

    /// Draws of `share` of the disk by popularity.
    fn popular(&mut self, share: f64) {
        let ranks = u32::try_from(self.pieces.len()).unwrap();
        for _ in 0..self.of(share) {
            let piece = self.pieces[self.chance.zipf(ranks) as usize];
            let within = self.chance.below(PIECE);
            self.touch(piece * PIECE + within);
        }
    }

    /// Goes on writing through the ring of `length` that lies at `from` of the part in use.
    fn ring(&mut self, from: f64, length: f64, a_day: f64) {
        let from = whole(f64::from(self.used) * from * 0.9);
        let (length, step) = (self.of(length), self.of(a_day));
        for _ in 0..step {
            self.ring = (self.ring + 1) % length;
            self.touch(from + self.ring);
        }
    }

    fn append(&mut self, cells: u32) {
        let from = self.used;
        self.used = (self.used + cells).min(self.cells);
        self.range(from, self.used - from);
    }

    fn range(&mut self, from: u32, length: u32) {
        (from..from + length).for_each(|cell| self.touch(cell));
    }

    fn touch(&mut self, cell: u32) {
        if cell < self.used {
            self.changed.push(cell);
        }
    }

    fn of(&self, share: f64) -> u32 {
        whole(f64::from(self.cells) * share)
    }

    /// As [`Self::of`], the fraction left to chance: small shares are right on average.
    fn share(&mut self, share: f64) -> u32 {
        let chance = self.chance.unit();
        whole(f64::from(self.cells) * share + chance)
    }
}
