//! Who is measured, and how each is asked for the same work.
//!
//! Chunks are fixed at 1 MiB and compressed with zstd 1 wherever a peer lets one choose. Nobody
//! encrypts who need not: borg runs with `--encryption none`, the fastest it has (plain SHA-256;
//! `authenticated` adds an HMAC to the same work), and we write an unencrypted repository whose
//! chunks are named by a keyed hash. restic and kopia cannot leave encryption out.

use super::disk::{CELL, DataSet};
use super::rounds::Run;
use super::timed::{Figure, reading, warm, writing};
use super::{example, peer};
use anyhow::{Context as _, Result, anyhow, ensure};
use lab::place::program;
use lab::process::run;
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LEVEL: &str = "1";
const SECRET: &str = "bench";

/// Somebody who is measured.
pub struct Contestant {
    /// For people.
    pub name: &'static str,
    /// What can be asked of it, in the order in which it must be asked.
    pub runs: &'static [Run],
    /// Is it installed? Else why it cannot be measured.
    pub version: fn() -> Result<String>,
    /// Prepares a store at a place of its own; not measured.
    pub prepare: fn(&Path) -> Result<()>,
    /// Does one run on the store at that place.
    pub run: fn(Run, &Path, &DataSet) -> Result<Figure>,
}

/// All, in the order of their turns.
pub const ALL: &[Contestant] = &[
    Contestant {
        name: "ours",
        runs: &[Run::OurFull, Run::OurRestore, Run::OurVerify, Run::OurIncremental],
        version: || Ok(format!("holdfast {}", env!("CARGO_PKG_VERSION"))),
        prepare: |_| Ok(()),
        run: ours,
    },
    Contestant {
        name: "borg",
        runs: &[Run::BorgFull, Run::BorgRestore, Run::BorgVerify],
        version: || peer("borgbackup"),
        prepare: |place| {
            let repository = place.join("repository");
            run(borg_at(place)?.args(["init", "--encryption", "none"]).arg(repository)).map(drop)
        },
        run: borg,
    },
    Contestant {
        name: "restic",
        runs: &[Run::ResticFull],
        version: || peer("restic"),
        prepare: |place| run(restic_at(place)?.arg("init")).map(drop),
        run: |_, place, data| {
            warm(&data.image)?;
            writing(restic_at(place)?.args(["backup", "--quiet"]).arg(&data.image), place)
        },
    },
    Contestant {
        name: "kopia",
        runs: &[Run::KopiaFull],
        version: kopia_version,
        prepare: prepare_kopia,
        run: |_, place, data| {
            warm(&data.image)?;
            writing(kopia_at(place)?.args(["snapshot", "create"]).arg(&data.image), place)
        },
    },
    Contestant {
        name: "zstd",
        runs: &[Run::ZstdLimit],
        version: || peer("zstd"),
        prepare: |_| Ok(()),
        run: |_, _, data| {
            warm(&data.image)?;
            let mut zstd = Command::new(program("zstd", "zstd")?);
            zstd.args([format!("-{LEVEL}"), format!("-T{}", cores())]);
            reading(zstd.args(["--quiet", "--force", "-o", "/dev/null"]).arg(&data.image))
        },
    },
];

/// As many threads as everybody gets who can be told.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn our_program(command: &str, place: &Path) -> Result<Command> {
    let mut program = Command::new(example("bench")?);
    program.arg(command).arg(place.join("repository"));
    program.args(["--level", LEVEL, "--workers", &cores().to_string()]);
    Ok(program)
}

fn ours(run: Run, place: &Path, data: &DataSet) -> Result<Figure> {
    let first = ["--point", "0"];
    match run {
        Run::OurFull => {
            warm(&data.image)?;
            writing(our_program("full", place)?.arg(&data.image), place)
        }
        Run::OurIncremental => {
            warm(&data.changed)?;
            let mut program = our_program("incr", place)?;
            writing(program.arg(&data.changed).arg("--cells").arg(&data.cells), place)
        }
        Run::OurRestore => {
            warm(place)?;
            reading(our_program("restore", place)?.args(first).stdout(Stdio::null()))
        }
        _ => {
            warm(place)?;
            reading(our_program("verify", place)?.args(first))
        }
    }
}

