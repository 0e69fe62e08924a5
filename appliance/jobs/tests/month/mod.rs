//! Months of a site, by seeds: guests that write, snapshots of others, disks that grow, change
//! tracking that begins anew, migrations, lost power, vCenter restarts, people who cancel, calls
//! that fail. Every point must hold what the guest saw at its snapshot, for as long as it exists,
//! and nothing of ours may stay on any VM. `HOLDFAST_MONTHS=N` runs more, `HOLDFAST_SEED=N` one.

mod machine;
mod site;

use crate::Dice;
use crate::world::MemoryStore;
use jobs::sweep::SETTLED_AFTER_SECONDS;
use jobs::{Backup, BackupReport, Journal, Progress, RunError, Settings, Verdicts, sweep};
use machine::{MIB, Machine};
use model::{ReadMode, RunId, WallTime};
use site::{Disk, Event, NoNetwork, San, Site};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const VMS: usize = 3;
const DAYS: usize = 28;
/// Months of a usual test run: 252 backups.
const MONTHS: u64 = 3;
const NOW: WallTime = WallTime(1_800_000_000);

type Bytes = Arc<Mutex<Vec<u8>>>;

/// How often what happened; a month in which something never happens proves nothing of it.
type Tally = BTreeMap<&'static str, usize>;

