//! The text of a descriptor: lines of `key = "value"` and of extents.
//!
//! ```text
//! # Disk DescriptorFile
//! version=1                                       header: keys in any case, values maybe quoted
//! CID=fffffffe
//! RW 144703488 VMFS "normal-flat.vmdk"            extent: access, sectors, type, file, offset
//! ddb.thinProvisioned = "1"                       disk data base: unknown keys are kept
//! changeTrackPath="normal-ctk.vmdk"
//! ```
//! A key that stands twice is refused: which one counts is nobody's guess.

use crate::error::VmdkError;
use std::collections::BTreeMap;

/// Largest descriptor. ESXi writes some 500 bytes; a disk of very many extents has more.
pub(crate) const BYTES_MAX: usize = 64 << 10;
/// Most extents of a disk: 62 TiB in pieces of 2 GiB would be 31,744, which ESXi never makes.
const EXTENTS_MAX: usize = 1024;
/// How a descriptor of its own begins. One inside a sparse file needs no such sign, and some
/// products write another comment there.
const FIRST_LINE: &str = "# disk descriptorfile";
const DDB: &str = "ddb.";

/// The parts of a descriptor, not yet understood.
#[derive(Debug, Default)]
pub(crate) struct Descriptor {
    /// Header and change-tracking keys, in lower case.
    header: BTreeMap<String, String>,
    /// Keys of the disk data base without `ddb.`, as written.
    pub(crate) ddb: BTreeMap<String, String>,
    pub(crate) extents: Vec<ExtentLine>,
}

/// A line that describes an extent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExtentLine {
    pub(crate) access: String,
    pub(crate) sectors: u64,
    pub(crate) kind: String,
    pub(crate) file: Option<String>,
    /// Sectors in the file before the extent; 0 when the line has none.
    pub(crate) offset: u64,
}

impl Descriptor {
    /// Splits the text of a descriptor file into its parts.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, VmdkError> {
        Self::parse_after(bytes, FIRST_LINE)
    }

    /// Splits the text inside a sparse file into its parts.
    pub(crate) fn parse_embedded(bytes: &[u8]) -> Result<Self, VmdkError> {
        Self::parse_after(bytes, "")
    }

    fn parse_after(bytes: &[u8], first_line: &str) -> Result<Self, VmdkError> {
        if bytes.len() > BYTES_MAX {
            return Err(VmdkError::TooLarge { bytes: bytes.len(), limit: BYTES_MAX });
        }
        let mut descriptor = Self::default();
        let mut began = false;
        for (number, line) in unpadded(bytes).split(|byte| *byte == b'\n').enumerate() {
            let syntax = |problem: String| VmdkError::Syntax { line: number + 1, problem };
            let line = std::str::from_utf8(line)
                .map_err(|_| VmdkError::unsupported("a disk descriptor that is not UTF-8"))?
                .trim();
            if line.contains('\0') {
                return Err(syntax("it holds binary data".into()));
            }
            if !began && !line.is_empty() {
                began = line.to_ascii_lowercase().starts_with(first_line);
                if !began {
                    return Err(syntax("it does not begin as a descriptor does".into()));
                }
            }
            descriptor.line(line).map_err(syntax)?;
        }
        if began { Ok(descriptor) } else { Err(VmdkError::Missing { key: "text" }) }
    }

    /// The value of a header key.
    pub(crate) fn header(&self, key: &'static str) -> Option<&str> {
        self.header.get(&key.to_ascii_lowercase()).map(String::as_str)
    }

    /// The value of a header key that must be there.
    pub(crate) fn required(&self, key: &'static str) -> Result<&str, VmdkError> {
        self.header(key).ok_or(VmdkError::Missing { key })
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(access) = access(line) {
            if self.extents.len() == EXTENTS_MAX {
                return Err(format!("more than {EXTENTS_MAX} extents"));
            }
            self.extents.push(extent(access, &line[access.len()..])?);
            return Ok(());
        }
        let (key, value) = line.split_once('=').ok_or("it is neither key nor extent")?;
        let (key, value) = (key.trim(), unquote(value.trim()));
        let lower = key.to_ascii_lowercase();
        let double = if lower.starts_with(DDB) {
            self.ddb.insert(key[DDB.len()..].into(), value.into()).is_some()
        } else {
            self.header.insert(lower, value.into()).is_some()
        };
        if double { Err(format!("{key:?} stands there twice")) } else { Ok(()) }
    }
}

/// The text without the zeros that fill its last sector.
fn unpadded(bytes: &[u8]) -> &[u8] {
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..length]
}

/// The access word that an extent line begins with.
fn access(line: &str) -> Option<&str> {
    let word = line.split_whitespace().next()?;
    let known = ["RW", "RDONLY", "NOACCESS"].iter().any(|known| word.eq_ignore_ascii_case(known));
    known.then_some(word)
}

/// What follows the access word. The file name reaches from the first to the last quote: it may
/// hold spaces and quotes itself.
fn extent(access: &str, rest: &str) -> Result<ExtentLine, String> {
    let (before, file, after) = match (rest.find('"'), rest.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            (&rest[..first], Some(rest[first + 1..last].to_owned()), &rest[last + 1..])
        }
        (None, _) => (rest, None, ""),
        _ => return Err("the name of the extent's file has no end".into()),
    };
    let mut words = before.split_whitespace();
    let number = |word: Option<&str>, what: &str| {
        word.and_then(|word| word.parse::<u64>().ok()).ok_or(format!("{what} is not a number"))
    };
    let sectors = number(words.next(), "the extent's size")?;
    let kind = words.next().ok_or("the extent has no type")?.to_ascii_uppercase();
    if words.next().is_some() {
        return Err("there is more before the name of the extent's file".into());
    }
    let offset = match after.split_whitespace().next() {
        None => 0,
        word => number(word, "the extent's offset")?,
    };
    Ok(ExtentLine { access: access.to_ascii_uppercase(), sectors, kind, file, offset })
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
