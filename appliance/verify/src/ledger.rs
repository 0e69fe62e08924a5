//! The ledger's file from its first byte to its last, and the head that acknowledged it.
//! FORMAT.md, section 8. One frame at a time is in memory.

use crate::VerifyError;
use crate::files::Source;
use crate::report::{Damage, Findings, LedgerReport};
use crate::state::{State, Wrong};
use ::ledger::note::NOTE_MAX;
use ::ledger::tree::leaf_hash;
use ::ledger::{Hash, Head, Tree, Vkey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::path::Path;

const HEAD: usize = 48;
const ROOT: usize = 32;
const DATA_MAX: u32 = 65_535;
/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// The frames of a file, in order, while they are right.
pub(crate) struct Frames {
    file: Source,
    repository: [u8; 16],
    pub(crate) tree: Tree,
    /// End of the last right frame.
    pub(crate) end: u64,
    /// Why the frame at `end` is not right.
    stopped: Option<Damage>,
    buffer: Vec<u8>,
    /// Where `buffer` lies in the file.
    at: u64,
}

/// A right frame's data, or why there is none.
enum Frame {
    Data(Vec<u8>),
    Unknown(String),
    End,
}

impl Frames {
    pub(crate) fn open(path: &Path, repository: [u8; 16]) -> Result<Self, Damage> {
        let file = Source::open(path)?;
        let (tree, stopped, buffer) = (Tree::default(), None, Vec::new());
        Ok(Self { file, repository, tree, end: 0, stopped, buffer, at: 0 })
    }

    /// The data of the next right leaf, whatever it says; `None` when there is no more.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        match self.frame() {
            Frame::Data(data) => Some(data),
            Frame::Unknown(_) | Frame::End => None,
        }
    }

    fn frame(&mut self) -> Frame {
        if self.stopped.is_some() || self.end >= self.file.length() {
            return Frame::End;
        }
        match self.take() {
            Ok(frame) => frame,
            Err(damage) => {
                self.stopped = Some(damage);
                Frame::End
            }
        }
    }

    /// `length` bytes of the file from `from` on, out of the buffer.
    fn bytes(&mut self, from: u64, length: usize) -> Result<&[u8], Damage> {
        let inside = |at: u64, have: usize| {
            let begin = usize::try_from(from.checked_sub(at)?).ok()?;
            (begin + length <= have).then_some(begin)
        };
        if inside(self.at, self.buffer.len()).is_none() {
            let left = usize::try_from(self.file.length() - from.min(self.file.length()));
            let wanted = left.unwrap_or(PIECE).min(PIECE).max(length);
            self.buffer = self.file.bytes(from, wanted)?;
            self.at = from;
        }
        let begin = inside(self.at, self.buffer.len()).unwrap_or(0);
        Ok(&self.buffer[begin..begin + length])
    }

    fn take(&mut self) -> Result<Frame, Damage> {
        let (at, number, repository) = (self.end, self.tree.size(), self.repository);
        let mut head = [0; HEAD];
        head.copy_from_slice(self.bytes(at, HEAD)?);
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Damage::unless(head[..4] == *b"HFLF", "no frame begins here")?;
        Damage::unless(
            word(44) == crc32fast::hash(&head[..44]),
            "the frame's head has a wrong CRC",
        )?;
        if head[4..6] != [1, 0] {
            return Ok(Frame::Unknown(format!("leaf {number}: a frame of another version")));
        }
        let zeros = head[6..8] == [0; 2] && word(40) == 0;
        Damage::unless(zeros, "the frame's head has bytes that must be zero")?;
        Damage::unless(head[8..16] == number.to_le_bytes(), "the frame has another number")?;
        Damage::unless(head[16..32] == repository, "the frame is of another repository")?;
        Damage::unless((1..=DATA_MAX).contains(&word(32)), "the frame's length cannot be")?;
        let (length, crc) = (word(32) as usize, word(36));
        let body = self.bytes(at + HEAD as u64, length + ROOT)?;
        Damage::unless(crc32fast::hash(body) == crc, "the frame's data has a wrong CRC")?;
        let (data, root) = body.split_at(length);
        let (data, root) = (data.to_vec(), root.to_vec());
        let mut grown = self.tree.clone();
        grown.push(leaf_hash(&data));
        Damage::unless(grown.root()[..] == root, "the root is not that of the leaves up to here")?;
        self.tree = grown;
        self.end += (HEAD + length + ROOT) as u64;
        Ok(Frame::Data(data))
    }
}

