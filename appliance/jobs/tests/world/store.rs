//! The store of the world: points in memory. Each call can fail.

use super::Calls;
use jobs::RunRecord;
use jobs::ports::{
    DiskCounts, DiskDraft, DiskSink, PointDraft, PointSink, PortError, PreviousPoint, Store,
};
use model::{Consistency, DiskIdentity, Exclusion, ReadMode, RecoveryPointId, VmIdentity};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

pub const CHUNK: u64 = 1 << 20;

#[derive(Clone)]
pub struct StoredDisk {
    pub identity: DiskIdentity,
    pub mode: ReadMode,
    pub cells: BTreeMap<u64, Vec<u8>>,
    pub excluded: Vec<Exclusion>,
}

#[derive(Clone)]
pub struct StoredPoint {
    pub id: RecoveryPointId,
    pub consistency: Consistency,
    pub disks: Vec<StoredDisk>,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl StoredPoint {
    /// The image of disk 0.
    pub fn image(&self) -> Vec<u8> {
        let disk = &self.disks[0];
        let mut image = vec![0; usize::try_from(disk.identity.capacity).unwrap()];
        for (cell, bytes) in &disk.cells {
            let at = usize::try_from(cell * CHUNK).unwrap();
            image[at..at + bytes.len()].copy_from_slice(bytes);
        }
        image
    }
}

#[derive(Clone, Default)]
pub struct MemoryStore {
    pub points: Arc<Mutex<Vec<StoredPoint>>>,
    calls: Arc<Mutex<Option<Weak<dyn Calls>>>>,
}

impl MemoryStore {
    /// From now on each call is counted there.
    pub fn attach(&self, calls: Weak<dyn Calls>) {
        *self.calls.lock().unwrap() = Some(calls);
    }

    fn call(&self, name: &str) -> Result<(), PortError> {
        let calls = self.calls.lock().unwrap().as_ref().and_then(Weak::upgrade);
        calls.unwrap().call(name)
    }
}

impl Store for MemoryStore {
    type Point = Point;

    fn chunk_size(&self) -> u64 {
        CHUNK
    }

    fn latest(&self, _vm: &VmIdentity) -> Result<Option<PreviousPoint>, PortError> {
        self.call("latest")?;
        Ok(self.points.lock().unwrap().last().map(|point| PreviousPoint {
            id: point.id,
            disks: point.disks.iter().map(|disk| disk.identity.clone()).collect(),
            excluded: point.disks.iter().map(|disk| disk.excluded.clone()).collect(),
            cross_check: RunRecord::parse(&point.files[RunRecord::FILE]).unwrap().cross_check,
        }))
    }

    fn since_full(&self, _vm: &VmIdentity) -> Result<Vec<RecoveryPointId>, PortError> {
        self.call("since full")?;
        let points = self.points.lock().unwrap();
        let incremental = |point: &&StoredPoint| point.disks[0].mode == ReadMode::Incremental;
        Ok(points.iter().rev().take_while(incremental).map(|point| point.id).collect())
    }

    fn begin(&self, draft: PointDraft) -> Result<Point, PortError> {
        self.call("begin")?;
        let id = RecoveryPointId(draft.run.0);
        let consistency = draft.consistency;
        let point = StoredPoint { id, consistency, disks: Vec::new(), files: BTreeMap::new() };
        Ok(Point { store: self.clone(), point: Arc::new(Mutex::new(point)) })
    }
}

pub struct Point {
    store: MemoryStore,
    point: Arc<Mutex<StoredPoint>>,
}

impl PointSink for Point {
    type Disk = Disk;

    fn disk(&mut self, draft: DiskDraft) -> Result<Disk, PortError> {
        self.store.call("begin disk")?;
        let cells = draft.parent.map_or_else(BTreeMap::new, |(id, index)| {
            let points = self.store.points.lock().unwrap();
            points.iter().find(|point| point.id == id).unwrap().disks[index].cells.clone()
        });
        let parent = cells.clone();
        let DiskDraft { identity, mode, excluded, .. } = draft;
        let disk = StoredDisk { identity, mode, cells, excluded };
        self.point.lock().unwrap().disks.push(disk);
        Ok(Disk { store: self.store.clone(), point: Arc::clone(&self.point), parent })
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), PortError> {
        self.store.call("attach file")?;
        self.point.lock().unwrap().files.insert(name.into(), bytes.to_vec());
        Ok(())
    }

    fn commit(self) -> Result<RecoveryPointId, PortError> {
        self.store.call("commit")?;
        let point = self.point.lock().unwrap().clone();
        let id = point.id;
        self.store.points.lock().unwrap().push(point);
        Ok(id)
    }
}

pub struct Disk {
    store: MemoryStore,
    point: Arc<Mutex<StoredPoint>>,
    parent: BTreeMap<u64, Vec<u8>>,
}

impl DiskSink for Disk {
    fn put(&self, cell: u64, bytes: Vec<u8>) -> Result<(), PortError> {
        self.store.call("put")?;
        self.point.lock().unwrap().disks.last_mut().unwrap().cells.insert(cell, bytes);
        Ok(())
    }

    fn zero(&self, cell: u64) -> Result<(), PortError> {
        self.store.call("zero")?;
        self.point.lock().unwrap().disks.last_mut().unwrap().cells.remove(&cell);
        Ok(())
    }

    fn is_as_parent(&self, cell: u64, bytes: Option<&[u8]>) -> Result<bool, PortError> {
        self.store.call("compare")?;
        let parent = self.parent.get(&cell);
        Ok(match bytes {
            Some(bytes) if bytes.iter().any(|&byte| byte != 0) => {
                parent.is_some_and(|parent| parent == bytes)
            }
            _ => parent.is_none_or(|parent| parent.iter().all(|&byte| byte == 0)),
        })
    }

    fn finish(self) -> Result<DiskCounts, PortError> {
        self.store.call("finish disk")?;
        Ok(DiskCounts::default())
    }
}
