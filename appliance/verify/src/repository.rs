//! A repository's directory: its header, its volumes, where each segment lies. FORMAT.md 2, 3.

use crate::VerifyError;
use crate::files::{Source, listing, small};
use crate::report::{Damage, Findings};
use format::header::{HEADER_BYTES, RepositoryHeader};
use format::volume::VolumeHeader;
use format::{BLOCK, FormatError};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

/// Names that the format knows in the directory of a volume.
const KNOWN: &[&str] =
    &["repository", "lock", "keys", "ledger", "open", "segments", "volumes", "volume"];

/// A directory that holds a repository, or one volume of it alone.
pub(crate) struct Repository {
    pub(crate) path: PathBuf,
    pub(crate) header: RepositoryHeader,
    /// This directory is volume `n` without the others.
    pub(crate) alone: Option<u8>,
    /// Where each volume lies.
    pub(crate) volumes: BTreeMap<u8, PathBuf>,
    /// Where each sealed segment lies.
    pub(crate) segments: BTreeMap<u32, PathBuf>,
}

impl Repository {
    pub(crate) fn open(path: &Path, findings: &mut Findings) -> Result<Self, VerifyError> {
        if !path.is_dir() {
            return Err(VerifyError::refused(format!("{}: no such directory", path.display())));
        }
        let volumes = volumes(path, findings);
        let header = header(&volumes, findings)?;
        let mut repository =
            Self { path: path.into(), header, alone: None, volumes, segments: BTreeMap::new() };
        if path.join("volume").symlink_metadata().is_ok() {
            repository.alone = repository.volume_number(path, findings);
        }
        if let Some(number) = repository.alone {
            repository.volumes = BTreeMap::from([(number, path.to_owned())]);
        }
        for (number, folder) in repository.volumes.clone() {
            if let Err(damage) = repository.list(number, &folder, findings) {
                findings.add(format!("volume {number}"), damage);
            }
        }
        Ok(repository)
    }

    /// The repository's id.
    pub(crate) fn id(&self) -> [u8; 16] {
        self.header.id.0
    }

    /// The number in the file `volume` of `folder`; `None`, with a finding, when it is not right.
    pub(crate) fn volume_number(&self, folder: &Path, findings: &mut Findings) -> Option<u8> {
        let read = || {
            let header = VolumeHeader::decode(&small(&folder.join("volume"), BLOCK)?)?;
            let own = header.repository == self.header.id;
            Damage::unless(own, "the volume belongs to another repository")?;
            Ok(header.number)
        };
        read().map_err(|damage: Damage| findings.add("volume header", damage)).ok()
    }

    fn list(&mut self, number: u8, folder: &Path, findings: &mut Findings) -> Result<(), Damage> {
        let segments = folder.join("segments");
        for name in listing(&segments)? {
            let serial = name.strip_suffix(".segment").and_then(eight_digits).filter(|&n| n != 0);
            let Some(serial) = serial else {
                findings
                    .note(format!("volume {number}: segments/{name:?} is no file of the format"));
                continue;
            };
            match self.segments.entry(serial) {
                Entry::Vacant(entry) => {
                    entry.insert(segments.join(name));
                }
                Entry::Occupied(_) => {
                    findings.add(format!("segment {serial}"), "lies on two volumes");
                }
            }
        }
        for name in listing(folder)?.iter().filter(|name| !KNOWN.contains(&&***name)) {
            findings.note(format!("volume {number}: {name:?} is no file of the format"));
        }
        let open = listing(&folder.join("open"))?.len();
        if open > 0 {
            findings.note(format!("volume {number}: {open} open segments, needed by nothing"));
        }
        Ok(())
    }
}

/// A number written as eight lower-case hex digits.
pub(crate) fn eight_digits(name: &str) -> Option<u32> {
    u32::from_str_radix(name, 16).ok().filter(|number| format!("{number:08x}") == name)
}

fn volumes(path: &Path, findings: &mut Findings) -> BTreeMap<u8, PathBuf> {
    let mut found = BTreeMap::from([(0, path.to_owned())]);
    let names = listing(&path.join("volumes")).unwrap_or_else(|damage| {
        findings.add("volumes", damage);
        Vec::new()
    });
    for name in names {
        match name.parse::<u8>().ok().filter(|n| *n != 0 && n.to_string() == name) {
            Some(number) => {
                found.insert(number, path.join("volumes").join(name));
            }
            None => findings.note(format!("volumes/{name:?} is no file of the format")),
        }
    }
    found
}

/// The first right copy of the header, if need be from another volume.
fn header(
    volumes: &BTreeMap<u8, PathBuf>,
    findings: &mut Findings,
) -> Result<RepositoryHeader, VerifyError> {
    for (number, folder) in volumes {
        let place = match number {
            0 => "repository".to_owned(),
            number => format!("volume {number}, repository"),
        };
        match header_of(&folder.join("repository"), &place, findings) {
            Ok(header) => return Ok(header),
            Err(HeaderError::Unknown(error)) => return Err(VerifyError::refused(error)),
            Err(HeaderError::Damage(damage)) => findings.add(place, damage),
        }
    }
    let problem = "no copy of the repository header is right: not a repository, or lost";
    Err(VerifyError::refused(problem))
}

enum HeaderError {
    Unknown(String),
    Damage(Damage),
}

impl From<Damage> for HeaderError {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

fn header_of(
    path: &Path,
    place: &str,
    findings: &mut Findings,
) -> Result<RepositoryHeader, HeaderError> {
    let file = Source::open(path)?;
    let length = file.length();
    if length != HEADER_BYTES as u64 {
        findings.add(place, format!("the header is {length} bytes long, not {HEADER_BYTES}"));
    }
    let mut bytes = vec![0; HEADER_BYTES];
    let there = usize::try_from(length).unwrap_or(HEADER_BYTES).min(HEADER_BYTES);
    file.read(0, &mut bytes[..there])?;
    let (header, copies) = RepositoryHeader::decode(&bytes).map_err(|error| match error {
        FormatError::Unsupported { .. } => HeaderError::Unknown(error.to_string()),
        _ => HeaderError::Damage(error.into()),
    })?;
    for (right, number) in [(copies.first, 1), (copies.second, 2)] {
        if !right {
            findings.add(place, format!("copy {number} of the header is damaged"));
        }
    }
    if copies.first && copies.second && bytes[..BLOCK] != bytes[BLOCK..] {
        findings.add(place, "the two copies of the header differ");
    }
    Ok(header)
}
