//! The repository against other stores: what the figures of the rounds say.

use super::Measurement;
use super::goal::{Goal, Sides};
use super::rounds::{Figures, Run};
use super::timed::Figure;
use anyhow::Result;

/// `ingest.full.vs_borg`
pub const INGEST_BORG: &[Run] = &[Run::OurFull, Run::BorgFull];
/// `ingest.full.vs_restic`
pub const INGEST_RESTIC: &[Run] = &[Run::OurFull, Run::ResticFull];
/// `ingest.full.vs_kopia`
pub const INGEST_KOPIA: &[Run] = &[Run::OurFull, Run::KopiaFull];
/// `ingest.full.vs_zstd_limit`
pub const INGEST_ZSTD: &[Run] = &[Run::OurFull, Run::ZstdLimit];
/// `ingest.incr_1pct.vs_full`
pub const INCREMENTAL: &[Run] = &[Run::OurIncremental, Run::OurFull];
/// `restore.vs_borg`
pub const RESTORE: &[Run] = &[Run::OurRestore, Run::BorgRestore];
/// `verify.vs_borg`
pub const VERIFY: &[Run] = &[Run::OurVerify, Run::BorgVerify];
/// `stored.vs_borg`
pub const STORED: &[Run] = INGEST_BORG;
/// `index.bytes_per_chunk`
pub const INDEX: &[Run] = &[Run::OurFull];

const MIB: f64 = 1_048_576.0;

/// `ingest.full.vs_borg`
///
/// # Errors
/// When a contestant failed.
pub fn ingest_borg(figures: &Figures) -> Result<Measurement> {
    let how = "borg with chunks fixed at 1 MiB, zstd 1, no encryption (its fastest)";
    faster(figures, INGEST_BORG, "borg", Some(Goal::AtLeast(2.0)), how)
}

/// `ingest.full.vs_restic`
///
/// # Errors
/// When a contestant failed.
pub fn ingest_restic(figures: &Figures) -> Result<Measurement> {
    let how = "restic with its defaults: it has no fixed chunks and always encrypts";
    faster(figures, INGEST_RESTIC, "restic", Some(Goal::AtLeast(5.0)), how)
}

/// `ingest.full.vs_kopia`
///
/// # Errors
/// When a contestant failed, or kopia is absent.
pub fn ingest_kopia(figures: &Figures) -> Result<Measurement> {
    let how = "kopia with chunks fixed at 1 MiB, zstd-fastest; it always encrypts";
    faster(figures, INGEST_KOPIA, "kopia", None, how)
}

/// `ingest.full.vs_zstd_limit`
///
/// # Errors
/// When a contestant failed.
pub fn ingest_zstd(figures: &Figures) -> Result<Measurement> {
    let how = "zstd -1 with all cores to nowhere: no hash, nothing written";
    faster(figures, INGEST_ZSTD, "zstd", Some(Goal::AtLeast(0.85)), how)
}

/// `restore.vs_borg`
///
/// # Errors
/// When a contestant failed.
pub fn restore(figures: &Figures) -> Result<Measurement> {
    let how = "to standard output, which goes nowhere; borg extract --stdout";
    faster(figures, RESTORE, "borg", Some(Goal::AtLeast(2.0)), how)
}

/// `verify.vs_borg`
///
/// # Errors
/// When a contestant failed.
pub fn verify(figures: &Figures) -> Result<Measurement> {
    let how = "the only point; borg check --verify-data";
    faster(figures, VERIFY, "borg", Some(Goal::AtLeast(2.0)), how)
}

/// `ingest.incr_1pct.vs_full`
///
/// # Errors
/// When a run failed.
pub fn incremental(figures: &Figures) -> Result<Measurement> {
    let [incremental, full] = both(figures, INCREMENTAL)?;
    let changed = figures.data.changed_cells;
    let how = format!("{changed} scattered cells against the whole disk");
    let sides = Sides { ours: incremental.seconds, theirs: full.seconds, unit: "s" };
    Ok(Measurement {
        value: sides.ours / sides.theirs,
        unit: "ratio",
        goal: Some(Goal::AtMost(0.03)),
        note: note(figures, &how, &incremental, &full),
        sides: Some(sides),
        ..Measurement::default()
    })
}

/// `stored.vs_borg`
///
/// # Errors
/// When a contestant failed.
pub fn stored(figures: &Figures) -> Result<Measurement> {
    let [ours, theirs] = both(figures, STORED)?.map(|figure| figure.stored_bytes as f64 / MIB);
    Ok(Measurement {
        value: ours / theirs,
        unit: "ratio",
        peer: figures.version("borg"),
        goal: Some(Goal::AtMost(1.02)),
        note: format!("blocks of all files after one full backup; {}", figures.data.about()),
        sides: Some(Sides { ours, theirs, unit: "MiB" }),
        ..Measurement::default()
    })
}

/// `index.bytes_per_chunk`
///
/// # Errors
/// When our ingest failed.
pub fn index(figures: &Figures) -> Result<Measurement> {
    let full = figures.of(Run::OurFull)?;
    let (bytes, chunks) = (full.number("index_bytes")?, full.number("index_chunks")?);
    Ok(Measurement {
        value: bytes / chunks,
        unit: "bytes",
        goal: Some(Goal::AtMost(48.0)),
        note: format!("{bytes} bytes of memory for {chunks} chunks; {}", figures.data.about()),
        ..Measurement::default()
    })
}

/// How many times faster the first of the two runs is.
fn faster(
    figures: &Figures,
    runs: &[Run],
    whom: &str,
    goal: Option<Goal>,
    how: &str,
) -> Result<Measurement> {
    let [ours, theirs] = both(figures, runs)?;
    let rate = |figure: &Figure| figures.data.bytes as f64 / MIB / figure.seconds;
    let sides = Sides { ours: rate(&ours), theirs: rate(&theirs), unit: "MiB/s" };
    Ok(Measurement {
        value: sides.ours / sides.theirs,
        unit: "ratio",
        peer: figures.version(whom),
        goal,
        note: note(figures, how, &ours, &theirs),
        sides: Some(sides),
        ..Measurement::default()
    })
}

fn both(figures: &Figures, runs: &[Run]) -> Result<[Figure; 2]> {
    let &[first, second] = runs else { anyhow::bail!("a comparison has two sides: {runs:?}") };
    Ok([figures.of(first)?, figures.of(second)?])
}

fn note(figures: &Figures, how: &str, ours: &Figure, theirs: &Figure) -> String {
    format!(
        "{how}; processor time {:.2} s against {:.2} s; {}",
        ours.cpu_seconds,
        theirs.cpu_seconds,
        figures.about()
    )
}
