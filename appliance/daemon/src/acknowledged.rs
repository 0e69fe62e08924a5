//! Who accepted that a LUN is presented writable, kept in the state directory.
//!
//! One JSON line per fact, synced: an acknowledgement, or its withdrawal. An acknowledgement holds
//! for the LUN that was seen then. When it is presented read-only, or is another one under the same
//! name, the acknowledgement is withdrawn for good: what comes later has to be accepted anew. The
//! file only grows, by what people do.

use crate::wire::journal_file::JournalFile;
use api::{Acknowledgement, AcknowledgementRequest, text};
use jobs::JournalLog as _;
use jobs::ports::BoxError;
use model::{NaaName, WallTime};
use san::Lun;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest name of a person, in characters.
const BY_MAX: usize = 200;
/// Longest note, in characters.
const NOTE_MAX: usize = 1000;

/// What makes a LUN the one that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Which {
    names: Vec<NaaName>,
    vendor: String,
    product: String,
    serial: Option<String>,
    capacity_bytes: u64,
}

impl Which {
    /// A name may stand for another LUN now.
    fn shares_a_name(&self, other: &Self) -> bool {
        self.names.iter().any(|name| other.names.contains(name))
    }
}

/// A LUN as it is presented now.
#[derive(Clone, Debug)]
pub(crate) struct Presented {
    which: Which,
    write_protected: Option<bool>,
}