/// What was measured must also be right: every point of the store at `place` gives the disk back.
///
/// # Errors
/// When one does not.
pub fn check(place: &Path, data: &DataSet, with_incremental: bool) -> Result<()> {
    let states = [(&data.image, "0"), (&data.changed, "1")];
    for (image, point) in states.into_iter().take(1 + usize::from(with_incremental)) {
        let mut command = our_program("restore", place)?;
        command.args(["--point", point]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let restored = child.stdout.take().context("standard output is a pipe")?;
        let same = same(restored, std::fs::File::open(image)?);
        ensure!(child.wait()?.success(), "restoring point {point} failed");
        ensure!(same?, "point {point} is not {}", image.display());
    }
    Ok(())
}

fn same(mut one: impl std::io::Read, mut two: impl std::io::Read) -> Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut equal = true;
    loop {
        left.clear();
        right.clear();
        let got = one.by_ref().take(CELL).read_to_end(&mut left)?;
        two.by_ref().take(CELL).read_to_end(&mut right)?;
        // Read on to the end, or the other side would die of a broken pipe.
        equal &= left == right;
        if got == 0 {
            return Ok(equal);
        }
    }
}

/// Caches and settings must not come from, or stay in, anyone's home.
fn borg_at(place: &Path) -> Result<Command> {
    let mut command = Command::new(program("borg", "borgbackup")?);
    command.env("BORG_BASE_DIR", place.with_extension("home"));
    command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
    Ok(command)
}

fn borg(run: Run, place: &Path, data: &DataSet) -> Result<Figure> {
    let repository = place.join("repository");
    let archive = format!("{}::full", repository.display());
    let mut borg = borg_at(place)?;
    if run == Run::BorgFull {
        warm(&data.image)?;
        let chunks = format!("fixed,{CELL}");
        let compression = format!("zstd,{LEVEL}");
        borg.args(["create", "--chunker-params", &chunks, "--compression", &compression]);
        return writing(borg.arg(archive).arg(&data.image), place);
    }
    warm(place)?;
    if run == Run::BorgRestore {
        return reading(borg.args(["extract", "--stdout"]).arg(archive).stdout(Stdio::null()));
    }
    reading(borg.args(["check", "--verify-data"]).arg(repository))
}

fn restic_at(place: &Path) -> Result<Command> {
    let mut command = Command::new(program("restic", "restic")?);
    command.env("RESTIC_REPOSITORY", place.join("repository"));
    command.env("RESTIC_PASSWORD", SECRET);
    command.env("RESTIC_CACHE_DIR", place.with_extension("home"));
    Ok(command)
}

fn kopia_version() -> Result<String> {
    let kopia = program("kopia", "kopia")
        .map_err(|_| anyhow!("kopia is not in the PATH, and Debian has no package of it"))?;
    let said = String::from_utf8(run(Command::new(kopia).arg("--version"))?)?;
    Ok(format!("kopia {}", said.split_whitespace().next().unwrap_or("")))
}

fn kopia_at(place: &Path) -> Result<Command> {
    let home: PathBuf = place.with_extension("home");
    let mut command = Command::new(program("kopia", "kopia")?);
    command.env("KOPIA_PASSWORD", SECRET).env("KOPIA_CHECK_FOR_UPDATES", "false");
    command.env("KOPIA_CONFIG_PATH", home.join("config"));
    command.env("KOPIA_CACHE_DIRECTORY", home.join("cache"));
    command.env("KOPIA_LOG_DIR", home.join("log"));
    Ok(command)
}

fn prepare_kopia(place: &Path) -> Result<()> {
    let mut path = OsStr::new("--path=").to_owned();
    path.push(place.join("repository"));
    std::fs::create_dir(place.join("repository"))?;
    let create = ["repository", "create", "filesystem", "--object-splitter=FIXED-1M"];
    run(kopia_at(place)?.args(create).arg(path))?;
    let policy = ["policy", "set", "--global", "--compression=zstd-fastest"];
    run(kopia_at(place)?.args(policy)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_a_shorter_and_a_longer_stream_are_all_noticed() {
        let long = vec![1; 3 << 20];
        let mut other = long.clone();
        other[2 << 20] = 2;
        assert!(same(&long[..], &long[..]).unwrap());
        assert!(!same(&long[..], &other[..]).unwrap());
        assert!(!same(&long[..], &long[1..]).unwrap());
        assert!(!same(&long[1..], &long[..]).unwrap());
        assert!(!same(&[][..], &long[..]).unwrap());
    }

    #[test]
    fn every_run_belongs_to_exactly_one() {
        let mut runs: Vec<Run> = ALL.iter().flat_map(|one| one.runs).copied().collect();
        let all = runs.len();
        runs.sort();
        runs.dedup();
        assert_eq!(runs.len(), all);
    }
}
