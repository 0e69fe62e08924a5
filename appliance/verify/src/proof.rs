//! The commands `head`, `proof` and `consistency`: what the ledger proves to others.

use crate::VerifyError;
use crate::check::open;
use crate::ledger::{Frames, LedgerCheck, SignedHead};
use crate::report::{Damage, Findings};
use crate::repository::Repository;
use ::ledger::Prover;
use ::ledger::proof::verify_inclusion;
use ::ledger::tree::leaf_hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;
use std::path::Path;

fn right_ledger(
    dir: &Path,
    watch: &[u64],
    findings: &mut Findings,
) -> Result<(Repository, LedgerCheck), VerifyError> {
    let (repository, ledger, _) = open(dir, watch, findings)?;
    match &ledger.refusal {
        Some(refusal) => Err(VerifyError::Refused(refusal.clone())),
        None => Ok((repository, ledger)),
    }
}

fn right_head(ledger: &LedgerCheck) -> Result<&SignedHead, Damage> {
    let head = ledger.head.as_ref().filter(|_| ledger.consistent && ledger.signed);
    head.ok_or_else(|| Damage::new("there is no right head: run `check`"))
}

/// The signed head, once all leaves were held against it: to be kept elsewhere.
pub fn head(dir: &Path, findings: &mut Findings) -> Result<String, VerifyError> {
    let (_, ledger) = right_ledger(dir, &[], findings)?;
    Ok(String::from_utf8_lossy(&right_head(&ledger)?.note).into_owned())
}

/// The proof that leaf `index` is in the ledger of the head (a C2SP tlog-proof), and the leaf.
pub fn inclusion(
    dir: &Path,
    index: u64,
    findings: &mut Findings,
) -> Result<(String, String), VerifyError> {
    let (repository, ledger) = right_ledger(dir, &[], findings)?;
    let SignedHead { head, note } = right_head(&ledger)?;
    let mut prover = Prover::inclusion(index, head.size).ok_or_else(|| {
        VerifyError::refused(format!("the head names {} leaves, counted from 0", head.size))
    })?;
    let path = repository.path.join("ledger").join("leaves");
    let (mut frames, mut own) = (Frames::open(&path, repository.id())?, Vec::new());
    while let Some(data) = frames.next() {
        prover.push(leaf_hash(&data));
        if frames.tree.size() == index + 1 {
            own = data;
        }
    }
    let hashes = prover.finish().ok_or_else(|| Damage::new("leaves are missing"))?;
    let proved = verify_inclusion(&leaf_hash(&own), index, head.size, &hashes, &head.root);
    Damage::unless(proved, "the proof does not lead to the head")?;
    let mut text = format!("c2sp.org/tlog-proof@v1\nindex {index}\n");
    for hash in hashes {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}", STANDARD.encode(hash));
    }
    text.push('\n');
    text.push_str(&String::from_utf8_lossy(note));
    Ok((text, String::from_utf8_lossy(&own).into_owned()))
}

/// Whether the head in `old` is about a beginning of this ledger; gives the two sizes.
pub fn consistency(
    dir: &Path,
    old: &Path,
    findings: &mut Findings,
) -> Result<(u64, u64), VerifyError> {
    let repository = Repository::open(dir, &mut Findings::default())?;
    let head = SignedHead::read(old, repository.id())
        .map_err(|damage| VerifyError::refused(format!("{}: {damage}", old.display())))?;
    let (_, ledger) = right_ledger(dir, &[head.head.size], findings)?;
    let (was, is) = (head.head.size, ledger.tree.size());
    if was > is {
        let what = format!("the ledger has {is} leaves, the older head {was}: it was cut back");
        return Err(Damage(what).into());
    }
    head.check(repository.id(), ledger.seen.get(&was))
        .map_err(|damage| Damage(format!("older head: {damage}")))?;
    Ok((was, is))
}
