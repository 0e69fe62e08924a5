//! The effect of each kind of leaf (the table of FORMAT.md 8).

use super::check::no_serial_zero;
use super::{Created, Key, Officer, Segment, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use format::segment::Class;
use ledger::event::LockBounds;
use ledger::{Event, Leaf, Vkey};
use model::RetentionTime;
use retention::{Bounds, ClockEvent, ClockState};
use std::collections::BTreeSet;

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(super) fn hash(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|error| format!("'{text}': {error}"))?;
    Ok(hash)
}

pub(crate) fn bounds(bounds: LockBounds) -> Bounds {
    Bounds { min_seconds: bounds.min_seconds, max_seconds: bounds.max_seconds }
}

pub(crate) fn class_of(name: &str) -> Result<Class, String> {
    match name {
        "data" => Ok(Class::Data),
        "metadata" => Ok(Class::Metadata),
        other => Err(format!("a segment of class '{other}'")),
    }
}

pub(crate) fn right(right: ledger::event::Right) -> retention::Right {
    match right {
        ledger::event::Right::ReleaseHold => retention::Right::ReleaseHold,
        ledger::event::Right::Override => retention::Right::Override,
    }
}

pub(crate) fn officer_key(text: &str) -> Result<[u8; 32], String> {
    let key = STANDARD.decode(text).map_err(|error| format!("an officer's key: {error}"))?;
    let key: [u8; 32] = key.try_into().map_err(|_| "an officer's key has no 32 bytes")?;
    Vkey::new("officer", &key).map_err(text_of_key)?;
    Ok(key)
}

fn text_of_key(error: ledger::LedgerError) -> String {
    format!("an officer's key: {error}")
}

fn names(by: &[String]) -> BTreeSet<String> {
    by.iter().cloned().collect()
}

impl State {
    pub(super) fn take(&mut self, leaf: &Leaf) -> Result<(), String> {
        let first = matches!(leaf.event, Event::Created { .. });
        if first != (self.size == 0) {
            return Err("the first leaf, and only that, creates the repository".into());
        }
        no_serial_zero(&leaf.event)?;
        if !matches!(leaf.event, Event::Reach { .. } | Event::Commit(_)) {
            self.pending = None;
        }
        match &leaf.event {
            Event::Created { .. } => self.create(leaf),
            Event::Clock { .. } | Event::ClockEvent { .. } => self.tell_clock(leaf),
            Event::Signer { .. } | Event::Officer { .. } | Event::Dismiss { .. } => {
                self.take_person(&leaf.event)
            }
            Event::Extend { .. }
            | Event::Tighten { .. }
            | Event::Hold { .. }
            | Event::Unhold { .. }
            | Event::Override { .. }
            | Event::OverridesOff {}
            | Event::Bounds { .. } => self.take_lock(leaf),
            Event::Key { epoch, hash } => self.key(*epoch, hash),
            Event::Volume { number } => {
                self.may_add_volume(*number)?;
                self.volumes.insert(*number);
                Ok(())
            }
            Event::Segment(segment) => self.segment_leaf(segment, leaf.clock),
            Event::Reach { point, add, drop } => {
                self.part_of_reach(*point, add, drop);
                Ok(())
            }
            Event::Commit(commit) => self.commit(commit, leaf.clock),
            Event::Compact { from, to } => self.compact(from, to, leaf.clock),
            Event::Delete { points, segments, keys } => {
                self.delete(points, segments, keys, leaf.clock)
            }
            Event::Deleted { .. } => {
                self.removal = None;
                Ok(())
            }
            Event::Verified { .. }
            | Event::Scrubbed { .. }
            | Event::Quarantined { .. }
            | Event::Repaired { .. }
            | Event::Exported { .. }
            | Event::Alarm { .. }
            | Event::Refused { .. } => {
                self.take_evidence(leaf);
                Ok(())
            }
        }
    }

