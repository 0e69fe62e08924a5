//! A small site with the appliance in it, and what the fault tests ask of both.

use anyhow::{Context as _, Result, ensure};
use api::{Page, PointSummary, Run, RunResult, RunState, RunsStarted};
use lab::{
    Content, Daemon, DiskSpec, GuestSpec, Lab, LabSpec, Layout, PartitionTable, Provisioning,
    VmSpec,
};
use std::path::Path;
use std::time::{Duration, Instant};
use system::images::compare;

/// The only VM.
pub const VM: &str = "web01";
/// How long anything may take that the test waits for.
const WAIT: Duration = Duration::from_secs(90);

/// The site and the appliance. Fields are dropped in this order.
pub struct Site {
    pub daemon: Daemon,
    pub lab: Lab,
}

impl Site {
    /// A VM with one thin disk of 96 MiB and a real file system, and the appliance beside it.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// As `new`, with another configuration of the appliance.
    pub fn with(change: impl FnOnce(&mut lab::DaemonConfig)) -> Self {
        Self::of(vec![guest(96)], change)
    }

    /// As `new`, on a host without a vCenter.
    pub fn alone() -> Self {
        Self::in_lab(Lab::start_alone(&spec(vec![guest(96)])).unwrap(), |_| {})
    }

    pub fn of(disks: Vec<DiskSpec>, change: impl FnOnce(&mut lab::DaemonConfig)) -> Self {
        Self::in_lab(Lab::start(&spec(disks)).unwrap(), change)
    }

    fn in_lab(lab: Lab, change: impl FnOnce(&mut lab::DaemonConfig)) -> Self {
        let mut config = lab.daemon_config().unwrap();
        config.repository.reserve_mib = Some(64);
        change(&mut config);
        let daemon = Daemon::start(lab.directory(), config).unwrap();
        Self { daemon, lab }
    }

    /// Backs the VM up and waits; gives the run whatever became of it.
    pub fn backup(&self) -> Run {
        self.backup_with(&[])
    }

    pub fn backup_with(&self, options: &[&str]) -> Run {
        let arguments = [&["--json", "backup", "run", VM], options].concat();
        let output = self.daemon.cli().unwrap().output(&arguments).unwrap();
        let started: RunsStarted = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            let text = String::from_utf8_lossy(&output.stdout);
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        started.runs.into_iter().next().unwrap()
    }

    /// Backs up and expects success, then restores and compares with what the guest saw.
    pub fn backup_and_compare(&self, name: &str) -> Run {
        let truth = self.lab.keep_truth(VM, 0, name).unwrap();
        let run = self.backup();
        assert!(ended_well(&run), "{name}: {run:#?}");
        self.restore_and_compare(&run, &truth);
        std::fs::remove_file(truth).unwrap();
        run
    }

    pub fn restore_and_compare(&self, run: &Run, truth: &Path) {
        let point = run.point.unwrap().to_string();
        let image = self.lab.directory().join("restored.raw");
        let file = image.to_str().unwrap();
        let cli = self.daemon.cli().unwrap();
        let arguments = ["point", "restore", &point, "--disk", "0", "--output", file, "--force"];
        let output = cli.output(&arguments).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let compared = compare(truth, &image).unwrap();
        assert!(compared.is_equal(), "{compared:?}");
        std::fs::remove_file(image).unwrap();
    }

