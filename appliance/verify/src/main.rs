//! `holdfast-verify`: the command line. See the library for what is checked.
//!
//! Exit status: 0 all is right, 1 damage was found, 2 it cannot be checked (or a wrong call).

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use verify::{Findings, Report, VerifyError, check, create_outside, extract, proof, repair};

/// Checks a repository's disk, or a copy of it, against its ledger. Reads only.
#[derive(Parser)]
#[command(name = "holdfast-verify", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything; a list of what is wrong
    Check {
        /// The repository, a copy, or one volume of it
        dir: PathBuf,
        /// The public key that must have signed the head
        #[arg(long)]
        vkey: Option<String>,
        /// A file with a key that opens an encrypted repository
        #[arg(long)]
        key_file: Option<PathBuf>,
        /// Also write the result to this new file
        #[arg(long)]
        json: Option<PathBuf>,
        /// Read each chunk again through every point, as a restore would
        #[arg(long)]
        full: bool,
    },
    /// Write a disk of a point as a sparse image
    Extract {
        /// The repository
        dir: PathBuf,
        /// The point's id, or how it begins
        point: String,
        /// The disk's number in the point, from 0
        disk: usize,
        /// A file that does not exist yet
        out: PathBuf,
        /// A file with a key that opens an encrypted repository
        #[arg(long)]
        key_file: Option<PathBuf>,
        /// Leave zeros where the disk is damaged, and tell where
        #[arg(long)]
        holes: bool,
    },
    /// Print the signed head, to be kept elsewhere
    Head {
        /// The repository
        dir: PathBuf,
    },
    /// Print the proof that a leaf is in the ledger
    Proof {
        /// The repository
        dir: PathBuf,
        /// Number of the leaf, from 0
        index: u64,
    },
    /// Compare with a head that was kept elsewhere
    Consistency {
        /// The repository
        dir: PathBuf,
        /// The older head
        old_head: PathBuf,
    },
    /// Write a repaired copy of a segment, computed from its parity
    Repair {
        /// The repository
        dir: PathBuf,
        /// The segment
        serial: u32,
        /// A file that does not exist yet
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut findings = Findings::default();
    let outcome = run(args.command, &mut findings);
    match tell(outcome, &findings) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(2), // nobody reads what we say
    }
}

/// What a command has to say: text for standard output and for standard error.
type Said = (String, String);

fn tell(outcome: Result<Said, VerifyError>, findings: &Findings) -> io::Result<u8> {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    for note in findings.notes() {
        writeln!(err, "note: {note}")?;
    }
    for finding in findings.list() {
        writeln!(out, "{}: {}", finding.place, finding.what)?;
    }
    let damaged = !findings.list().is_empty();
    let code = match outcome {
        Ok((text, aside)) => {
            write!(out, "{text}")?;
            write!(err, "{aside}")?;
            u8::from(damaged)
        }
        Err(error) => {
            writeln!(err, "holdfast-verify: {}", model::chain(&error))?;
            if matches!(error, VerifyError::Damaged(_)) { 1 } else { 2 }
        }
    };
    out.flush()?;
    Ok(code)
}

fn run(command: Command, findings: &mut Findings) -> Result<Said, VerifyError> {
    let quiet = |text: String| (text, String::new());
    match command {
        Command::Check { dir, vkey, key_file, json, full } => {
            let options =
                check::Options { vkey: vkey.as_deref(), key_file: key_file.as_deref(), full };
            checked(&dir, options, json.as_deref(), findings).map(quiet)
        }
        Command::Extract { dir, point, disk, out, key_file, holes } => {
            let key_file = key_file.as_deref();
            let options = extract::Options { point: &point, disk, out: &out, key_file, holes };
            let done = extract::extract(&dir, options, findings)?;
            let text =
                format!("{}: {} bytes, {} of them lost\n", out.display(), done.capacity, done.lost);
            Ok(quiet(text))
        }
        Command::Head { dir } => proof::head(&dir, findings).map(quiet),
        Command::Proof { dir, index } => {
            let (text, leaf) = proof::inclusion(&dir, index, findings)?;
            Ok((text, format!("leaf {index}: {leaf}\n")))
        }
        Command::Consistency { dir, old_head } => {
            let (old, new) = proof::consistency(&dir, &old_head, findings)?;
            Ok(quiet(format!("the {old} leaves of the older head are the first of {new}\n")))
        }
        Command::Repair { dir, serial, out } => {
            let blocks = repair::repair(&dir, serial, &out, findings)?;
            let out = out.display();
            Ok(quiet(format!(
                "{out}: segment {serial} as it was sealed; {blocks} blocks repaired\n"
            )))
        }
    }
}

fn checked(
    dir: &Path,
    options: check::Options<'_>,
    json: Option<&Path>,
    findings: &mut Findings,
) -> Result<String, VerifyError> {
    let mut report = Report::default();
    let outcome = check::check(dir, options, &mut report, findings);
    if let Err(error) = &outcome {
        let what = model::chain(error);
        if findings.list().iter().all(|finding| finding.what != what) {
            findings.add("check", what);
        }
    }
    report.findings = findings.list().to_vec();
    if let Some(path) = json {
        let mut file = create_outside(dir, path)?;
        let written = serde_json::to_writer_pretty(&mut file, &report).map_err(io::Error::from);
        let written = written.and_then(|()| file.write_all(b"\n"));
        written.map_err(|source| VerifyError::Io {
            doing: "writing",
            path: path.to_owned(),
            source,
        })?;
    }
    outcome.map(|()| summary(&report))
}

/// What was checked, for people.
fn summary(report: &Report) -> String {
    let mut lines = Vec::new();
    for point in &report.points {
        let state = if point.complete { "complete" } else { "NOT COMPLETE" };
        lines.push(format!(
            "point {} {:?}: {state}, {} lock until {} of the retention clock, {} holds",
            point.id,
            point.vm,
            point.mode,
            point.locked_until,
            point.holds.len()
        ));
    }
    let ledger = &report.ledger;
    let consistent = if ledger.consistent { "consistent" } else { "NOT consistent" };
    let signer = ledger.signed_by.as_deref().unwrap_or("nobody that counts");
    lines.push(format!("ledger: {} leaves, {consistent}, signed by {signer}", ledger.size));
    let segments = &report.segments;
    let damaged = segments.damaged.len();
    lines.push(format!("segments: {} checked, {damaged} damaged", segments.checked));
    lines.push(format!("findings: {}", report.findings.len()));
    lines.join("\n") + "\n"
}