/// What was known when the ledger had some size.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) root: Hash,
    pub(crate) signer: Option<Vkey>,
    /// End of its last frame.
    pub(crate) end: u64,
}

/// A head as it lies in a file, before its signature was looked at.
#[derive(Clone, Debug)]
pub(crate) struct SignedHead {
    pub(crate) head: Head,
    pub(crate) note: Vec<u8>,
}

impl SignedHead {
    pub(crate) fn read(path: &Path, repository: [u8; 16]) -> Result<Self, Damage> {
        let file = Source::open(path)?;
        let length = usize::try_from(file.length()).ok().filter(|&length| length <= NOTE_MAX);
        let length = length.ok_or_else(|| Damage::new("far too long for a head"))?;
        let note = file.bytes(0, length)?;
        Ok(Self { head: Head::peek(repository, &note)?, note })
    }

    /// Checks root and signature against what was seen at the head's size.
    pub(crate) fn check(&self, repository: [u8; 16], seen: Option<&Seen>) -> Result<(), Damage> {
        let size = self.head.size;
        let seen =
            seen.ok_or_else(|| Damage(format!("names {size} leaves; so many there are not")))?;
        let same = seen.root == self.head.root;
        Damage::unless(same, "another root than that of the leaves: one of them is not genuine")?;
        let key =
            seen.signer.as_ref().ok_or_else(|| Damage::new("no leaf names a key that signs"))?;
        Head::open(repository, &self.note, key)?;
        Ok(())
    }
}

/// What reading `leaves` and `head` came to.
pub(crate) struct LedgerCheck {
    repository: [u8; 16],
    pub(crate) state: State,
    pub(crate) tree: Tree,
    pub(crate) end: u64,
    pub(crate) head: Option<SignedHead>,
    /// The head is signed by the key that the leaves name.
    pub(crate) signed: bool,
    pub(crate) consistent: bool,
    /// Why nothing more can be said.
    pub(crate) refusal: Option<String>,
    /// What was seen at the sizes that were asked for.
    pub(crate) seen: BTreeMap<u64, Seen>,
}

impl LedgerCheck {
    /// Reads the ledger in `folder`, and remembers what was at the sizes in `watch`.
    pub(crate) fn read(
        folder: &Path,
        repository: [u8; 16],
        watch: &[u64],
        findings: &mut Findings,
    ) -> Self {
        let mut check = Self {
            repository,
            state: State::new(),
            tree: Tree::default(),
            end: 0,
            head: None,
            signed: false,
            consistent: true,
            refusal: None,
            seen: BTreeMap::new(),
        };
        let path = folder.join("head");
        let has_head = path.symlink_metadata().is_ok();
        if has_head {
            match SignedHead::read(&path, repository) {
                Ok(head) => check.head = Some(head),
                Err(damage) => check.wrong("ledger head", damage, findings),
            }
        }
        match Frames::open(&folder.join("leaves"), repository) {
            Ok(frames) => check.leaves(frames, watch, findings),
            Err(damage) => check.wrong("ledger", format!("leaves: {damage}"), findings),
        }
        check.compare(has_head, findings);
        check
    }

    /// A finding after which the ledger does not count as consistent.
    pub(crate) fn wrong(
        &mut self,
        place: impl Into<String>,
        what: impl std::fmt::Display,
        findings: &mut Findings,
    ) {
        self.consistent = false;
        findings.add(place, what);
    }

