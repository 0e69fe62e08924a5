//! Fifty VMs: 12 databases, 12 file servers, 14 idle ones, 12 dev machines.

use crate::churn::Profile;
use crate::replay::{Usage, replay};
use crate::timeline::Timeline;
use crate::variants::Variant;
use policy::gfs::KeepRules;

const VMS: [(Profile, u64); 4] =
    [(Profile::Database, 12), (Profile::FileServer, 12), (Profile::Idle, 14), (Profile::Dev, 12)];

/// Usage of one variant by profile, in the order of `VMS`.
pub(crate) type ByProfile = Vec<Usage>;

/// What to simulate. VMs share no segments, so each is simulated alone and the sums are exact.
pub(crate) struct Site<'a> {
    pub(crate) seed: u64,
    pub(crate) rules: KeepRules,
    pub(crate) days: u16,
    pub(crate) variants: &'a [Variant],
    /// Only every `n`-th VM of each kind.
    pub(crate) every: u64,
}

impl Site<'_> {
    /// Usage of every variant, on two threads.
    pub(crate) fn run(&self) -> Vec<ByProfile> {
        let (even, odd) = std::thread::scope(|scope| {
            let odd = scope.spawn(|| self.every_second(1));
            (self.every_second(0), odd.join().unwrap())
        });
        let mut sums = even;
        for (sums, others) in sums.iter_mut().zip(&odd) {
            sums.iter_mut().zip(others).for_each(|(sum, other)| sum.add(other));
        }
        sums
    }

    fn every_second(&self, first: u64) -> Vec<ByProfile> {
        let empty = vec![Usage::new(self.days); VMS.len()];
        let mut sums = vec![empty; self.variants.len()];
        for (kind, &(profile, count)) in VMS.iter().enumerate() {
            for vm in (0..count / self.every).filter(|vm| vm % 2 == first) {
                let seed = self.seed * 1000 + kind as u64 * 100 + vm;
                let timeline = Timeline::new(profile, seed, &self.rules, self.days);
                for (variant, sums) in self.variants.iter().zip(&mut sums) {
                    replay(&timeline, variant, &mut sums[kind]);
                }
            }
        }
        sums
    }
}
