//! What the warden does as time passes: the clock on record, what could not be done before, and a
//! look at some of the files, so that each is looked at again and again.

use super::{FileFact, Keeper};
use crate::WardenError;
use crate::layout;
use crate::storage::Immutable;
use crate::wire::Outcome;
use ledger::Event;
use retention::Reading;
use std::io;

/// The clock is on record at least this often, in seconds: what a crash can cost it.
const MARK_EVERY: i64 = 3600;
/// Segments looked at per tick.
const CHECKED: usize = 256;
/// Segments of one look that are told one by one.
const TOLD: usize = 8;

impl Keeper {
    pub(super) fn tick(&mut self, reading: Reading) -> Result<Outcome, WardenError> {
        self.ledger.catch_up()?;
        let value = self.clock.value();
        if value.0.saturating_sub(self.marked.0) >= MARK_EVERY {
            self.clock.mark();
            let state = serde_json::to_value(self.clock.state());
            let state = state.map_err(|error| WardenError::denied(error.to_string()))?;
            self.record(vec![Event::Clock { state }], reading)?;
            self.marked = value;
        }
        let mut wrong = Vec::new();
        // What cannot be removed must not keep the rest from being looked at.
        if self.state.removal().is_some()
            && let Err(error) = self.finish_removal(reading)
        {
            wrong.push(("removal not complete", model::chain(&error)));
        }
        wrong.extend(self.check_some());
        let mut alarms = Vec::new();
        for (what, detail) in wrong {
            if self.raise(what, &detail, reading)? {
                alarms.push(format!("{what}: {detail}"));
            }
        }
        Ok(Outcome::Ticked { alarms })
    }

    /// Puts an alarm on record, once.
    fn raise(&mut self, what: &str, detail: &str, reading: Reading) -> Result<bool, WardenError> {
        let told = format!("{what}: {detail}");
        let before = self.state.alarms().any(|a| a.what == what && a.detail == detail);
        if before || self.alarmed.contains(&told) {
            return Ok(false);
        }
        let event = Event::Alarm { what: what.into(), detail: detail.into() };
        self.record(vec![event], reading)?;
        self.alarmed.insert(told);
        Ok(true)
    }

    /// The next files in turn; after the last segment come the keys. Of a volume that is away its
    /// segments are not told one by one.
    fn check_some(&mut self) -> Vec<Wrong> {
        self.away = self.volumes().filter(|volume| self.is_away(*volume)).collect();
        let away = self.away.iter().map(|&volume| ("volume missing", header_of(volume)));
        let mut wrong: Vec<Wrong> = away.collect();
        wrong.extend(few(self.check_segments()));
        if self.next_check == 0 && !self.away.contains(&0) {
            let keys = self.wrong_keys().into_iter();
            wrong.extend(keys.map(|(path, what)| ("key damaged", format!("{path}: {what}"))));
        }
        wrong
    }

    fn is_away(&self, volume: u8) -> bool {
        let header = self.storage.open(&header_of(volume));
        header.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    fn check_segments(&mut self) -> Vec<Wrong> {
        let next: Vec<(u32, u64)> = self
            .state
            .segments_from(self.next_check)
            .take(CHECKED)
            .map(|(serial, segment)| (serial, segment.bytes))
            .collect();
        self.next_check = match next.last() {
            Some(&(serial, _)) if next.len() == CHECKED => serial.saturating_add(1),
            _ => 0,
        };
        next.into_iter().filter_map(|(serial, bytes)| self.check(serial, bytes)).collect()
    }

    /// What is wrong is remembered: nothing new may reach it until it looks right again.
    fn check(&mut self, serial: u32, bytes: u64) -> Option<Wrong> {
        let volume = self.files.get(&serial).map(|file| file.volume);
        let volume = volume.or_else(|| self.state.segment(serial).map(|known| known.volume))?;
        if self.found.volumes_missing.contains(&volume) || self.away.contains(&volume) {
            return None; // told as a whole
        }
        let path = layout::sealed(volume, serial);
        match self.storage.open(&path).and_then(|file| file.length()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files.insert(serial, FileFact { volume, bytes: 0 });
                return Some(("segment missing", path));
            }
            Err(error) => return Some(("segment unreadable", format!("{path}: {error}"))),
            Ok(length) if length != bytes => {
                self.files.insert(serial, FileFact { volume, bytes: length });
                let detail = format!("{path} has {length} bytes instead of {bytes}");
                return Some(("segment altered", detail));
            }
            Ok(_) => {
                self.files.insert(serial, FileFact { volume, bytes });
            }
        }
        match self.storage.set_immutable(&path, true) {
            Ok(Immutable::Set) => {
                Some(("attribute lost", format!("{path} was not immutable and is again")))
            }
            Err(error) => Some(("segment unprotected", format!("{path}: {error}"))),
            Ok(_) => None,
        }
    }
}

/// What is wrong, and where.
type Wrong = (&'static str, String);

fn header_of(volume: u8) -> String {
    if volume == 0 { layout::HEADER.into() } else { layout::volume_header(volume) }
}

/// Of many only how many there are more: a disk that breaks down must not fill the ledger.
fn few(mut wrong: Vec<Wrong>) -> Vec<Wrong> {
    if wrong.len() > TOLD {
        let more = wrong.split_off(TOLD);
        let (what, detail) = &more[0];
        let detail = format!("{} more at once, the first: {what}: {detail}", more.len());
        wrong.push(("many segments", detail));
    }
    wrong
}