impl Presented {
    pub(crate) fn of(lun: &Lun) -> Self {
        let info = lun.info();
        let which = Which {
            names: info.names.clone(),
            vendor: info.vendor.clone(),
            product: info.product.clone(),
            serial: info.serial.clone(),
            capacity_bytes: info.capacity,
        };
        Self { which, write_protected: lun.write_protected() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Accepted { which: Which, acknowledgement: Acknowledgement },
    Withdrawn { which: Which, why: String },
}

#[derive(Clone, Debug)]
struct Entry {
    which: Which,
    acknowledgement: Acknowledgement,
    /// It has ended and that is not on record yet.
    ended: Option<&'static str>,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAccepted {
    #[error("there is nothing to accept: it {0}")]
    NotWritable(&'static str),
    #[error("{what}: it must have 1 to {max} characters, none of them a control character")]
    Text { what: &'static str, max: usize },
    #[error("it could not be recorded: {0}")]
    Record(BoxError),
}

/// What holds, and the file behind it.
pub(crate) struct Acknowledged {
    file: JournalFile,
    /// Invariant: what the file leaves open, but for entries that have ended.
    open: Mutex<Vec<Entry>>,
}

impl Acknowledged {
    pub(crate) fn load(state_dir: &Path) -> Result<Self, BoxError> {
        let file = JournalFile::new(state_dir, "acknowledgements");
        let bytes = file.load()?;
        // A torn last line was never answered for.
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        if whole < bytes.len() {
            file.replace(&bytes[..whole])?;
        }
        Ok(Self { file, open: Mutex::new(replay(&bytes[..whole])?) })
    }

    /// Records it, in place of an older one.
    pub(crate) fn accept(
        &self,
        lun: &Presented,
        request: AcknowledgementRequest,
        now: WallTime,
    ) -> Result<(), NotAccepted> {
        match lun.write_protected {
            Some(false) => {}
            Some(true) => return Err(NotAccepted::NotWritable("is presented read-only")),
            None => return Err(NotAccepted::NotWritable("does not say how it is presented")),
        }
        let by = one_line("by", request.by.trim(), BY_MAX, 1)?;
        let note = one_line("note", request.note.trim(), NOTE_MAX, 0)?;
        let acknowledgement = Acknowledgement { by, at: text::wall(now), note };
        let which = lun.which.clone();
        let mut open = self.lock();
        let line =
            Line::Accepted { which: which.clone(), acknowledgement: acknowledgement.clone() };
        self.record(&line).map_err(NotAccepted::Record)?;
        open.retain(|entry| !entry.which.shares_a_name(&which));
        open.push(Entry { which, acknowledgement, ended: None });
        Ok(())
    }

    /// The acknowledgement that holds for a LUN; one that does not hold any more is withdrawn.
    pub(crate) fn of(&self, lun: &Presented) -> Option<Acknowledgement> {
        let mut open = self.lock();
        let at = open.iter().position(|entry| entry.which.shares_a_name(&lun.which))?;
        let entry = &mut open[at];
        entry.ended = entry.ended.or_else(|| end(&entry.which, lun));
        let Some(why) = entry.ended else { return Some(entry.acknowledgement.clone()) };
        let (name, by) = (entry.which.names.first(), &entry.acknowledgement.by);
        let line = Line::Withdrawn { which: entry.which.clone(), why: why.into() };
        match tokio::task::block_in_place(|| self.record(&line)) {
            Ok(()) => {
                tracing::warn!(?name, by, why, "a writable LUN's acknowledgement is withdrawn");
                open.remove(at);
            }
            // It has ended all the same, and is tried again with the next look.
            Err(error) => tracing::error!(?name, %error, "a withdrawal is not recorded"),
        }
        None
    }

    /// Withdraws what does not hold any more.
    pub(crate) fn look(&self, luns: &[Lun]) {
        for lun in luns {
            let _holds = self.of(&Presented::of(lun));
        }
    }

    fn record(&self, line: &Line) -> Result<(), BoxError> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.append(&bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner) // whole after every statement
    }
}

/// Why an acknowledgement ends with what is seen now. A LUN that does not say is no change.
fn end(accepted: &Which, now: &Presented) -> Option<&'static str> {
    if *accepted != now.which {
        return Some("it is not the same LUN any more");
    }
    (now.write_protected == Some(true)).then_some("it is presented read-only")
}

fn one_line(what: &'static str, text: &str, max: usize, min: usize) -> Result<String, NotAccepted> {
    let length = text.chars().count();
    if length < min || length > max || text.chars().any(char::is_control) {
        return Err(NotAccepted::Text { what, max });
    }
    Ok(text.to_owned())
}

fn replay(bytes: &[u8]) -> Result<Vec<Entry>, BoxError> {
    let mut open: Vec<Entry> = Vec::new();
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let line = serde_json::from_slice(line).map_err(|source| {
            format!("line {} of 'acknowledgements' is damaged ({source})", number + 1)
        })?;
        let (Line::Accepted { which, .. } | Line::Withdrawn { which, .. }) = &line;
        open.retain(|entry| !entry.which.shares_a_name(which));
        if let Line::Accepted { which, acknowledgement } = line {
            open.push(Entry { which, acknowledgement, ended: None });
        }
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000);

    fn seen(write_protected: Option<bool>) -> Presented {
        let which = Which {
            names: vec!["naa.600140500000000000000000000000a1".parse().unwrap()],
            vendor: "ACME".into(),
            product: "Array".into(),
            serial: Some("S1".into()),
            capacity_bytes: 1 << 30,
        };
        Presented { which, write_protected }
    }

    fn request(by: &str) -> AcknowledgementRequest {
        AcknowledgementRequest { by: by.into(), note: "no mapping per host".into() }
    }

    #[test]
    fn it_is_remembered_until_the_lun_is_presented_read_only() {
        let dir = tempfile::tempdir().unwrap();
        let record = Acknowledged::load(dir.path()).unwrap();
        let writable = seen(Some(false));
        assert_eq!(record.of(&writable), None);
        record.accept(&writable, request(" J. Doe "), NOW).unwrap();
        let record = Acknowledged::load(dir.path()).unwrap();
        let held = record.of(&writable).unwrap();
        assert_eq!((held.by.as_str(), held.at), ("J. Doe", text::wall(NOW)));
        assert_eq!(record.of(&seen(None)), Some(held), "not told is no change");
        assert_eq!(record.of(&seen(Some(true))), None);
        assert_eq!(record.of(&writable), None, "withdrawn for good");
        assert_eq!(Acknowledged::load(dir.path()).unwrap().of(&writable), None);
        let file = std::fs::read_to_string(dir.path().join("acknowledgements")).unwrap();
        assert_eq!(file.lines().count(), 2, "both facts stay on record: {file}");
    }

    #[test]
    fn another_lun_of_that_name_was_not_accepted() {
        let writable = seen(Some(false));
        let changes: [fn(&mut Which); 5] = [
            |which| which.serial = None,
            |which| which.vendor.push('2'),
            |which| which.product.clear(),
            |which| which.capacity_bytes += 512,
            |which| which.names.push("naa.5000000000000001".parse().unwrap()),
        ];
        for change in changes {
            let dir = tempfile::tempdir().unwrap();
            let record = Acknowledged::load(dir.path()).unwrap();
            record.accept(&writable, request("J. Doe"), NOW).unwrap();
            let mut other = writable.clone();
            change(&mut other.which);
            assert_eq!(record.of(&other), None, "{other:?}");
            assert_eq!(record.of(&writable), None, "{other:?}");
        }
    }

    #[test]
    fn only_what_is_writable_is_accepted_and_only_by_somebody() {
        let dir = tempfile::tempdir().unwrap();
        let record = Acknowledged::load(dir.path()).unwrap();
        for presented in [Some(true), None] {
            let error = record.accept(&seen(presented), request("J. Doe"), NOW).unwrap_err();
            assert!(matches!(error, NotAccepted::NotWritable(_)), "{error}");
        }
        for by in ["", "  ", "a\nb", "\u{1b}[2J", &"x".repeat(BY_MAX + 1)] {
            let error = record.accept(&seen(Some(false)), request(by), NOW).unwrap_err();
            assert!(matches!(error, NotAccepted::Text { what: "by", .. }), "{error}");
        }
        assert!(!dir.path().join("acknowledgements").exists());
    }

    #[test]
    fn what_cannot_be_recorded_is_not_accepted_and_what_ended_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let record = Acknowledged::load(&state).unwrap();
        let writable = seen(Some(false));
        record.accept(&writable, request("J. Doe"), NOW).unwrap();
        std::fs::remove_dir_all(&state).unwrap();
        assert!(record.accept(&writable, request("A. Nother"), NOW).is_err());
        assert_eq!(record.of(&writable).unwrap().by, "J. Doe");
        assert_eq!(record.of(&seen(Some(true))), None);
        assert_eq!(record.of(&writable), None, "not on record, but over");
    }

    #[test]
    fn a_torn_line_is_dropped_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let record = Acknowledged::load(dir.path()).unwrap();
        let writable = seen(Some(false));
        record.accept(&writable, request("J. Doe"), NOW).unwrap();
        let file = dir.path().join("acknowledgements");
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, [&whole[..], &whole[..9]].concat()).unwrap();
        let record = Acknowledged::load(dir.path()).unwrap();
        assert!(record.of(&writable).is_some());
        assert_eq!(std::fs::read(&file).unwrap(), whole);
        std::fs::write(&file, [&whole[..], b"{}\n"].concat()).unwrap();
        let error = Acknowledged::load(dir.path()).err().unwrap().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
