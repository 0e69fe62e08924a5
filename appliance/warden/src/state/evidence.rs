//! What was seen: verifications, scrubs, damage, copies, alarms. None of it decides about a lock.

use super::parts::{ALARMS, EXPORTS};
use super::{Alarm, Export, Segment, State, Verified};
use ledger::{Event, Leaf};

impl State {
    pub(super) fn take_evidence(&mut self, leaf: &Leaf) {
        match &leaf.event {
            Event::Verified { point, damage, segments, .. } => {
                segments.iter().for_each(|serial| self.mark(*serial, |s| s.distrusted = true));
                if let Some(point) = self.points.get_mut(point) {
                    let (at, clock) = (leaf.wall, leaf.clock);
                    let mended = false;
                    point.verified = Some(Verified { at, clock, damage: *damage, mended });
                    match damage {
                        0 => point.unmended.clear(),
                        _ => point.unmended.extend(segments), // one of several leaves, maybe
                    }
                }
            }
            Event::Scrubbed { segments, damaged, .. } => {
                for &(first, last) in segments.as_slice() {
                    for segment in self.segments.range_mut(first..=last) {
                        segment.1.scrubbed = Some(leaf.clock);
                    }
                }
                damaged.iter().for_each(|serial| self.mark(*serial, |s| s.distrusted = true));
            }
            Event::Quarantined { serial, .. } => self.mark(*serial, |segment| {
                (segment.distrusted, segment.quarantined) = (true, true);
            }),
            Event::Repaired { serial, blocks } => {
                self.mark(*serial, |segment| {
                    (segment.distrusted, segment.quarantined) = (false, false);
                });
                if *blocks > 0 {
                    self.mended(*serial);
                }
            }
            Event::Exported { point, medium, detail } => {
                if let Some(point) = self.points.get_mut(point) {
                    let (medium, detail) = (medium.clone(), detail.clone());
                    if point.exports.len() == EXPORTS {
                        point.exports.remove(0);
                    }
                    point.exports.push(Export { at: leaf.wall, medium, detail });
                }
            }
            Event::Alarm { what, detail } => {
                let (what, detail) = (what.clone(), detail.clone());
                if self.alarms.len() == ALARMS {
                    self.alarms.pop_front();
                }
                self.alarms.push_back(Alarm { leaf: self.size, at: leaf.wall, what, detail });
            }
            _ => {}
        }
    }

    /// What verifications found in this segment is explained. A file that had nothing wrong in it
    /// explains nothing: then only another verification tells.
    fn mended(&mut self, serial: u32) {
        for point in self.points.values_mut() {
            if point.unmended.remove(&serial)
                && point.unmended.is_empty()
                && let Some(verified) = &mut point.verified
            {
                verified.mended = true;
            }
        }
    }

    fn mark(&mut self, serial: u32, change: impl FnOnce(&mut Segment)) {
        if let Some(segment) = self.segments.get_mut(&serial) {
            change(segment);
        }
    }
}
