//! A VM made of its recovery point again in the vCenter, compared disk by disk.

use super::Demo;
use super::report::StepFigures;
use super::site::VMS;
use crate::images::{Comparison, compare};
use anyhow::{Context as _, Result, bail};
use api::{Run, RunResult, RunState};
use std::path::Path;
use std::time::Instant;

impl Demo {
    /// The VM with two disks, as it was at its first backup.
    pub(super) fn revive(&mut self) -> Result<()> {
        let (vm, name, copy) = (VMS[1], "full", "db01-restored");
        let point = self.points.get(&(vm.to_owned(), name)).context("the point exists")?;
        let id = point.summary.id.to_string();
        let started = Instant::now();
        let run: Run = self.cli.json(&["vm", "restore", &id, "--name", copy])?;
        let seconds = started.elapsed().as_secs_f64();
        let Some(RunResult::Restore(result)) = run.result else {
            bail!("the restore of {vm} ended as {:?}: {:?}", run.state, run.error);
        };
        let bytes = result.disks.iter().map(|disk| disk.capacity_bytes).sum();
        self.summary.steps.push(StepFigures::new("restore into vCenter", bytes, seconds));
        self.summary.judge(
            format!("{vm}, {name}: a VM again, every disk read back by the appliance"),
            run.state != RunState::Failed && result.disks.iter().all(|d| d.verified.is_some()),
            format!("'{}' in {}", result.vm, result.place),
        );
        for (number, flat) in self.made(copy)?.iter().enumerate() {
            let key = (vm.to_owned(), u32::try_from(number)?, name);
            let truth = self.truths.get(&key).context("a truth for each disk")?;
            let compared = compare(truth, Path::new(flat))?;
            let found = match compared {
                Comparison::Equal { bytes } => format!("{bytes} bytes equal"),
                other => format!("{other:?}"),
            };
            let claim = format!("{vm} disk {number}, {name}: the same in the vCenter's own files");
            self.summary.judge(claim, compared.is_equal(), found);
        }
        Ok(())
    }

    /// The files of a VM's disks, as the lab's vCenter keeps them.
    fn made(&self, name: &str) -> Result<Vec<String>> {
        let all = self.lab.vcenter.control().get("/made")?;
        let all: serde_json::Value = serde_json::from_slice(&all)?;
        let vms = all.as_array().context("the vCenter lists its VMs")?;
        let vm = vms.iter().find(|vm| vm["name"] == name).context("the VM that was made")?;
        let disks = vm["disks"].as_array().context("its disks")?;
        Ok(disks.iter().filter_map(|disk| Some(disk["flat"].as_str()?.to_owned())).collect())
    }
}