struct Month {
    site: Arc<Site>,
    journal: Bytes,
    verdicts: Bytes,
    /// What each point of each VM must be.
    wanted: Vec<Vec<u64>>,
    runs: u32,
    dice: Dice,
    tally: Tally,
    context: String,
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Month {
    fn new(seed: u64, directory: &std::path::Path) -> Self {
        let dice = |salt: u64| Dice((seed + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let machines = (0..VMS).map(|number| Machine::new(number, directory)).collect();
        Self {
            site: Site::new(machines, dice(1 << 32)),
            journal: Bytes::default(),
            verdicts: Bytes::default(),
            wanted: vec![Vec::new(); VMS],
            runs: 0,
            dice: dice(0),
            tally: Tally::new(),
            context: String::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn journal(&self) -> Arc<Journal> {
        let log = Disk(Arc::clone(&self.site), Arc::clone(&self.journal));
        Arc::new(Journal::load(Box::new(log)).unwrap())
    }

    /// What happens to a VM between two backups.
    fn day(&mut self, vm: usize) {
        let what = self.dice.below(24);
        let site = Arc::clone(&self.site);
        let mut machine = site.machine(vm);
        for _ in 0..self.dice.below(6) {
            machine.write_somewhere(&mut self.dice);
        }
        machine.rests = self.dice.below(6) > 0;
        let what = match what {
            0 | 1 if machine.others.len() < 4 => {
                let truth = machine.truth.clone();
                machine.others.push(truth);
                "snapshot of others"
            }
            2..=4 if !machine.others.is_empty() => {
                let at = self.dice.below(machine.others.len() as u64);
                machine.others.remove(usize::try_from(at).unwrap());
                "others remove theirs"
            }
            5 | 6 if machine.capacity() < 8 * MIB && machine.others.is_empty() => {
                machine.grow(MIB);
                "disk grows"
            }
            7 => {
                machine.reset_tracking();
                "change tracking anew"
            }
            8 => {
                machine.migrate();
                "migration"
            }
            9 => {
                machine.migrate();
                machine.reset_tracking();
                "migration with change tracking anew"
            }
            10 => {
                machine.consolidation_needed = true;
                "consolidation needed"
            }
            _ => "quiet day",
        };
        for _ in 0..self.dice.below(3) {
            machine.write_somewhere(&mut self.dice);
        }
        machine.lay_down();
        drop(machine);
        self.count(what);
    }

    /// What will happen during the next run.
    fn fate(&mut self, vm: usize, progress: &Arc<Progress>) {
        self.site.calm();
        let mut plan = BTreeMap::new();
        let at = |dice: &mut Dice| usize::try_from(dice.below(140)).unwrap();
        for _ in 0..self.dice.below(4) {
            plan.insert(at(&mut self.dice), Event::Write(vm));
        }
        let place = at(&mut self.dice);
        let (what, event) = match self.dice.below(14) {
            0 | 1 => ("a call fails", Some(Event::Fail)),
            2 => {
                let calls = 1 + usize::try_from(self.dice.below(8)).unwrap();
                ("vCenter restarts", Some(Event::Restart(calls)))
            }
            3 => ("power is lost", Some(Event::PowerLoss)),
            4 => ("a run is cancelled", Some(Event::Cancel(Arc::clone(progress)))),
            5 => ("others make a snapshot meanwhile", Some(Event::OtherSnapshot(vm))),
            _ => ("an undisturbed run", None),
        };
        plan.extend(event.map(|event| (place, event)));
        self.site.fate.lock().unwrap().plan = plan;
        self.count(what);
    }

    async fn backup(
        &mut self,
        vm: usize,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, RunError> {
        self.runs += 1;
        let mut run = [0; 16];
        run[..4].copy_from_slice(&self.runs.to_be_bytes());
        let verdicts = Disk(Arc::clone(&self.site), Arc::clone(&self.verdicts));
        let verdicts = Arc::new(Verdicts::load(Box::new(verdicts)).unwrap());
        let journal = self.journal();
        self.fate(vm, progress);
        let store = self.site.machine(vm).store.clone();
        let backup: Backup<Site, San, MemoryStore> = Backup {
            hypervisor: Arc::clone(&self.site),
            fabric: Arc::new(San(Arc::clone(&self.site))),
            store,
            network: Arc::new(NoNetwork),
            verdicts,
            journal,
            wall: || NOW,
        };
        let settings = Settings { map_pause: Duration::from_millis(1), ..Settings::default() };
        backup.run(&Site::uuid(vm), RunId(run), settings, progress).await
    }

    /// One backup of one VM, and what it must leave behind.
    async fn run(&mut self, vm: usize) {
        let progress = Arc::new(Progress::default());
        let result = self.backup(vm, &progress).await;
        self.site.calm();
        match &result {
            Ok(report) => {
                let full = matches!(report.disks[0].mode, ReadMode::Full { .. });
                self.count(if full { "full" } else { "incremental" });
                self.keep(vm, report);
            }
            Err(_) => self.count("run without a point"),
        }
        let points = self.site.machine(vm).store.points.lock().unwrap().len();
        assert_eq!(points, self.wanted[vm].len(), "{}: {result:?}", self.context);
        self.settle(vm).await;
        self.site.machine(vm).consolidation_needed = false; // somebody sees to it
    }

    /// A point holds what the guest saw.
    fn keep(&mut self, vm: usize, report: &BackupReport) {
        let machine = self.site.machine(vm);
        let points = machine.store.points.lock().unwrap();
        let point = points.last().unwrap();
        assert_eq!(point.id, report.point, "{}", self.context);
        let image = point.image();
        if let Some(at) = image.iter().zip(&machine.moment).position(|(one, other)| one != other) {
            panic!("{}: byte {at} of the point is wrong, {:?}", self.context, report.disks[0].mode);
        }
        assert_eq!(image.len(), machine.moment.len(), "{}", self.context);
        self.wanted[vm].push(digest(&image));
    }

    /// The appliance starts again, much later: what was left open is undone, through another
    /// fault if the dice want it.
    async fn settle(&mut self, vm: usize) {
        let later = WallTime(NOW.0 + SETTLED_AFTER_SECONDS);
        if self.dice.below(3) == 0 {
            let at = usize::try_from(self.dice.below(6)).unwrap();
            let journal = self.journal();
            self.site.fate.lock().unwrap().plan.insert(at, Event::Fail);
            sweep(&*self.site, &journal, later).await;
            self.site.calm();
        }
        let journal = self.journal();
        for swept in sweep(&*self.site, &journal, later).await {
            swept.outcome.unwrap_or_else(|error| panic!("{}: {error}", self.context));
            self.count("something was left to undo");
        }
        let mut machine = self.site.machine(vm);
        assert!(machine.ours.is_empty(), "{}: a snapshot of ours is left", self.context);
        assert!(machine.blocked.is_empty(), "{}: a method stays blocked", self.context);
        assert!(journal.pending().is_empty(), "{}", self.context);
        machine.lay_down();
    }

    /// Every point is still what it was made as.
    fn restore_all(&self) -> usize {
        let mut restored = 0;
        for (vm, wanted) in self.wanted.iter().enumerate() {
            let machine = self.site.machine(vm);
            let points = machine.store.points.lock().unwrap();
            for (number, (point, wanted)) in points.iter().zip(wanted).enumerate() {
                let context = format!("{}: point {number} of VM {vm} has changed", self.context);
                assert_eq!(digest(&point.image()), *wanted, "{context}");
                restored += 1;
            }
        }
        restored
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[tokio::test]
async fn every_point_of_a_month_is_what_the_guest_saw_and_nothing_of_ours_stays() {
    let months = number("HOLDFAST_MONTHS").unwrap_or(MONTHS);
    let seeds = number("HOLDFAST_SEED").map_or(0..months, |seed| seed..seed + 1);
    let (alone, mut tally, mut runs) = (seeds.end - seeds.start == 1, Tally::new(), 0);
    for seed in seeds {
        let directory = tempfile::tempdir().unwrap();
        let mut month = Month::new(seed, directory.path());
        for day in 0..DAYS {
            for vm in 0..VMS {
                month.context = format!("HOLDFAST_SEED={seed} day {day} VM {vm}");
                month.day(vm);
                month.run(vm).await;
            }
        }
        runs += month.runs;
        *month.tally.entry("restored and compared").or_default() += month.restore_all();
        for (what, count) in month.tally {
            *tally.entry(what).or_default() += count;
        }
    }
    println!("{runs} runs: {tally:#?}");
    let never: Vec<_> = WHAT.iter().filter(|what| !tally.contains_key(*what)).collect();
    assert!(alone || never.is_empty(), "this never happened: {never:?}");
    assert!(alone || tally["incremental"] * 3 > runs as usize, "{tally:?}");
}

/// What must have happened in all months together.
const WHAT: [&str; 16] = [
    "snapshot of others",
    "others remove theirs",
    "disk grows",
    "change tracking anew",
    "migration",
    "migration with change tracking anew",
    "consolidation needed",
    "a call fails",
    "vCenter restarts",
    "power is lost",
    "a run is cancelled",
    "others make a snapshot meanwhile",
    "full",
    "incremental",
    "run without a point",
    "something was left to undo",
];
