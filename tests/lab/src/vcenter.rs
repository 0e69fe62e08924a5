//! The management side: the lab's own vCenter, a Go program around govmomi's simulator.
//!
//! It is built from `tests/lab/vcenter`, reads one JSON file, prints one line when it is ready,
//! and leaves when its standard input closes. Guests 'write' through its control port.

use crate::control::Control;
use crate::datastore::Vm;
use crate::place::{repository_root, target};
use crate::process::{PATIENCE, Process, run};
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::channel;

/// The program's configuration; sizes are bytes unless the name says otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VcenterSpec {
    /// Where the SDK listens; port 0: any.
    pub listen: String,
    /// Where the control port listens.
    pub control: String,
    /// The only account.
    pub user: String,
    /// Its password, made up for the lab.
    pub password: String,
    /// Such as `8.0.2.0`.
    pub api_version: String,
    /// A single ESXi host without a vCenter.
    #[serde(default)]
    pub standalone: bool,
    /// The one datastore.
    pub datastore: DatastoreSpec,
    /// Command that reads and writes files inside the volume.
    pub vmfs_tool: Vec<PathBuf>,
    /// The inventory.
    pub vms: Vec<Vm>,
}

/// The volume and the LUN under it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatastoreSpec {
    /// Its name in the inventory.
    pub name: String,
    /// Canonical name of the LUN: `naa.` and 32 hex digits.
    pub naa: String,
    /// As the API spells it: 8-8-4-12.
    pub vmfs_uuid: String,
    /// Bytes of the volume.
    pub capacity: u64,
    /// Number of the partition.
    pub partition: u32,
    /// Length of the LUN in sectors of 512 bytes.
    pub lun_sectors: u64,
    /// The LUN's bytes.
    pub image: PathBuf,
}

/// What the program says when it is ready.
#[derive(Clone, Debug, Deserialize)]
struct Ready {
    sdk: String,
    control: String,
    thumbprint: String,
}

/// A running vCenter. Dropping it stops it.
#[derive(Debug)]
pub struct Vcenter {
    process: Process,
    ready: Ready,
    control: Control,
}

impl Vcenter {
    /// Builds the program if needed and starts it; its files go to `directory`.
    ///
    /// # Errors
    /// When it does not build, does not come up, or refuses the configuration.
    pub fn start(directory: &Path, spec: &VcenterSpec) -> Result<Self> {
        Self::start_built(&build()?, directory, spec)
    }

    /// As [`Vcenter::start`], where the `program` is there already.
    ///
    /// # Errors
    /// When it does not come up, or refuses the configuration.
    pub fn start_built(program: &Path, directory: &Path, spec: &VcenterSpec) -> Result<Self> {
        let config = directory.join("vcenter.json");
        std::fs::write(&config, serde_json::to_vec_pretty(spec)?)?;
        let mut arguments = vec![program.display().to_string(), "-config".to_owned()];
        arguments.extend([config.display().to_string(), "-exit-on-stdin-eof".to_owned()]);
        let log = directory.join("vcenter.log");
        let mut process = Process::start("vcenter", &arguments, &[], &log, true)?;
        let ready = read_ready(&mut process)?;
        let control = Control::new(&ready.control)?;
        Ok(Self { process, ready, control })
    }

    /// The SDK's address, such as `https://127.0.0.1:PORT/sdk`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.ready.sdk
    }

    /// SHA-256 of its certificate, as pairs of digits with colons.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.ready.thumbprint
    }

    /// Where the control port is, as the program says it.
    #[must_use]
    pub fn control_url(&self) -> &str {
        &self.ready.control
    }

    /// The raw control port, for what has no method here.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control
    }

    /// The guest writes `data` at byte `offset` of a disk; it lands on the LUN (or in a delta
    /// while a snapshot exists), in the truth image, and in the changed areas.
    ///
    /// # Errors
    /// When there is no such disk or the write does not fit.
    pub fn write(&self, vm: &str, disk: i32, offset: u64, data: &[u8]) -> Result<()> {
        let (disk, offset) = (disk.to_string(), offset.to_string());
        self.control.post("/write", &[("vm", vm), ("disk", &disk), ("offset", &offset)], data)?;
        Ok(())
    }

    /// Orders a fault; the JSON is the program's own (`tests/lab/vcenter` documents it).
    ///
    /// # Errors
    /// When the program does not know it.
    pub fn fault(&self, order: &serde_json::Value) -> Result<()> {
        self.control.post("/fault", &[], &serde_json::to_vec(order)?)?;
        Ok(())
    }

    /// Takes all faults back.
    ///
    /// # Errors
    /// When the control port does not answer.
    pub fn clear_faults(&self) -> Result<()> {
        self.control.post("/faults/clear", &[], &[])?;
        Ok(())
    }

    /// Change tracking of a disk begins a new epoch: old change ids become invalid.
    ///
    /// # Errors
    /// When there is no such disk.
    pub fn reset_cbt(&self, vm: &str, disk: i32) -> Result<()> {
        self.control.post("/cbt/reset", &[("vm", vm), ("disk", &disk.to_string())], &[])?;
        Ok(())
    }

    /// Change tracking of a disk misses the next writes.
    ///
    /// # Errors
    /// When there is no such disk.
    pub fn keep_back(&self, vm: &str, disk: i32, writes: u32) -> Result<()> {
        let (disk, writes) = (disk.to_string(), writes.to_string());
        let query = [("vm", vm), ("disk", disk.as_str()), ("writes", writes.as_str())];
        self.control.post("/cbt/keep-back", &query, &[])?;
        Ok(())
    }

    /// How many areas one answer of the changed-area query holds.
    ///
    /// # Errors
    /// When the control port does not answer.
    pub fn page_size(&self, areas: u32) -> Result<()> {
        self.control.post("/cbt/page", &[("areas", &areas.to_string())], &[])?;
        Ok(())
    }

    /// What it knows: snapshots, change ids, calls so far, as JSON.
    ///
    /// # Errors
    /// When the control port does not answer.
    pub fn state(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.control.get("/state")?)?)
    }

    /// Makes it leave by closing its standard input.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.process.close_input();
        self.process.wait_for_end(PATIENCE)?;
        Ok(())
    }

    /// The end of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        self.process.log_end()
    }
}

impl Drop for Vcenter {
    fn drop(&mut self) {
        // A test that failed already has its own error to show; the process itself is killed.
        let _ = self.stop();
    }
}

/// Builds the program, once per process.
///
/// # Errors
/// With what the Go compiler says.
pub fn build() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let outcome = BUILT.get_or_init(|| {
        let program = target().join("lab").join("vcenter");
        let source = repository_root().join("tests/lab/vcenter");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&program).arg(".").current_dir(source);
        match run(&mut go) {
            Ok(_) => Ok(program),
            Err(error) => Err(format!("building the lab's vCenter: {error:#}")),
        }
    });
    outcome.clone().map_err(anyhow::Error::msg)
}

/// Waits for the ready line. A thread of its own reads the pipe to its end, so that the program
/// never blocks on a full one.
fn read_ready(process: &mut Process) -> Result<Ready> {
    let output = process.take_output().context("standard output is a pipe")?;
    let (lines, inbox) = channel::<String>();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens after the first line.
            let _ = lines.send(line);
        }
    });
    let line = process.wait_until(|| inbox.try_recv().ok())?;
    match serde_json::from_str::<Ready>(&line) {
        Ok(ready) => {
            ensure!(ready.sdk.starts_with("https://"), "the SDK's address is {:?}", ready.sdk);
            Ok(ready)
        }
        Err(error) => bail!("the vCenter's ready line {line:?}: {error}"),
    }
}
