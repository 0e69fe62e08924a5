//! Runs that go through the same stages every time. The VM decides the end: web01 succeeds,
//! db01 succeeds with a warning, legacy fails. A verify run finds nothing, but damage in db01.

use super::{Pace, points};
use api::{
    BackupResult, Damage, Problem, Progress, Run, RunKind, RunResult, RunState, RunStep, StepState,
    VerifyResult, VmRef,
};
use jiff::Timestamp;
use model::{DiskRange, ErrorKind, RecoveryPointId, RunId};
use std::time::Instant;

const STAGES: u64 = 6;
const TOTAL: u64 = 12 << 30;

pub struct Scripted {
    run: Run,
    begun: Instant,
    looks: u64,
}

impl Scripted {
    pub fn new(number: usize, kind: RunKind, vm: VmRef, point: Option<RecoveryPointId>) -> Self {
        let mut id = [0xc0; 16];
        id[0] = u8::try_from(number).unwrap();
        let run = Run {
            id: RunId(id),
            kind,
            vm,
            point,
            state: RunState::Queued,
            step: None,
            created: Timestamp::from_second(1_780_300_000 + number as i64).unwrap(),
            started: None,
            finished: None,
            progress: None,
            steps: Vec::new(),
            warnings: Vec::new(),
            error: None,
            result: None,
        };
        Self { run, begun: Instant::now(), looks: 0 }
    }

    pub fn id(&self) -> RunId {
        self.run.id
    }

    pub fn look(&mut self, pace: Pace) -> Run {
        if pace == Pace::Looks {
            self.looks += 1;
        }
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap() / 500;
        let stage = if pace == Pace::Time { passed.max(self.looks) } else { self.looks };
        self.at(stage.min(STAGES))
    }

    fn at(&self, stage: u64) -> Run {
        let mut run = self.run.clone();
        if stage == 0 {
            return run;
        }
        run.started = Some(run.created);
        run.steps.push(step("snapshot", StepState::Succeeded, 1.25));
        if stage < STAGES {
            run.state = RunState::Running;
            run.step = Some("reading from the SAN".into());
            run.steps.push(step("read", StepState::Running, stage as f64));
            run.progress = Some(progress(stage));
        } else {
            run.finished = Some(run.created + jiff::SignedDuration::from_secs(95));
            self.end(&mut run);
        }
        run
    }

    fn end(&self, run: &mut Run) {
        let failed = run.vm.name == "legacy";
        let state = if failed { StepState::Failed } else { StepState::Succeeded };
        run.steps.push(step("read", state, 92.5));
        run.state = RunState::Succeeded;
        if failed {
            run.state = RunState::Failed;
            run.error = Some(no_way());
        } else if run.kind == RunKind::Verify {
            let damage = damage_of(&run.vm.name);
            if !damage.is_empty() {
                run.state = RunState::Failed;
            }
            run.result = Some(verdict(damage));
        } else if run.kind == RunKind::Restore {
            run.result = Some(restored(&run.vm.name));
        } else {
            if run.vm.name == "db01" {
                run.state = RunState::Warning;
                run.warnings.push("CBT was off; the next run will be an incremental.".into());
            }
            run.point = Some(points::FREE);
            run.result = Some(backup());
        }
    }
}

fn step(name: &str, state: StepState, seconds: f64) -> RunStep {
    RunStep { name: name.into(), state, seconds, detail: None }
}

fn progress(stage: u64) -> Progress {
    let done = TOTAL / STAGES * stage;
    Progress {
        disk: "Hard disk 1".into(),
        done_bytes: done,
        total_bytes: TOTAL,
        read_bytes: done,
        stored_bytes: done / 3,
        rate_bytes_per_second: 412 << 20,
        eta_seconds: Some((TOTAL - done) / (412 << 20)),
    }
}

fn no_way() -> Problem {
    Problem::of_kind(ErrorKind::Unsupported, "no-transport", "A disk cannot be backed up")
        .detail("Hard disk 1 is a raw device mapping in physical mode.")
        .next_step("Exclude the disk, or change the mapping to virtual mode.")
}

fn damage_of(vm: &str) -> Vec<Damage> {
    let range = DiskRange { offset: 5 << 20, length: 1 << 20 };
    let reason = "the chunk does not have its hash".into();
    let damage = Damage { disk: Some(0), range: Some(range), reason };
    if vm == "db01" { vec![damage] } else { Vec::new() }
}

fn verdict(damage: Vec<Damage>) -> RunResult {
    let damage_total = damage.len() as u64;
    RunResult::Verify(VerifyResult { chunks: 12288, bytes: TOTAL, damage, damage_total })
}

fn backup() -> RunResult {
    RunResult::Backup(BackupResult {
        point: points::FREE,
        san_read_bytes: TOTAL,
        network_read_bytes: 0,
        changed_areas: 0,
        changed_bytes: 0,
        compared_bytes: 0,
        cells: 12288,
        stored_bytes: TOTAL / 3,
        dedup_ratio: Some(1.25),
        compression_ratio: Some(2.4),
        step_seconds: [("snapshot".into(), 1.25), ("read".into(), 92.5)].into(),
    })
}

fn restored(vm: &str) -> RunResult {
    RunResult::Restore(api::RestoreResult {
        point: points::FREE,
        vm: vm.into(),
        place: "DC0 / web01 on nfs01".into(),
        replaced: false,
        disks: vec![api::RestoredDisk {
            index: 0,
            capacity_bytes: TOTAL,
            sent_bytes: TOTAL / 3,
            transport: "network".into(),
            verified: Some("datastore HTTP".into()),
            not_verified: None,
        }],
        restored: vec!["NVRAM".into()],
        not_restored: vec!["device 'CD/DVD drive 1' (VirtualCdrom) is not carried over".into()],
        powered_on: false,
    })
}
