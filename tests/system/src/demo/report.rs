//! What the demo found: the table at the end, and the same for programs.

use crate::table::{Table, mib, rate};
use api::{BackupResult, PointMode};
use serde::Serialize;

/// Something that has to be so.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What has to be so.
    pub claim: String,
    /// Whether it is.
    pub right: bool,
    /// What was found.
    pub found: String,
}

/// One recovery point that the demo made.
#[derive(Clone, Debug, Serialize)]
pub struct PointFigures {
    /// Name of the VM.
    pub vm: String,
    /// Full or incremental.
    pub mode: PointMode,
    /// Wall time of its run.
    pub seconds: f64,
    /// The part of it in which disks were read.
    pub read_seconds: f64,
    /// What the run brought.
    pub result: BackupResult,
}

/// One step of the demo that moves data.
#[derive(Clone, Debug, Serialize)]
pub struct StepFigures {
    /// What was done.
    pub step: String,
    /// Bytes it dealt with.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
    /// MiB per second.
    pub mib_per_second: f64,
}

impl StepFigures {
    /// A step with its rate.
    #[must_use]
    pub fn new(step: &str, bytes: u64, seconds: f64) -> Self {
        let mib_per_second = bytes as f64 / f64::from(1 << 20) / seconds.max(1e-9);
        Self { step: step.to_owned(), bytes, seconds, mib_per_second }
    }
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Every verdict is right.
    pub ok: bool,
    /// The recovery points, in the order in which they were made.
    pub points: Vec<PointFigures>,
    /// The steps.
    pub steps: Vec<StepFigures>,
    /// Bytes of all points' disks, per byte that the repository takes.
    pub logical_to_stored: f64,
    /// The verdicts.
    pub verdicts: Vec<Verdict>,
}

impl Summary {
    /// Adds a verdict.
    pub fn judge(&mut self, claim: impl Into<String>, right: bool, found: impl Into<String>) {
        self.verdicts.push(Verdict { claim: claim.into(), right, found: found.into() });
        self.ok = self.verdicts.iter().all(|verdict| verdict.right);
    }

    /// Bytes that the backup of a VM in this mode read from the SAN; 0 when there was none.
    #[must_use]
    pub fn san_read_bytes(&self, vm: &str, mode: PointMode) -> u64 {
        let of = |point: &&PointFigures| point.vm == vm && point.mode == mode;
        self.points.iter().find(of).map_or(0, |point| point.result.san_read_bytes)
    }

    /// The table for people.
    #[must_use]
    pub fn text(&self) -> String {
        let verdicts: String = self
            .verdicts
            .iter()
            .map(|verdict| {
                let mark = if verdict.right { "right" } else { "WRONG" };
                format!("{mark}  {}: {}\n", verdict.claim, verdict.found)
            })
            .collect();
        let right = self.verdicts.iter().filter(|verdict| verdict.right).count();
        format!(
            "{}\n{}\nall points: {:.1} bytes restorable per byte stored\n\n{verdicts}\n\
             {right} of {} verdicts right\n",
            self.points_table(),
            self.steps_table(),
            self.logical_to_stored,
            self.verdicts.len()
        )
    }

    fn points_table(&self) -> String {
        let mut table = Table::new(&[
            "RECOVERY POINT",
            "SAN READ MiB",
            "AREAS",
            "CHANGED MiB",
            "STORED MiB",
            "DEDUP",
            "COMPRESSION",
            "READ MiB/s",
        ]);
        let ratio =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        for point in &self.points {
            let result = &point.result;
            let mode = match point.mode {
                PointMode::Full => "full",
                PointMode::Incremental => "incremental",
            };
            table.row([
                format!("{} {mode}", point.vm),
                mib(result.san_read_bytes),
                result.changed_areas.to_string(),
                mib(result.changed_bytes),
                mib(result.stored_bytes),
                ratio(result.dedup_ratio),
                ratio(result.compression_ratio),
                rate(result.san_read_bytes, point.read_seconds),
            ]);
        }
        table.text()
    }

    fn steps_table(&self) -> String {
        let mut table = Table::new(&["STEP", "MiB", "SECONDS", "MiB/s"]);
        for step in &self.steps {
            table.row([
                step.step.clone(),
                mib(step.bytes),
                format!("{:.1}", step.seconds),
                format!("{:.0}", step.mib_per_second),
            ]);
        }
        table.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_verdict_spoils_all() {
        let mut summary = Summary::default();
        assert!(!summary.ok, "nothing judged is not a success");
        summary.judge("a", true, "so");
        assert!(summary.ok);
        summary.judge("b", false, "not so");
        summary.judge("c", true, "so");
        assert!(!summary.ok);
        assert!(summary.text().contains("WRONG  b: not so"));
        assert!(summary.text().ends_with("2 of 3 verdicts right\n"));
    }
}
