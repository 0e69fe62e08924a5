//! Who may do what: officers, pairs of officers, and the beginning without any.

use super::{Refusal, Right};
use std::collections::{BTreeMap, BTreeSet};

/// Who signed a request, as the caller has verified it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    officers: BTreeSet<String>,
    local: bool,
}

impl Authority {
    /// No officer signed.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// These officers signed.
    pub fn of<I: IntoIterator<Item = S>, S: Into<String>>(officers: I) -> Self {
        Self { officers: officers.into_iter().map(Into::into).collect(), local: false }
    }

    /// The box's own local command, which is run by whoever has its console. It stands in for a
    /// pair of officers while there is none; it never ends a lock or a hold.
    #[must_use]
    pub fn local() -> Self {
        Self { officers: BTreeSet::new(), local: true }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Officer {
    rights: BTreeSet<Right>,
    /// Everybody who ever approved this officer.
    enrolled_by: BTreeSet<String>,
    in_office: bool,
}

/// Everybody who ever was an officer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Officers(BTreeMap<String, Officer>);

impl Officers {
    pub(super) fn serving(&self) -> impl Iterator<Item = (&str, &BTreeSet<Right>)> {
        let serving = self.0.iter().filter(|(_, officer)| officer.in_office);
        serving.map(|(name, officer)| (name.as_str(), &officer.rights))
    }

    /// An invariant of the record: two approvers who were a pair then, or none.
    pub(super) fn may_enrol(&self, name: &str, by: &BTreeSet<String>) -> Result<(), Refusal> {
        if self.in_office(name).is_some() {
            return Err(Refusal::InOffice { officer: name.into() });
        }
        if by.is_empty() { Ok(()) } else { self.must_be_pair(by, None) }
    }

    pub(super) fn enrol(&mut self, name: String, rights: BTreeSet<Right>, by: BTreeSet<String>) {
        let entry = self.0.entry(name).or_insert_with(|| Officer {
            rights: BTreeSet::new(),
            enrolled_by: BTreeSet::new(),
            in_office: false,
        });
        entry.rights = rights;
        entry.enrolled_by.extend(by);
        entry.in_office = true;
    }

    pub(super) fn may_dismiss(&self, name: &str) -> Result<(), Refusal> {
        match self.in_office(name) {
            Some(_) => Ok(()),
            None => Err(Refusal::NoOfficer { officer: name.into() }),
        }
    }

    pub(super) fn dismiss(&mut self, name: &str) {
        if let Some(officer) = self.0.get_mut(name) {
            officer.in_office = false;
        }
    }

    /// One of those who signed has the right.
    pub(super) fn one_with(&self, right: Right, who: &Authority) -> Result<(), Refusal> {
        let has = |name: &String| self.in_office(name).is_some_and(|o| o.rights.contains(&right));
        if who.officers.iter().any(has) { Ok(()) } else { Err(Refusal::NeedsRight { right }) }
    }

    /// `by` is a pair, each of the two with `right`.
    pub(super) fn must_be_pair(
        &self,
        by: &BTreeSet<String>,
        right: Option<Right>,
    ) -> Result<(), Refusal> {
        let mut names = by.iter();
        match (names.next(), names.next(), names.next()) {
            (Some(one), Some(other), None) if self.pair(one, other, right) => Ok(()),
            _ => Err(Refusal::NeedsTwo { right }),
        }
    }

    /// Everybody named in the event signed the request.
    pub(super) fn approved(by: &BTreeSet<String>, who: &Authority) -> Result<(), Refusal> {
        match by.difference(&who.officers).next() {
            Some(officer) => Err(Refusal::NotApproved { officer: officer.clone() }),
            None => Ok(()),
        }
    }

    /// Among those who signed is a pair; or the local command signed while there is none at all.
    pub(super) fn pair_or_local(&self, who: &Authority) -> Result<(), Refusal> {
        let pair = self.has_pair(who.officers.iter());
        if pair || self.local(who) { Ok(()) } else { Err(Refusal::NeedsTwo { right: None }) }
    }

    /// The local command signed, and there is no pair that could.
    pub(super) fn local(&self, who: &Authority) -> bool {
        who.local && !self.has_pair(self.0.keys())
    }

    fn has_pair<'a>(&self, names: impl Iterator<Item = &'a String> + Clone) -> bool {
        names.clone().any(|one| names.clone().any(|other| self.pair(one, other, None)))
    }

    fn pair(&self, one: &str, other: &str, right: Option<Right>) -> bool {
        let (Some(first), Some(second)) = (self.in_office(one), self.in_office(other)) else {
            return false;
        };
        let has = |officer: &Officer| right.is_none_or(|right| officer.rights.contains(&right));
        one != other
            && has(first)
            && has(second)
            && !first.enrolled_by.contains(other)
            && !second.enrolled_by.contains(one)
    }

    fn in_office(&self, name: &str) -> Option<&Officer> {
        self.0.get(name).filter(|officer| officer.in_office)
    }
}
