//! One program's run, measured from outside: the same way for everybody.
//!
//! The time is that of the whole process, from before it starts until what it has written is on
//! the disk. Beside it stands the processor time, which other users of the machine disturb less.

use anyhow::{Context as _, Result, ensure};
use lab::process::run;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// Wall time, the sync included.
    pub seconds: f64,
    /// Processor time of the process and its children, user and system.
    pub cpu_seconds: f64,
    /// What the store takes on its disk after it, in bytes; 0 for a run that stores nothing.
    pub stored_bytes: u64,
    /// What the program printed on its standard output.
    pub said: Vec<u8>,
}

impl Figure {
    /// A figure of the JSON object that the program printed.
    ///
    /// # Errors
    /// When it printed none, or none with that figure.
    pub fn number(&self, name: &str) -> Result<f64> {
        let object: serde_json::Value = serde_json::from_slice(&self.said)?;
        object[name].as_f64().with_context(|| format!("the program says no {name}"))
    }
}

/// Runs a program that writes below `store`, and waits until that is on the disk.
///
/// # Errors
/// When it fails.
pub fn writing(command: &mut Command, store: &Path) -> Result<Figure> {
    let mut figure = timed(command, || sync_all(store))?;
    figure.stored_bytes = stored_bytes(store)?;
    Ok(figure)
}

/// Runs a program that only reads.
///
/// # Errors
/// When it fails.
pub fn reading(command: &mut Command) -> Result<Figure> {
    timed(command, || Ok(()))
}

fn timed(command: &mut Command, settle: impl FnOnce() -> Result<()>) -> Result<Figure> {
    let (started, cpu) = (Instant::now(), cpu_of_children()?);
    let said = run(command)?;
    settle()?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(seconds > 0.0, "no time went by");
    Ok(Figure { seconds, cpu_seconds: cpu_of_children()? - cpu, stored_bytes: 0, said })
}

/// Syncs the folder and all below it, not the whole file system: others write there too.
fn sync_all(folder: &Path) -> Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    let place = File::open(folder).with_context(|| format!("opening {}", folder.display()))?;
    Ok(place.sync_all()?)
}

/// User and system time of the children that have ended (`/proc/self/stat`, in hundredths).
fn cpu_of_children() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    let ticks: Vec<f64> = fields.skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == 2, "the kernel does not tell the time of children");
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// Blocks that all files and folders below `folder` take.
fn stored_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in folder.read_dir()? {
        let entry = entry?;
        let about = entry.metadata()?;
        let below = if about.is_dir() { stored_bytes(&entry.path())? } else { 0 };
        bytes += about.blocks() * 512 + below;
    }
    Ok(bytes)
}

/// Reads a file, or all files of a folder, once, so that they lie in memory.
///
/// # Errors
/// When one cannot be read.
pub fn warm(place: &Path) -> Result<()> {
    if place.is_dir() {
        return place.read_dir()?.try_for_each(|entry| warm(&entry?.path()));
    }
    let mut file = File::open(place)?;
    let mut piece = vec![0; 1 << 20];
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_counted_in_blocks_and_the_time_runs_until_the_sync() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("mkdir deep; head -c 100000 /dev/urandom > deep/file; echo '{\"a\": 2}'");
        let figure = writing(command.current_dir(&directory), directory.path()).unwrap();
        assert!((100_000..300_000).contains(&figure.stored_bytes), "{}", figure.stored_bytes);
        assert!((figure.number("a").unwrap() - 2.0).abs() < f64::EPSILON);
        assert!(figure.number("b").is_err());
        warm(directory.path()).unwrap();
    }

    #[test]
    fn processor_time_is_the_childs() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]);
        let figure = reading(&mut command).unwrap();
        assert!(figure.cpu_seconds > 0.0 && figure.seconds > 0.0, "{figure:?}");
        assert!(reading(&mut Command::new("false")).is_err());
    }
}
