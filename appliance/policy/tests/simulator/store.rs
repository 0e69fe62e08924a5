//! The repository of one VM, reduced to what decides about space: chunks, segments, points.
//!
//! A chunk is written by one run (`birth`) and replaced by another (`death`); the points of the
//! runs in `[birth, death)` reach it. It is dead when none of these points exists any more.

use crate::SEGMENT;
use model::RetentionTime;
use policy::placement::Cohort;

pub(crate) const NONE: u32 = u32::MAX;
const NEVER: u16 = u16::MAX;

#[derive(Clone, Copy)]
pub(crate) struct Chunk {
    pub(crate) cell: u32,
    pub(crate) segment: u32,
    pub(crate) birth: u16,
    pub(crate) death: u16,
}

#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) chunks: Vec<u32>,
    /// Chunks that some existing point reaches.
    pub(crate) live: u32,
    /// Chunks that the newest map reaches.
    pub(crate) current: u32,
    pub(crate) made: RetentionTime,
    /// The latest lock end of the points that reach it.
    pub(crate) until: RetentionTime,
}

#[derive(Default)]
pub(crate) struct Store {
    /// Newest map: cell -> chunk.
    pub(crate) cells: Vec<u32>,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) segments: Vec<Segment>,
    /// Segments that are not deleted, ascending; tidied once a day.
    pub(crate) present: Vec<u32>,
    /// Day -> first chunk written on it or later.
    first: Vec<u32>,
    /// Chunks that were replaced, in that order, and day -> first of them.
    replaced: Vec<u32>,
    first_replaced: Vec<u32>,
    /// Days of existing points, ascending.
    points: Vec<u16>,
    /// Chunks in segments that are not deleted.
    pub(crate) stored: u64,
    /// Chunks that are not dead.
    pub(crate) live: u64,
    pub(crate) copied: u64,
    day: u16,
    at: RetentionTime,
    /// Segments in `present` that were there when the run began.
    earlier: usize,
    open: [u32; 2],
}

impl Store {
    pub(crate) fn new(cells: u32) -> Self {
        Self { cells: vec![NONE; cells as usize], ..Self::default() }
    }

    pub(crate) fn cells(&self) -> u64 {
        self.cells.len() as u64
    }

    /// A run begins; it has segments of its own.
    pub(crate) fn begin(&mut self, day: u16, at: RetentionTime) {
        let days = usize::from(day) + 1;
        self.first.resize(days, u32::try_from(self.chunks.len()).unwrap());
        self.first_replaced.resize(days, u32::try_from(self.replaced.len()).unwrap());
        self.day = day;
        self.at = at;
        self.earlier = self.present.len();
        self.open = [NONE; 2];
    }

    /// Stores `cell` anew in the run's open segment of `cohort`.
    pub(crate) fn put(&mut self, cell: u32, cohort: Cohort) {
        let old = self.cells[cell as usize];
        if let Some(chunk) = self.chunks.get_mut(old as usize) {
            chunk.death = self.day;
            self.replaced.push(old);
            self.segments[chunk.segment as usize].current -= 1;
        }
        let segment = self.room(cohort);
        let id = u32::try_from(self.chunks.len()).unwrap();
        self.chunks.push(Chunk { cell, segment, birth: self.day, death: NEVER });
        let into = &mut self.segments[segment as usize];
        into.chunks.push(id);
        into.live += 1;
        into.current += 1;
        self.cells[cell as usize] = id;
        self.stored += 1;
        self.live += 1;
    }

    fn room(&mut self, cohort: Cohort) -> u32 {
        let open = self.open[cohort as usize];
        if self.segments.get(open as usize).is_some_and(|s| s.chunks.len() < SEGMENT) {
            return open;
        }
        let new = u32::try_from(self.segments.len()).unwrap();
        let (made, until) = (self.at, RetentionTime(0));
        self.segments.push(Segment { chunks: Vec::new(), live: 0, current: 0, made, until });
        self.present.push(new);
        self.open[cohort as usize] = new;
        new
    }