    fn create(&mut self, leaf: &Leaf) -> Result<(), String> {
        let Event::Created { repository, chunk_size, bounds: limits, signer } = &leaf.event else {
            return Err("it is not the first leaf".into());
        };
        let mut id = [0; 16];
        hex::decode_to_slice(repository, &mut id).map_err(text)?;
        self.created = Some(Created { repository: id, chunk_size: *chunk_size });
        self.clock = Some(ClockState::begin(leaf.clock));
        self.signer = Some(signer.parse().map_err(text)?);
        self.retention.apply(retention::Event::SetBounds(bounds(*limits))).map_err(text)
    }

    fn tell_clock(&mut self, leaf: &Leaf) -> Result<(), String> {
        let clock = self.clock.as_mut().ok_or("there is no clock")?;
        match &leaf.event {
            Event::Clock { state } => {
                let state = serde_json::from_value(state.clone()).map_err(text)?;
                *clock = state;
                clock.reach(leaf.clock);
            }
            Event::ClockEvent { what } => {
                let event: ClockEvent = serde_json::from_value(what.clone()).map_err(text)?;
                clock.apply(&event, leaf.clock);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_person(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Signer { key } => self.signer = Some(key.parse().map_err(text)?),
            Event::Officer { name, key, rights, by } => {
                let key = officer_key(key)?;
                let officer = name.clone();
                let engine = rights.iter().copied().map(right).collect();
                let event = retention::Event::Enrol { officer, rights: engine, by: names(by) };
                self.retention.apply(event).map_err(text)?;
                let rights = rights.iter().copied().collect();
                self.officers.insert(name.clone(), Officer { key, rights });
            }
            Event::Dismiss { name, .. } => {
                let event = retention::Event::Dismiss { officer: name.clone() };
                self.retention.apply(event).map_err(text)?;
                self.officers.remove(name);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_lock(&mut self, leaf: &Leaf) -> Result<(), String> {
        match lock_event(&leaf.event, leaf.clock) {
            Some(event) => self.retention.apply(event).map_err(text),
            None => Ok(()),
        }
    }

    fn key(&mut self, epoch: u32, file: &str) -> Result<(), String> {
        self.may_add_key(epoch, file)?;
        self.keys.insert(epoch, Key { hash: hash(file)?, segments: 0 });
        Ok(())
    }

    fn segment_leaf(
        &mut self,
        segment: &ledger::event::Segment,
        clock: RetentionTime,
    ) -> Result<(), String> {
        let (class, seal) = self.is_new(segment)?;
        if let Some(key) = self.keys.get_mut(&segment.epoch) {
            key.segments += 1;
        }
        let known = Segment {
            volume: segment.volume,
            class,
            cohort: segment.cohort,
            bytes: segment.bytes,
            seal,
            epoch: segment.epoch,
            recorded: clock,
            scrubbed: None,
            distrusted: false,
            quarantined: false,
        };
        self.segments.insert(segment.serial, known);
        Ok(())
    }
}

/// What a leaf that concerns locks is to the retention engine.
pub(crate) fn lock_event(event: &Event, clock: RetentionTime) -> Option<retention::Event> {
    use retention::Event as Engine;
    Some(match event {
        Event::Extend { point, until } => Engine::Extend { point: *point, until: *until },
        Event::Tighten { point } => Engine::Tighten { point: *point },
        Event::Hold { point, matter } => Engine::Hold { point: *point, matter: matter.clone() },
        Event::Unhold { point, matter, .. } => {
            Engine::Unhold { point: *point, matter: matter.clone() }
        }
        Event::Override { point, by, .. } => {
            Engine::Override { point: *point, at: clock, by: names(by) }
        }
        Event::OverridesOff {} => Engine::ForbidOverrides,
        Event::Bounds { bounds: limits, .. } => Engine::SetBounds(bounds(*limits)),
        Event::Officer { name, rights, by, .. } => Engine::Enrol {
            officer: name.clone(),
            rights: rights.iter().copied().map(right).collect(),
            by: names(by),
        },
        Event::Dismiss { name, .. } => Engine::Dismiss { officer: name.clone() },
        _ => return None,
    })
}
