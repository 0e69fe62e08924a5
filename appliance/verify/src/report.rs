//! What a check found: damage as findings, things worth a word as notes, and the JSON that both
//! implementations of the verifier write.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Findings of one place (a segment, a point) that are listed one by one.
const PER_PLACE: u32 = 100;
/// Findings and notes that are listed in all.
const IN_ALL: usize = 100_000;

/// Bytes that are not what the format demands; the text says what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub String);

impl Damage {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// `Ok` when `holds`, else damage.
    pub(crate) fn unless(holds: bool, what: &str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self(what.to_owned())) }
    }
}

impl From<format::FormatError> for Damage {
    fn from(error: format::FormatError) -> Self {
        Self(error.to_string())
    }
}

impl From<::ledger::LedgerError> for Damage {
    fn from(error: ::ledger::LedgerError) -> Self {
        Self(error.to_string())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which part: `segment 4, block 9`, `point 3f..., disk 0`, `ledger head`.
    #[serde(rename = "where")]
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

/// Findings and notes, bounded: floods are counted and not kept.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    notes: Vec<String>,
    seen: BTreeMap<String, u32>,
}

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, place: impl Into<String>, what: impl fmt::Display) {
        let place = place.into();
        let part = place.split(',').next().unwrap_or_default().to_owned();
        let seen = self.seen.entry(part.clone()).or_default();
        *seen = seen.saturating_add(1);
        if self.list.len() >= IN_ALL || *seen > PER_PLACE + 1 {
            return;
        }
        self.list.push(if *seen > PER_PLACE {
            Finding { place: part, what: "more findings, not listed".into() }
        } else {
            Finding { place, what: what.to_string() }
        });
    }

    /// Adds something that is lawful and yet worth a word.
    pub fn note(&mut self, text: impl Into<String>) {
        if self.notes.len() < IN_ALL {
            self.notes.push(text.into());
        }
    }

    /// Adds all of another list.
    pub fn append(&mut self, other: Self) {
        for finding in other.list {
            self.add(finding.place, finding.what);
        }
        self.notes.extend(other.notes);
    }

    /// What is wrong, in the order in which it was found.
    #[must_use]
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// What is worth a word.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// What a check came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The ledger.
    pub ledger: LedgerReport,
    /// The points that exist, in the order of their commits.
    pub points: Vec<PointReport>,
    /// The segments that must exist.
    pub segments: SegmentsReport,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What was found of the ledger.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LedgerReport {
    /// Right leaves, those beyond the head included.
    pub size: u64,
    /// Root over them, base64; `None`: nothing could be read.
    pub root: Option<String>,
    /// Name of the key that signed the head; `None`: no right signature.
    pub signed_by: Option<String>,
    /// Frames, roots, head, signature, shape of the leaves and order of the clock are right.
    pub consistent: bool,
}

/// What was found of a point.
#[derive(Clone, Debug, Serialize)]
pub struct PointReport {
    /// Its id, hex.
    pub id: String,
    /// Name of its VM.
    pub vm: String,
    /// All it needs is there and right.
    pub complete: bool,
    /// When its lock ends, by the retention clock.
    pub locked_until: i64,
    /// `governance` or `compliance`.
    pub mode: String,
    /// Matters of its legal holds, ascending.
    pub holds: Vec<String>,
}

/// What was found of the segments.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SegmentsReport {
    /// How many must exist by the ledger.
    pub checked: u64,
    /// Serials of those with a finding, missing ones included, ascending.
    pub damaged: Vec<u32>,
}
