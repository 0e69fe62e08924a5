//! The main job from the first backup to the refused deletion, as a user would do it: through
//! the command line, on a site that the lab stands up. Every claim is judged against the lab's
//! truth, and the judgement is what the exit status says.

mod locks;
pub mod report;
mod revive;
pub mod site;

use crate::images::{Comparison, compare};
use anyhow::{Context as _, Result, bail, ensure};
use api::{Page, PointDetail, PointMode, PointSummary, Problem, Run, RunKind, RunResult, RunState};
use lab::{Cli, Daemon, Lab, Warden};
use model::Transport;
use report::{PointFigures, StepFigures, Summary};
use site::VMS;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Exit status of the command line when the appliance refused.
const REFUSED: i32 = 3;

/// The demo under way.
#[derive(Debug)]
pub struct Demo {
    // Dropped in this order.
    daemon: Daemon,
    /// `None`: development mode, the warden inside the daemon.
    warden: Option<Warden>,
    /// The site; its directory holds everything.
    lab: Lab,
    cli: Cli,
    summary: Summary,
    /// Copies of what a guest saw when a point was made: (vm, disk, mode).
    truths: BTreeMap<(String, u32, &'static str), PathBuf>,
    /// The points: (vm, mode).
    points: BTreeMap<(String, &'static str), PointDetail>,
}

impl Demo {
    /// Starts the site and the appliance.
    ///
    /// # Errors
    /// When one of the parts does not come up.
    pub fn start(say: &mut dyn FnMut(&str)) -> Result<Self> {
        say("setting up the site: SAN, VMFS datastore, vCenter (the first time, two minutes)");
        let lab = Lab::start(&site::site())?;
        let mut config = lab.daemon_config()?;
        let warden = match Warden::impossible_in(lab.directory()) {
            None => {
                say("starting the warden and the appliance, each as a user of its own");
                Some(Warden::start(lab.directory(), &mut config)?)
            }
            Some(why) => {
                say(&format!(
                    "DEVELOPMENT MODE: {why}.\nThe warden runs inside the appliance's daemon: all \
                     rules are there, but nothing protects the repository from the daemon itself."
                ));
                None
            }
        };
        let daemon = Daemon::start(lab.directory(), config)?;
        let cli = daemon.cli()?;
        let (truths, points) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { daemon, warden, lab, cli, summary: Summary::default(), truths, points })
    }

    /// Plays the whole job. A step that fails ends it, and is a wrong verdict like any other.
    pub fn play(&mut self, say: &mut dyn FnMut(&str)) {
        if let Err(error) = self.steps(say) {
            say(&format!("{error:#}\nthe daemon's log:\n{}", self.daemon.log()));
            self.summary.judge("the job runs to its end", false, format!("{error:#}"));
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn steps(&mut self, say: &mut dyn FnMut(&str)) -> Result<()> {
        say("what the appliance sees");
        self.cli.show(&["vm", "list"])?;
        say("full backup of both VMs");
        self.back_up("full", PointMode::Full)?;
        self.keep_head()?;
        say("the guests work");
        let written = site::guests_work(&self.lab)?;
        say(&format!("{} writes, {} bytes", written.writes, written.bytes));
        say("incremental backup, by changed block tracking");
        self.back_up("incremental", PointMode::Incremental)?;
        self.judge_incrementals();
        say("verify: every chunk read back and compared");
        self.verify()?;
        say("restore of every disk of every point, compared with the truth");
        self.restore()?;
        say("a VM made of its recovery point again, in the vCenter");
        self.revive()?;
        say("a lock is extended, a point is held");
        self.protection()?;
        say("deleting a locked recovery point");
        self.refused_deletion()?;
        say("somebody has taken over the daemon");
        self.taken_over(say)?;
        say("the record");
        self.record()?;
        self.judge_leftovers()?;
        self.whole_ratio()
    }

    /// The console's address with the token that opens it.
    ///
    /// # Errors
    /// When the daemon has no token.
    pub fn console(&self) -> Result<String> {
        Ok(format!("{}/#token={}", self.daemon.address(), self.daemon.token()?))
    }

    /// Stops the appliance in order and judges how it went.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(mut self) -> Result<Summary> {
        let status = self.daemon.stop()?;
        self.summary.judge("the daemon stops when asked", status.success(), status.to_string());
        self.offline_check()?;
        Ok(self.summary)
    }

    fn back_up(&mut self, name: &'static str, mode: PointMode) -> Result<()> {
        for vm in VMS {
            for (number, _) in self.lab.vm(vm)?.disks.iter().enumerate() {
                let kept = self.lab.keep_truth(vm, number, name)?;
                self.truths.insert((vm.to_owned(), u32::try_from(number)?, name), kept);
            }
        }
        let started = Instant::now();
        self.cli.show(&[&["backup", "run"], VMS.as_slice()].concat())?;
        let seconds = started.elapsed().as_secs_f64();
        let mut bytes = 0;
        for vm in VMS {
            let figures = self.figures(vm, mode)?;
            bytes += figures.result.san_read_bytes;
            let id = figures.result.point.to_string();
            let point: PointDetail = self.cli.json(&["point", "show", &id])?;
            self.judge_point(vm, name, mode, &point, &figures);
            self.points.insert((vm.to_owned(), name), point);
            self.summary.points.push(figures);
        }
        self.summary.steps.push(StepFigures::new(&format!("{name} backup"), bytes, seconds));
        Ok(())
    }

    /// The figures of the newest backup run of a VM.
    fn figures(&self, vm: &str, mode: PointMode) -> Result<PointFigures> {
        let runs: Page<Run> = self.cli.json(&["run", "list"])?;
        let run = runs
            .items
            .into_iter()
            .find(|run| run.kind == RunKind::Backup && run.vm.name == vm)
            .with_context(|| format!("no backup run of {vm}"))?;
        ensure!(run.state == RunState::Succeeded, "the run of {vm} ended as {:?}", run.state);
        let Some(RunResult::Backup(result)) = run.result else {
            bail!("the run of {vm} brought no recovery point");
        };
        let reads = result.step_seconds.iter().filter(|(step, _)| step.starts_with("read"));
        let read_seconds = reads.map(|(_, seconds)| seconds).sum();
        let both = run.started.zip(run.finished);
        let (started, finished) = both.context("a run that ended has both times")?;
        let seconds = finished.duration_since(started).as_secs_f64();
        Ok(PointFigures { vm: vm.to_owned(), mode, seconds, read_seconds, result })
    }

    fn judge_point(
        &mut self,
        vm: &str,
        name: &str,
        mode: PointMode,
        point: &PointDetail,
        figures: &PointFigures,
    ) {
        let found = &point.summary;
        let san = found.transport == Transport::San && figures.result.network_read_bytes == 0;
        self.summary.judge(
            format!("{vm}, {name}: read straight from the SAN"),
            san && found.mode == mode,
            format!("{:?}, {:?}", found.mode, found.transport).to_lowercase(),
        );
        let lock = found.lock.filter(|lock| lock.locked);
        self.summary.judge(
            format!("{vm}, {name}: locked"),
            lock.is_some(),
            lock.map_or("no lock".to_owned(), |lock| format!("{} until {}", lock.mode, lock.until)),
        );
    }

    /// An incremental must read only a small part, and more than nothing.
    fn judge_incrementals(&mut self) {
        for vm in VMS {
            let full = self.summary.san_read_bytes(vm, PointMode::Full);
            let changed = self.summary.san_read_bytes(vm, PointMode::Incremental);
            let right = changed > 0 && changed < full / 3;
            self.summary.judge(
                format!("{vm}: the incremental reads what changed and little more"),
                right,
                format!("{} of {} MiB", changed >> 20, full >> 20),
            );
        }
    }

    fn verify(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut bytes = 0;
        for ((vm, name), point) in &self.points {
            let id = point.summary.id.to_string();
            let run: Run = self.cli.json(&["point", "verify", &id])?;
            let Some(RunResult::Verify(result)) = run.result else {
                bail!("the verify run of {vm} has no result");
            };
            bytes += result.bytes;
            self.summary.judge(
                format!("{vm}, {name}: verified"),
                run.state == RunState::Succeeded && result.damage_total == 0 && result.chunks > 0,
                format!("{} chunks, {} damaged", result.chunks, result.damage_total),
            );
        }
        let seconds = started.elapsed().as_secs_f64();
        self.summary.steps.push(StepFigures::new("verify", bytes, seconds));
        Ok(())
    }

    fn restore(&mut self) -> Result<()> {
        let output = self.lab.directory().join("restored.raw");
        let (mut bytes, mut seconds) = (0, 0.0);
        for ((vm, disk, name), truth) in &self.truths {
            let point = self.points.get(&(vm.clone(), *name)).context("a point for each truth")?;
            let (id, number) = (point.summary.id.to_string(), disk.to_string());
            let place = output.to_str().context("the directory's name is UTF-8")?;
            let started = Instant::now();
            let what = ["point", "restore", &id, "--disk", &number, "--output", place, "--force"];
            let told: serde_json::Value = self.cli.json(&what)?;
            seconds += started.elapsed().as_secs_f64();
            bytes += told["fetched_bytes"].as_u64().unwrap_or(0);
            let comparison = compare(truth, &output)?;
            let found = match comparison {
                Comparison::Equal { bytes } => format!("{bytes} bytes equal"),
                Comparison::Lengths { first, second } => format!("{second} bytes, not {first}"),
                Comparison::Differs { at } => format!("differs at byte {at}"),
            };
            let claim = format!("{vm} disk {disk}, {name}: restored as it was");
            self.summary.judge(claim, comparison.is_equal(), found);
        }
        self.summary.steps.push(StepFigures::new("restore", bytes, seconds));
        Ok(())
    }

    fn refused_deletion(&mut self) -> Result<()> {
        let key = (VMS[0].to_owned(), "full");
        let id = self.points.get(&key).context("the full point exists")?.summary.id.to_string();
        self.cli.output(&["point", "delete", &id]).map(|output| {
            // For the person who watches: what the command line says to a person.
            eprint_bytes(&output.stderr);
        })?;
        let output = self.cli.output(&["--json", "point", "delete", &id])?;
        let problem: Problem =
            serde_json::from_slice(&output.stdout).context("what the refusal says")?;
        let until = problem.lock.map(|lock| lock.until);
        let refused = output.status.code() == Some(REFUSED) && problem.is_refusal();
        self.summary.judge(
            "deleting a locked point is refused, with reason and unlock time",
            refused && until.is_some() && !problem.detail.is_empty(),
            format!(
                "{} Unlocks at {}.",
                problem.detail,
                until.map_or("?".into(), |t| t.to_string())
            ),
        );
        let left: Page<PointSummary> = self.cli.json(&["point", "list"])?;
        let there = left.items.iter().any(|point| point.id.to_string() == id);
        self.summary.judge(
            "the point that was to be deleted is still there",
            there && left.items.len() == 2 * VMS.len(),
            format!("{} points", left.items.len()),
        );
        Ok(())
    }

    /// Nothing of ours may be left in the site.
    fn judge_leftovers(&mut self) -> Result<()> {
        let state = self.lab.vcenter.state()?;
        let vms = state["vms"].as_array().context("the vCenter lists its VMs")?;
        let snapshots: usize =
            vms.iter().filter_map(|vm| vm["snapshots"].as_array()).map(Vec::len).sum();
        self.summary.judge(
            "no VM snapshot is left behind",
            snapshots == 0 && vms.len() == VMS.len(),
            format!("{snapshots} snapshots on {} VMs", vms.len()),
        );
        Ok(())
    }

    fn whole_ratio(&mut self) -> Result<()> {
        let status: api::Status = self.cli.json(&["status"])?;
        let logical: u64 = self.points.values().map(|point| point.summary.size_bytes).sum();
        self.summary.logical_to_stored =
            logical as f64 / status.repository.stored_bytes.max(1) as f64;
        Ok(())
    }
}

fn eprint_bytes(bytes: &[u8]) {
    use std::io::Write as _;
    // Only for the eye; the judgement does not depend on it.
    let _ = std::io::stderr().lock().write_all(bytes);
}
