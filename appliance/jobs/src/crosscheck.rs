//! The cross-check of change tracking: which cells an incremental reads again although they are
//! called unchanged.
//!
//! Too many changed areas are legal, too few make a backup silently wrong, and no error ever tells
//! of it. So each incremental compares some of the unchanged cells with the chunks of its parent.
//! The disk's cells are cut into groups of `turns` neighbours; in each group every run takes one,
//! from a start that a keyed hash gives the group, and the next run of the chain takes the next.
//!
//! ```text
//! turns = 3     |0 1 2|3 4 5|6 7 8|9 …      starts by the seed: 2, 0, 1, …
//! turn 0             x  x      x
//! turn 1         x        x      x
//! turn 2           x        x x
//! ```
//! So of `n` cells no run reads more than `n / turns`, rounded up; the reads ascend; where they lie
//! is not to be foreseen from the disk's layout; and after `turns` runs each cell was taken once.
//!
//! What that finds: a lost area is found at the latest by the `turns`-th comparison after it was
//! lost, unless its cell was written again meanwhile and reported, which mends it. Let `m` areas
//! change in each run and each be lost with probability `p`. A loss in the run before the `k`-th
//! last comparison is found with probability min(1, k / turns), so within `r` runs nothing is found
//! with probability exp(-m p S), S = sum of min(1, k / turns) for k = 1 to r. With the default of
//! 5 % (20 turns) and 30 runs S is 20.5: losing 1 % is found with 0.99 where at least 23 areas
//! change in a run, and with certainty what was lost ten runs before the last and stayed lost.

use api::text;
use model::RunId;
use serde::{Deserialize, Serialize};

/// The share of a disk that an incremental compares, in percent, unless it is told otherwise.
pub const DEFAULT_PERCENT: u8 = 5;

/// Where a chain of incrementals stands with its comparisons; kept in each point's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The run that began it; its random id seeds the choice.
    #[serde(with = "text::display")]
    pub seed: RunId,
    /// Which turn this is, from 0; `turn < turns`.
    pub turn: u32,
    /// After so many turns each cell has had its own.
    pub turns: u32,
}

impl Rotation {
    /// The turn of `run`, after that of its parent. `percent` (100 at the most) is the share of a
    /// disk that may be compared; `None` for 0. Another share begins anew.
    #[must_use]
    pub fn next(before: Option<Self>, percent: u8, run: RunId) -> Option<Self> {
        let turns = 100_u32.div_ceil(u32::from((percent > 0).then_some(percent)?));
        Some(match before {
            Some(before) if before.turns == turns => {
                Self { turn: (before.turn + 1) % turns, ..before }
            }
            _ => Self { seed: run, turn: 0, turns },
        })
    }

    /// With this turn every cell has been compared since the rotation began.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.turn + 1 == self.turns
    }

    /// What this turn compares of the disk with this UUID.
    #[must_use]
    pub fn sample(self, disk_uuid: &str) -> Sample {
        let mut key = blake3::Hasher::new();
        key.update(&self.seed.0).update(disk_uuid.as_bytes());
        Sample {
            key: *key.finalize().as_bytes(),
            turn: u64::from(self.turn),
            turns: u64::from(self.turns.max(1)),
        }
    }
}

/// The cells of one disk whose turn it is.
#[derive(Clone, Debug)]
pub struct Sample {
    key: [u8; 32],
    turn: u64,
    turns: u64,
}

impl Sample {
    /// Those of the cells `first..end`, ascending.
    pub fn cells(&self, (first, end): (u64, u64)) -> impl Iterator<Item = u64> + '_ {
        (first / self.turns..end.div_ceil(self.turns))
            .map(|group| group * self.turns + (self.start(group) + self.turn) % self.turns)
            .filter(move |cell| (first..end).contains(cell))
    }

    /// Where in a group the rotation begins.
    fn start(&self, group: u64) -> u64 {
        let hash = blake3::keyed_hash(&self.key, &group.to_le_bytes());
        let (word, _) = hash.as_bytes().split_first_chunk().expect("32 bytes are more than 8");
        u64::from_le_bytes(*word) % self.turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(percent: u8, seed: u8) -> Vec<Rotation> {
        let mut list = Vec::new();
        let mut before = None;
        for run in 0..100 {
            let next = Rotation::next(before, percent, RunId([seed.wrapping_add(run); 16]));
            before = next;
            list.push(next.unwrap());
            if list.last().unwrap().is_whole() {
                break;
            }
        }
        list
    }

    proptest! {
        #[test]
        fn a_rotation_compares_every_cell_once_and_no_turn_more_than_its_share(
            percent in 1u8..=100,
            seed in any::<u8>(),
            cells in 1u64..2000,
            cut in 0u64..2000,
        ) {
            let cut = cut.min(cells);
            let rotation = turns(percent, seed);
            let mut times = vec![0; usize::try_from(cells).unwrap()];
            for turn in &rotation {
                let sample = turn.sample("6000C29a");
                let list: Vec<_> = sample.cells((0, cells)).collect();
                prop_assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
                let most = cells.div_ceil(rotation.len() as u64);
                prop_assert!(list.len() as u64 <= most);
                let parts: Vec<_> =
                    sample.cells((0, cut)).chain(sample.cells((cut, cells))).collect();
                prop_assert_eq!(&list, &parts, "wherever a window is cut");
                list.iter().for_each(|&cell| times[usize::try_from(cell).unwrap()] += 1);
            }
            prop_assert!(times.iter().all(|&times| times == 1));
        }
    }

    #[test]
    fn the_share_sets_the_number_of_turns_and_another_share_begins_anew() {
        let run = |n| RunId([n; 16]);
        assert_eq!(Rotation::next(None, 0, run(1)), None);
        for (percent, expected) in [(1, 100), (3, 34), (5, 20), (100, 1)] {
            assert_eq!(Rotation::next(None, percent, run(1)).unwrap().turns, expected);
        }
        let first = Rotation::next(None, 5, run(1)).unwrap();
        let second = Rotation::next(Some(first), 5, run(2)).unwrap();
        assert_eq!((second.seed, second.turn), (run(1), 1));
        let other = Rotation::next(Some(second), 10, run(3)).unwrap();
        assert_eq!((other.seed, other.turn, other.turns), (run(3), 0, 10));
    }

    #[test]
    fn seeds_and_disks_differ_in_what_they_take() {
        let take = |seed, disk: &str| -> Vec<u64> {
            Rotation::next(None, 5, RunId([seed; 16]))
                .unwrap()
                .sample(disk)
                .cells((0, 2000))
                .collect()
        };
        assert_eq!(take(1, "a"), take(1, "a"));
        assert_ne!(take(1, "a"), take(2, "a"));
        assert_ne!(take(1, "a"), take(1, "b"));
    }
}
