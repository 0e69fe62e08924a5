//! A simulated disk that loses, tears and reorders what was not synced, runs full, and whose
//! power fails after any chosen operation. Seeded: the same operations give the same loss.
//!
//! The model is harsher than a journalling file system: after a power cut each sector written
//! since the last sync of its file is kept, lost (zeros) or garbage, the length is anything
//! between the synced one and the last one, and each directory entry that was not synced is kept
//! or lost on its own (a rename is either done or not).

mod faults;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use warden::storage::{Append, Immutable, Read, Storage};

const SECTOR: usize = 512;

/// A small generator (splitmix64), so that a seed says everything.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[allow(clippy::should_implement_trait)] // it never ends: no Option
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound as u64).max(1)).expect("below a usize")
    }
}

type Inode = u64;

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    immutable: bool,
}

/// A change of a directory that has not been synced.
#[derive(Clone)]
struct Change {
    directory: String,
    from: Option<String>,
    to: Option<(String, Inode)>,
}

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<Inode, Content>,
    /// Entries as the process sees them.
    names: BTreeMap<String, Inode>,
    /// Entries as they are on the medium.
    durable: BTreeMap<String, Inode>,
    changes: Vec<Change>,
    next: Inode,
    operations: u64,
    cut_at: Option<u64>,
    is_off: bool,
    capacity: Option<u64>,
    /// Handles that can write.
    writers: BTreeMap<Inode, Weak<()>>,
    fail_sync_at: Option<u64>,
    lie_at_read_back: bool,
    /// What asks for anything below these paths gets this error of the system.
    refused: Vec<(String, i32)>,
    /// What the page cache says of some files, whatever is on the medium.
    cached: BTreeMap<Inode, Vec<u8>>,
    /// Files that cannot be removed.
    stuck: std::collections::BTreeSet<String>,
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct Sim(Arc<Mutex<State>>);

impl State {
    /// Counts an operation that changes something; fails once the power is off.
    fn change(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.cut_at.is_some_and(|at| self.operations > at) {
            self.is_off = true;
        }
        if self.is_off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn look(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn inode(&self, path: &str) -> io::Result<Inode> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.files[inode].now.len() as u64).sum()
    }
}

fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

impl Sim {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn writer(&self, state: &mut State, inode: Inode) -> SimFile {
        let held = state.writers.get(&inode).and_then(Weak::upgrade).unwrap_or_default();
        state.writers.insert(inode, Arc::downgrade(&held));
        SimFile { sim: self.clone(), inode, from_cache: false, _writer: Some(held) }
    }

    /// Operations so far that change something.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The power fails after `operations` operations, counted from the creation of the disk.
    pub fn cut_at(&self, operations: u64) {
        self.state().cut_at = Some(operations);
    }

    /// All files together may have at most `bytes`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The sync that is operation number `operation` fails.
    pub fn fail_sync_at(&self, operation: u64) {
        self.state().fail_sync_at = Some(operation);
    }

    /// Reading back gives other bytes than were written.
    pub fn lie_at_read_back(&self) {
        self.state().lie_at_read_back = true;
    }

    /// Whether removing a file fails.
    pub fn stick(&self, path: &str, stuck: bool) {
        let mut state = self.state();
        let _was = if stuck { state.stuck.insert(path.into()) } else { state.stuck.remove(path) };
    }

    /// Changes one byte of a file, below everything.
    pub fn flip(&self, path: &str, at: usize, mask: u8) {
        let mut state = self.state();
        let inode = state.inode(path).expect("tests name files that exist");
        let content = state.files.get_mut(&inode).expect("named files exist");
        content.now[at] ^= mask;
        content.synced[at] ^= mask;
    }

    /// Changes the length of a file, below everything.
    pub fn truncate(&self, path: &str, length: usize) {
        let mut state = self.state();
        let inode = state.inode(path).expect("tests name files that exist");
        let content = state.files.get_mut(&inode).expect("named files exist");
        content.now.truncate(length);
        content.synced.truncate(length);
    }

    /// Exchanges two files, below everything.
    pub fn exchange(&self, one: &str, other: &str) {
        let mut state = self.state();
        let (a, b) = (state.names[one], state.names[other]);
        for (path, inode) in [(one, b), (other, a)] {
            state.names.insert(path.into(), inode);
            state.durable.insert(path.into(), inode);
        }
    }