    fn see(&mut self, frames: &Frames, watch: &[u64]) {
        let size = frames.tree.size();
        if watch.contains(&size) || self.head.as_ref().is_some_and(|head| head.head.size == size) {
            let (root, signer) = (frames.tree.root(), self.state.signer.clone());
            self.seen.insert(size, Seen { root, signer, end: frames.end });
        }
    }

    fn leaves(&mut self, mut frames: Frames, watch: &[u64], findings: &mut Findings) {
        loop {
            let number = frames.tree.size();
            let data = match frames.frame() {
                Frame::Data(data) => data,
                Frame::Unknown(problem) => {
                    self.refusal = Some(format!("ledger: {problem}"));
                    break;
                }
                Frame::End => break,
            };
            let applied = self.state.apply(number, &data, &self.repository);
            let place = format!("ledger, leaf {number}");
            for deed in self.state.take_odd() {
                findings.add(&*place, deed);
            }
            match applied {
                Ok(()) => {}
                Err(Wrong::Damage(damage)) => self.wrong(place, damage, findings),
                Err(Wrong::Unknown(problem)) => {
                    let problem =
                        format!("{place}: {problem} is not known here; use a newer version");
                    self.refusal = Some(problem);
                    break;
                }
            }
            self.see(&frames, watch);
        }
        (self.tree, self.end) = (frames.tree.clone(), frames.end);
        self.rest(&frames, findings);
    }

    fn rest(&mut self, frames: &Frames, findings: &mut Findings) {
        if let Some(refusal) = self.refusal.clone() {
            self.wrong("ledger", refusal, findings);
            return;
        }
        let left = frames.file.length() - frames.end;
        if left > 0 {
            let why = frames.stopped.as_ref().map_or("", |damage| &*damage.0);
            let place = format!("ledger, leaf {}", frames.tree.size());
            findings.add(place, format!("{why}; {left} bytes from here on are no right leaves"));
        }
        if self.tree.size() == 0 {
            self.wrong("ledger", "holds no leaf", findings);
        }
    }

    fn compare(&mut self, has_head: bool, findings: &mut Findings) {
        let size = self.tree.size();
        if !has_head && size > 1 {
            let what = format!("is missing, though there are {size} leaves");
            self.wrong("ledger head", what, findings);
        }
        let Some(head) = self.head.clone() else { return };
        if self.refusal.is_some() {
            return;
        }
        let named = head.head.size;
        if named > size {
            let what = format!(
                "ends after {size} right leaves; the head names {named}: cut off, or damaged"
            );
            self.wrong("ledger", what, findings);
            return;
        }
        match head.check(self.repository, self.seen.get(&named)) {
            Ok(()) => self.signed = true,
            Err(damage) => self.wrong("ledger head", damage, findings),
        }
        if named < size {
            findings.note(format!("the head lags by {} leaves (lawful)", size - named));
        }
    }

    /// Demands that the head is signed by `wanted`.
    pub(crate) fn demand(
        &mut self,
        wanted: &str,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        let wanted: Vkey =
            wanted.parse().map_err(|error| VerifyError::refused(format!("--vkey: {error}")))?;
        let head = self.head.as_ref().and_then(|head| self.seen.get(&head.head.size));
        let signer = head.and_then(|seen| seen.signer.as_ref());
        if !self.signed || signer != Some(&wanted) {
            self.wrong("ledger head", "not signed by the key that was given", findings);
        }
        Ok(())
    }

    /// As JSON has it.
    pub(crate) fn report(&self) -> LedgerReport {
        LedgerReport {
            size: self.tree.size(),
            root: Some(STANDARD.encode(self.tree.root())),
            signed_by: self.signed.then(|| ::ledger::origin(&self.repository)),
            consistent: self.consistent,
        }
    }
}
