//! The metadata of one file, read lazily in pages: a bounded cache of the latest ones, and a
//! digest of all that were used, so that they can be read again and compared.

use crate::bytes::{index, u32_at, u64_at};
use crate::error::{At, VmdkError};
use block::ReadAt;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes read at once; a grain table of COWD, half a one of SEsparse.
const PAGE: u64 = 16 << 10;
/// Pages kept: 256 KiB a file, so that long chains stay small too.
const KEPT_MAX: usize = 16;
/// Pages in a word list of [`Used`]: 64 MiB of a file.
const GROUP: u64 = 64 * 64;
/// Most groups: 36 MB. Only hosted disks of several TiB, never found on VMFS, can have more.
const GROUPS_MAX: usize = 1 << 16;

/// A file whose metadata is looked at.
pub(crate) struct Pages {
    name: String,
    file: Arc<dyn ReadAt>,
    size: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    recent: VecDeque<(u64, Arc<Vec<u8>>)>,
    used: Used,
}

/// Which pages were used, one bit each, and the sum of the hashes of what they held first.
#[derive(Default)]
struct Used {
    groups: BTreeMap<u64, [u64; 64]>,
    digest: [u8; 32],
    /// A page could not be noted: there were too many groups.
    incomplete: bool,
}

impl Pages {
    pub(crate) fn new(name: &str, file: Arc<dyn ReadAt>) -> Self {
        let size = file.size();
        Self { name: name.into(), file, size, state: Mutex::default() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn at(&self, structure: &'static str, offset: u64) -> At<'_> {
        At { file: &self.name, structure, offset }
    }

    /// The entry of `width` (4 or 8) bytes at `offset`, a multiple of its width.
    pub(crate) fn entry(
        &self,
        structure: &'static str,
        offset: u64,
        width: u64,
    ) -> Result<u64, VmdkError> {
        let page = self.page(structure, offset / PAGE)?;
        let at = index(offset % PAGE);
        let whole = page.len() >= at + index(width);
        self.at(structure, offset).require(
            whole,
            "the file",
            "too short",
            "the whole structure",
        )?;
        Ok(if width == 4 { u32_at(&page, at).into() } else { u64_at(&page, at) })
    }

    /// A copy of some bytes; the caller bounds `length`.
    pub(crate) fn bytes(
        &self,
        structure: &'static str,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, VmdkError> {
        let at = self.at(structure, offset);
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| at.damaged("the file", "too short", "the whole structure"))?;
        let mut bytes = Vec::with_capacity(index(length));
        let mut position = offset;
        while position < end {
            let page = self.page(structure, position / PAGE)?;
            let from = index(position % PAGE);
            let part = (page.len() - from).min(index(end - position));
            bytes.extend_from_slice(&page[from..from + part]);
            position += part as u64;
        }
        Ok(bytes)
    }

    /// Bytes of a grain, past the cache: data, not metadata.
    pub(crate) fn data(&self, offset: u64, buffer: &mut [u8]) -> Result<(), VmdkError> {
        let at = self.at("grain", offset);
        self.file.read_at(offset, buffer).map_err(|source| at.unreadable(source))
    }

    /// Reads every page that was used again; [`VmdkError::Moved`] when one is different.
    pub(crate) fn recheck(&self) -> Result<(), VmdkError> {
        let (numbers, before) = {
            let state = self.lock();
            if state.used.incomplete {
                let what = format!("comparing the scattered metadata of {:?} again", self.name);
                return Err(VmdkError::unsupported(what));
            }
            (state.used.groups.clone(), state.used.digest)
        };
        let mut now = [0; 32];
        for (group, words) in numbers {
            for number in (0..GROUP).filter(|n| words[index(n / 64)] >> (n % 64) & 1 == 1) {
                let number = group * GROUP + number;
                add(&mut now, number, &self.read("metadata", number)?);
            }
        }
        let same = now == before && self.file.size() == self.size;
        if same { Ok(()) } else { Err(VmdkError::Moved { file: self.name.clone() }) }
    }

    fn page(&self, structure: &'static str, number: u64) -> Result<Arc<Vec<u8>>, VmdkError> {
        let kept = |state: &State| {
            let found = state.recent.iter().rev().find(|(kept, _)| *kept == number);
            found.map(|(_, bytes)| Arc::clone(bytes))
        };
        if let Some(bytes) = kept(&self.lock()) {
            return Ok(bytes);
        }
        let bytes = Arc::new(self.read(structure, number)?);
        let mut state = self.lock();
        state.used.note(number, &bytes);
        if state.recent.len() == KEPT_MAX {
            state.recent.pop_front();
        }
        state.recent.push_back((number, Arc::clone(&bytes)));
        Ok(bytes)
    }

    fn read(&self, structure: &'static str, number: u64) -> Result<Vec<u8>, VmdkError> {
        let offset = number * PAGE;
        let at = self.at(structure, offset);
        let length = self.size.saturating_sub(offset).min(PAGE);
        at.require(length > 0, "the place", "beyond the end of the file", "in the file")?;
        self.file.read_vec(offset, index(length)).map_err(|source| at.unreadable(source))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    /// A page counts as it was when it was used first.
    fn note(&mut self, number: u64, bytes: &[u8]) {
        let group = number / GROUP;
        if self.groups.len() == GROUPS_MAX && !self.groups.contains_key(&group) {
            self.incomplete = true;
            return;
        }
        let words = self.groups.entry(group).or_insert([0; 64]);
        let (word, bit) = (index(number % GROUP / 64), 1 << (number % 64));
        if words[word] & bit == 0 {
            words[word] |= bit;
            add(&mut self.digest, number, bytes);
        }
    }
}

/// Adds a page to a digest that does not depend on the order of pages.
fn add(digest: &mut [u8; 32], number: u64, bytes: &[u8]) {
    let mut hash = blake3::Hasher::new();
    hash.update(&number.to_le_bytes()).update(bytes);
    for (sum, byte) in digest.iter_mut().zip(hash.finalize().as_bytes()) {
        *sum ^= byte;
    }
}
