//! What other volumes hold of the first: copies that may be older and nothing else. FORMAT.md 2.

use crate::files::{Source, listing};
use crate::ledger::{LedgerCheck, SignedHead};
use crate::report::{Damage, Findings};
use crate::repository::{Repository, eight_digits};
use std::collections::BTreeMap;
use std::path::Path;

/// Longest file of `repository` and `keys/` that is compared; each has its own fixed length.
const SMALL: u64 = 1 << 20;
/// Bytes of the ledger compared at once.
const PIECE: u64 = 1 << 20;

pub(crate) fn check(
    repository: &Repository,
    ledger: &LedgerCheck,
    heads: &BTreeMap<u8, SignedHead>,
    findings: &mut Findings,
) {
    for (number, folder) in &repository.volumes {
        if *folder == repository.path {
            continue;
        }
        let place = format!("volume {number}");
        let named = repository.volume_number(folder, findings);
        if named.is_some_and(|named| named != *number) {
            findings.add(&*place, "the volume header has another number");
        }
        let keys = listing(&repository.path.join("keys")).unwrap_or_default();
        let keys = keys.iter().filter(|name| *name == "master" || eight_digits(name).is_some());
        for name in std::iter::once("repository".into()).chain(keys.map(|n| format!("keys/{n}"))) {
            if let Err(damage) = same(&repository.path.join(&name), &folder.join(&name)) {
                findings.add(format!("{place}, {name}"), damage);
            }
        }
        if let Err(damage) = ledger_copy(repository, ledger, folder, heads.get(number)) {
            findings.add(format!("{place}, ledger"), damage);
        }
    }
}

fn same(one: &Path, other: &Path) -> Result<(), Damage> {
    let (one, other) = (Source::open(one)?, Source::open(other)?);
    let length = one.length().min(SMALL);
    let length = usize::try_from(length).map_err(|_| Damage::new("far too long"))?;
    let equal =
        one.length() == other.length() && one.bytes(0, length)? == other.bytes(0, length)?;
    Damage::unless(equal, "differs from the first volume's")
}

fn ledger_copy(
    repository: &Repository,
    ledger: &LedgerCheck,
    folder: &Path,
    head: Option<&SignedHead>,
) -> Result<(), Damage> {
    let copy = Source::open(&folder.join("ledger").join("leaves"))?;
    let first = Source::open(&repository.path.join("ledger").join("leaves"))?;
    if let Some(head) = head {
        let seen = ledger.seen.get(&head.head.size);
        head.check(repository.id(), seen)?;
        let whole = seen.is_some_and(|seen| copy.length() >= seen.end);
        Damage::unless(whole, "leaves that its head names are missing")?;
    }
    let (mut at, end) = (0, copy.length().min(ledger.end));
    while at < end {
        let length = usize::try_from((end - at).min(PIECE)).unwrap_or(0);
        let equal = copy.bytes(at, length)? == first.bytes(at, length)?;
        Damage::unless(equal, "differs from the first volume's")?;
        at += length as u64;
    }
    Ok(())
}