    /// Removes a file, below everything.
    pub fn remove_below(&self, path: &str) {
        let mut state = self.state();
        state.names.remove(path).expect("tests name files that exist");
        state.durable.remove(path);
    }

    /// All files.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Length of a file.
    #[must_use]
    pub fn length(&self, path: &str) -> usize {
        let state = self.state();
        state.files[&state.names[path]].now.len()
    }

    /// An independent disk with the same content.
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The disk as a process finds it that starts after this one was killed: nothing is lost.
    pub fn after_kill(&self) -> Self {
        let mut state = self.state().clone();
        (state.is_off, state.cut_at, state.fail_sync_at) = (false, None, None);
        state.writers.clear();
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk after a power cut: what was not synced is kept, lost or torn.
    pub fn after_power_cut(&self, random: &mut Random) -> Self {
        let mut state = self.state().clone();
        let mut names = std::mem::take(&mut state.durable);
        for change in std::mem::take(&mut state.changes) {
            if random.below(2) == 0 {
                continue;
            }
            if let Some(from) = &change.from {
                names.remove(from);
            }
            if let Some((to, inode)) = change.to {
                names.insert(to, inode);
            }
        }
        let files =
            names.values().map(|inode| (*inode, torn(&state.files[inode], random))).collect();
        let survived = State {
            files,
            durable: names.clone(),
            names,
            next: state.next,
            capacity: state.capacity,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(survived)))
    }
}

/// A content after a power cut.
fn torn(content: &Content, random: &mut Random) -> Content {
    let (now, synced) = (&content.now, &content.synced);
    let mut bytes = synced.clone();
    if now != synced {
        let (low, high) = (now.len().min(synced.len()), now.len().max(synced.len()));
        let length = match random.below(3) {
            0 => synced.len(),
            1 => now.len(),
            _ => low + random.below(high - low + 1),
        };
        bytes.resize(length, 0);
        for (number, sector) in bytes.chunks_mut(SECTOR).enumerate() {
            let start = number * SECTOR;
            let fresh =
                now.get(start..).map_or(&[][..], |rest| &rest[..rest.len().min(sector.len())]);
            let old =
                synced.get(start..).map_or(&[][..], |rest| &rest[..rest.len().min(sector.len())]);
            if fresh == old || fresh.is_empty() {
                continue;
            }
            match random.below(8) {
                0..=3 => sector[..fresh.len()].copy_from_slice(fresh),
                4 => {
                    // What was synced stays; what came after it is garbage.
                    let keep = old.len();
                    sector[keep..]
                        .iter_mut()
                        .for_each(|byte| *byte = random.next().to_le_bytes()[0]);
                }
                _ => {}
            }
        }
    }
    let immutable = content.immutable && random.below(2) == 0;
    Content { now: bytes.clone(), synced: bytes, immutable }
}

struct SimFile {
    sim: Sim,
    inode: Inode,
    /// Reads what the page cache has, if it has anything.
    from_cache: bool,
    /// Held by handles that can write.
    _writer: Option<Arc<()>>,
}

impl Append for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.sim.state();
        // A cut may come in the middle of a write: the first half is an operation of its own.
        for half in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
            state.change()?;
            let room = state.capacity.map(|all| all.saturating_sub(state.used()));
            let content = state.files.get_mut(&self.inode).expect("open files exist");
            assert!(!content.immutable, "write to an immutable file");
            let fits = room.map_or(half.len(), |room| {
                half.len().min(usize::try_from(room).unwrap_or(usize::MAX))
            });
            content.now.extend_from_slice(&half[..fits]);
            if fits < half.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.sim.state();
        state.change()?;
        if state.fail_sync_at == Some(state.operations) {
            return Err(io::Error::other("the device reported an error"));
        }
        let content = state.files.get_mut(&self.inode).expect("open files exist");
        content.synced.clone_from(&content.now);
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.sim.state();
        state.change()?;
        let content = state.files.get_mut(&self.inode).expect("open files exist");
        content.now.truncate(usize::try_from(length).expect("64 bits"));
        Ok(())
    }
}