    /// Exports the run's first disk as a VMDK, has qemu-img check and read it, and compares.
    pub fn export_and_compare(&self, run: &Run, truth: &Path) {
        let point = run.point.unwrap().to_string();
        let (vmdk, image) = ("exported.vmdk", "exported.raw");
        let [vmdk, image] = [vmdk, image].map(|name| self.lab.directory().join(name));
        let file = vmdk.to_str().unwrap();
        let arguments = ["point", "restore", &point, "--disk", "0", "--output", file];
        let arguments = [&arguments[..], &["--format", "vmdk"]].concat();
        let output = self.daemon.cli().unwrap().output(&arguments).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let qemu_img = |arguments: &[&str]| {
            let mut command = std::process::Command::new("qemu-img");
            let done = command.args(arguments).output().expect("qemu-img starts");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        qemu_img(&["check", "-f", "vmdk", file]);
        qemu_img(&["convert", "-f", "vmdk", "-O", "raw", file, image.to_str().unwrap()]);
        let compared = compare(truth, &image).unwrap();
        assert!(compared.is_equal(), "{compared:?}");
        std::fs::remove_file(image).unwrap();
        std::fs::remove_file(vmdk).unwrap();
    }

    pub fn points(&self) -> Vec<PointSummary> {
        let page: Page<PointSummary> = self.daemon.cli().unwrap().json(&["point", "list"]).unwrap();
        page.items
    }

    /// Names of the snapshots that vCenter knows.
    pub fn snapshots(&self) -> Vec<String> {
        let state = self.lab.vcenter.state().unwrap();
        let mut names = Vec::new();
        collect(&state, "snapshots", &mut names);
        names
    }

    /// Waits until vCenter knows no snapshot any more.
    pub fn wait_for_no_snapshot(&self) {
        wait("the snapshot is removed", || self.snapshots().is_empty());
    }

    /// Asserts what must hold after a run that failed: nothing kept, nothing left, the reason
    /// said with all of `words`, and a next run that works once the cause has gone.
    pub fn failed_cleanly(&self, run: &Run, words: &[&str]) {
        assert_eq!(run.state, RunState::Failed, "{run:#?}");
        let problem = run.error.as_ref().expect("a failed run says why");
        for word in words {
            assert!(problem.detail.contains(word), "'{word}' is not in: {}", problem.detail);
        }
        assert!(!problem.next_step.is_empty(), "{problem:?}");
        assert!(run.result.is_none(), "{run:#?}");
        assert_eq!(self.snapshots(), [] as [String; 0]);
        self.no_secret_is_told(run);
    }

    fn no_secret_is_told(&self, run: &Run) {
        let told = [self.daemon.log(), format!("{run:?}")].concat();
        for secret in [lab::PASSWORD, "lab-chap-secret1", &self.daemon.token().unwrap()] {
            assert!(!told.contains(secret), "a secret is in the log or the run");
        }
        assert!(!told.contains("panicked"), "{told}");
    }
}

fn spec(disks: Vec<DiskSpec>) -> LabSpec {
    let vms = vec![VmSpec { name: VM.into(), disks }];
    LabSpec { lun_bytes: 2 << 30, layout: Layout::Fragmented, vms }
}

/// A disk with a partition table and an ext4 file system of real files.
pub fn guest(mib: u64) -> DiskSpec {
    DiskSpec {
        content: Content::Guest(GuestSpec {
            bytes: mib << 20,
            table: PartitionTable::Gpt,
            template: "faults".into(),
            template_bytes: 24 << 20,
            own_bytes: 4 << 20,
            host: VM.into(),
        }),
        provisioning: Provisioning::Thin,
    }
}

pub fn ended_well(run: &Run) -> bool {
    matches!(run.state, RunState::Succeeded | RunState::Warning)
        && matches!(run.result, Some(RunResult::Backup(_)))
}

/// Waits until something holds: the events waited for come from other processes, so there is
/// nothing to be woken by.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WAIT, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The names in every list called `key`, wherever it stands in the lab's state.
fn collect(value: &serde_json::Value, key: &str, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, inner) in map {
                if name == key
                    && let Some(list) = inner.as_array()
                {
                    into.extend(
                        list.iter().filter_map(|item| Some(item.get("name")?.as_str()?.into())),
                    );
                }
                collect(inner, key, into);
            }
        }
        serde_json::Value::Array(list) => {
            for inner in list {
                collect(inner, key, into);
            }
        }
        _ => {}
    }
}

/// Flips one bit of a file.
pub fn flip(path: &Path, offset: u64, bit: u8) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().read(true).write(true).open(path).context("image")?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset)?;
    ensure!(bit < 8);
    Ok(())
}