    /// Stores what the newest map has in `segment` again.
    pub(crate) fn copy_forward(&mut self, segment: u32) {
        let current = |&chunk: &u32| {
            let chunk = self.chunks[chunk as usize];
            (chunk.death == NEVER).then_some(chunk.cell)
        };
        let cells: Vec<u32> =
            self.segments[segment as usize].chunks.iter().filter_map(current).collect();
        self.copied += cells.len() as u64;
        cells.into_iter().for_each(|cell| self.put(cell, Cohort::Cold));
    }

    /// When the segment was made in which the newest map has `cell`.
    pub(crate) fn made(&self, cell: u32) -> Option<RetentionTime> {
        let chunk = self.chunks.get(self.cells[cell as usize] as usize)?;
        Some(self.segments[chunk.segment as usize].made)
    }

    /// Segments of earlier runs that the newest map reaches.
    pub(crate) fn shared(&self) -> Vec<u32> {
        let reached = |&id: &u32| self.segments[id as usize].current > 0;
        self.present[..self.earlier].iter().copied().filter(reached).collect()
    }

    /// The run's point exists from now on; what it reaches is locked until `lock` at least.
    pub(crate) fn commit(&mut self, lock: RetentionTime) {
        self.first.push(u32::try_from(self.chunks.len()).unwrap());
        self.first_replaced.push(u32::try_from(self.replaced.len()).unwrap());
        self.points.push(self.day);
        for &id in &self.present {
            let segment = &mut self.segments[id as usize];
            if segment.current > 0 {
                segment.until = segment.until.max(lock);
            }
        }
    }

    /// Deletes the point of `day`; segments without a live chunk go at once. Dead are the chunks
    /// that were born after the point before it and replaced until the point after it.
    pub(crate) fn expire(&mut self, day: u16) {
        let at = self.points.binary_search(&day).unwrap();
        self.points.remove(at);
        let next = self.points[at];
        let after = at.checked_sub(1).map_or(0, |before| self.points[before] + 1);
        let range = |first: &[u32], from: u16, to: u16| {
            first[usize::from(from)] as usize..first[usize::from(to)] as usize
        };
        let born = range(&self.first, after, day + 1);
        let gone = range(&self.first_replaced, day + 1, next + 1);
        let candidates: Vec<u32> = if born.len() < gone.len() {
            born.map(|id| u32::try_from(id).unwrap()).collect()
        } else {
            self.replaced[gone].to_vec()
        };
        for id in candidates {
            let chunk = self.chunks[id as usize];
            if (after..=day).contains(&chunk.birth) && (day + 1..=next).contains(&chunk.death) {
                self.bury(chunk.segment);
            }
        }
    }

    /// A chunk of `segment` is dead.
    fn bury(&mut self, segment: u32) {
        self.live -= 1;
        let segment = &mut self.segments[segment as usize];
        segment.live -= 1;
        if segment.live == 0 {
            self.stored -= segment.chunks.len() as u64;
            segment.chunks = Vec::new();
        }
    }

    pub(crate) fn tidy(&mut self) {
        let segments = &self.segments;
        self.present.retain(|&id| segments[id as usize].live > 0);
    }

    /// Without locks: moves what is live out of segments of which `percent` is dead.
    pub(crate) fn compact(&mut self, percent: u64) {
        self.open = [NONE; 2];
        let worth = |s: &Segment| {
            let size = s.chunks.len() as u64;
            (size - u64::from(s.live)) * 100 >= size * percent && u64::from(s.live) < size
        };
        for id in self.present.clone() {
            if self.segments[id as usize].live > 0 && worth(&self.segments[id as usize]) {
                self.rewrite(id);
            }
        }
    }

    fn rewrite(&mut self, id: u32) {
        let old = std::mem::take(&mut self.segments[id as usize].chunks);
        self.stored -= old.len() as u64;
        self.segments[id as usize].live = 0;
        for chunk in old {
            let Chunk { birth, death, .. } = self.chunks[chunk as usize];
            let next = self.points.partition_point(|&point| point < birth);
            if self.points.get(next).is_some_and(|&point| point < death) {
                let to = self.room(Cohort::Cold);
                self.chunks[chunk as usize].segment = to;
                let segment = &mut self.segments[to as usize];
                segment.chunks.push(chunk);
                segment.live += 1;
                segment.current += u32::from(death == NEVER);
                self.stored += 1;
                self.copied += 1;
            }
        }
    }
}