impl Read for SimFile {
    fn length(&self) -> io::Result<u64> {
        let state = self.sim.state();
        state.look()?;
        Ok(state.files[&self.inode].now.len() as u64)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.sim.state();
        state.look()?;
        let start = usize::try_from(offset).expect("64 bits");
        let cached = state.cached.get(&self.inode).filter(|_| self.from_cache);
        let bytes = cached.unwrap_or(&state.files[&self.inode].now);
        match bytes.get(start..start.saturating_add(buffer.len())) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Storage for Sim {
    fn name(&self) -> String {
        "simulated disk".into()
    }

    fn lock(&self, _path: &str) -> io::Result<bool> {
        self.state().look().map(|()| true)
    }

    fn create_dir(&self, _path: &str, _shared: bool) -> io::Result<()> {
        self.state().change()
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let (synced, rest) = std::mem::take(&mut state.changes)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.directory == path);
        state.changes = rest;
        for change in synced {
            if let Some(from) = &change.from {
                state.durable.remove(from);
                // What gave it this name came before and cannot come up again afterwards.
                let named = |other: &Change| other.to.as_ref().is_some_and(|to| to.0 == *from);
                let inode = change.to.as_ref().map(|to| to.1);
                let same = |other: &Change| other.to.as_ref().map(|to| to.1) == inode;
                state.changes.retain(|other| !(named(other) && same(other)));
            }
            if let Some((to, inode)) = change.to {
                state.durable.insert(to, inode);
            }
        }
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        state.look_at(path)?;
        let inside = state.names.iter().filter(|(name, _)| directory_of(name) == path);
        let plain = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        Ok(inside.map(|(name, i)| (plain(name), state.files[i].now.len() as u64)).collect())
    }

    fn create(&self, path: &str, _expected: u64) -> io::Result<Box<dyn Append>> {
        let mut state = self.state();
        state.look_at(path)?;
        state.change()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.next += 1;
        let inode = state.next;
        state.files.insert(inode, Content::default());
        state.names.insert(path.into(), inode);
        let to = Some((path.to_owned(), inode));
        state.changes.push(Change { directory: directory_of(path).into(), from: None, to });
        Ok(Box::new(self.writer(&mut state, inode)))
    }

    fn reopen(&self, path: &str) -> io::Result<Box<dyn Append>> {
        let mut state = self.state();
        state.look()?;
        let inode = state.inode(path)?;
        Ok(Box::new(self.writer(&mut state, inode)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn Read>> {
        self.open_to_read(path, true)
    }

    fn open_uncached(&self, path: &str) -> io::Result<Arc<dyn Read>> {
        self.open_to_read(path, false)
    }

    fn read_back(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let (mut bytes, lies) = {
            let state = self.state();
            state.look()?;
            (state.files[&state.inode(path)?].now.clone(), state.lie_at_read_back)
        };
        if lies {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        bytes.chunks(10_000).for_each(sink);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let inode = state.inode(from)?;
        assert!(!state.files[&inode].immutable, "rename of an immutable file");
        state.names.remove(from);
        state.names.insert(to.into(), inode);
        state.changes.push(Change {
            directory: directory_of(to).into(),
            from: Some(from.into()),
            to: Some((to.into(), inode)),
        });
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let inode = state.inode(path)?;
        if state.stuck.contains(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        assert!(!state.files[&inode].immutable, "removal of an immutable file");
        state.names.remove(path);
        let from = Some(path.to_owned());
        state.changes.push(Change { directory: directory_of(path).into(), from, to: None });
        Ok(())
    }

    fn make_read_only(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.inode(path).map(|_| ())
    }

    fn take_over(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let inode = state.inode(path)?;
        if state.writers.get(&inode).is_some_and(|writer| writer.strong_count() > 0) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let content = state.files.get_mut(&inode).expect("named files exist");
        content.synced.clone_from(&content.now);
        Ok(())
    }

    fn set_immutable(&self, path: &str, immutable: bool) -> io::Result<Immutable> {
        let mut state = self.state();
        let inode = state.inode(path)?;
        if state.files[&inode].immutable == immutable {
            state.look()?;
            return Ok(Immutable::Already);
        }
        state.change()?;
        state.files.get_mut(&inode).expect("named files exist").immutable = immutable;
        Ok(Immutable::Set)
    }

    fn enable_verity(&self, _path: &str) -> io::Result<bool> {
        self.state().look().map(|()| false)
    }

    fn free(&self, path: &str) -> io::Result<u64> {
        let state = self.state();
        state.look_at(path)?;
        Ok(state.capacity.map_or(u64::MAX, |all| all.saturating_sub(state.used())))
    }

    fn not_enforced(&self) -> Vec<String> {
        vec!["this disk exists in a test only".into()]
    }
}
