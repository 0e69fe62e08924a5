//! `holdfast ledger`: what the appliance has on record, checked here.
//!
//! Signature, hashes and proofs are computed on this side. The appliance only brings the bytes; if
//! it lies, a check fails.

use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, clean};
use api::endpoint::{GetLedgerHead, ListLeaves, ProveConsistency, ProveInclusion};
use api::{Leaves, LedgerHead};
use ledger::proof::{verify_consistency, verify_inclusion};
use ledger::tree::leaf_hash;
use ledger::{Hash, Head, Vkey};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes of a file with a head at most.
const NOTE_MAX: u64 = 64 << 10;

/// `ledger head`.
pub(crate) fn head(client: &Client, output: Option<&Path>) -> Result<Outcome, Error> {
    let head = client.ask(GetLedgerHead, &[])?;
    checked(&head.note, &head.signer)?;
    if let Some(path) = output {
        std::fs::write(path, &head.note).map_err(Error::file("writing", path))?;
    }
    let text = format!("{}key: {}\n", cleaned(&head.note), clean(&head.signer));
    Ok(Outcome::new(text, &head))
}

/// `ledger list`: all leaves from `from` on.
pub(crate) fn list(client: &Client, from: u64) -> Result<Outcome, Error> {
    let (mut all, mut next) = (Vec::new(), Some(from));
    let mut size = 0;
    while let Some(from) = next {
        let query = [("from", from.to_string()), ("limit", api::LIMIT_MAX.to_string())];
        let page: Leaves = client.call(ListLeaves, &[], &query, &api::Nothing {})?;
        all.extend(page.leaves);
        size = page.size;
        next = page.next.filter(|next| *next > from);
    }
    let lines = all.iter().map(|leaf| format!("{} {}\n", leaf.number, clean(&leaf.data)));
    Ok(Outcome::new(lines.collect(), &Leaves { size, leaves: all, next: None }))
}

/// `ledger proof`.
pub(crate) fn proof(
    client: &Client,
    leaf: Option<u64>,
    since: Option<&Path>,
    key: Option<&str>,
) -> Result<Outcome, Error> {
    let told: LedgerHead = client.ask(GetLedgerHead, &[])?;
    let key = key.unwrap_or(&told.signer);
    let now = checked(&told.note, key)?;
    match (leaf, since) {
        (Some(leaf), _) => inclusion(client, &now, leaf),
        (None, Some(path)) => consistency(client, &now, key, path),
        (None, None) => Err(Error::Unproven { what: "nothing was asked for".into() }),
    }
}

fn inclusion(client: &Client, head: &Head, number: u64) -> Result<Outcome, Error> {
    let query = [("from", number.to_string()), ("limit", "1".to_owned())];
    let page: Leaves = client.call(ListLeaves, &[], &query, &api::Nothing {})?;
    let missing = || Error::Unproven { what: format!("the appliance shows no leaf {number}") };
    let leaf = page.leaves.into_iter().find(|leaf| leaf.number == number).ok_or_else(missing)?;
    let query = [("leaf", number.to_string()), ("size", head.size.to_string())];
    let proof = client.call(ProveInclusion, &[], &query, &api::Nothing {})?;
    let path = hashes(&proof.hashes)?;
    if !verify_inclusion(&leaf_hash(leaf.data.as_bytes()), number, head.size, &path, &head.root) {
        let size = head.size;
        let what = format!("leaf {number} as it is shown is not in the signed ledger of {size}");
        return Err(Error::Unproven { what });
    }
    let text = format!(
        "leaf {number} is in the signed ledger of {} leaves:\n{}\n",
        head.size,
        clean(&leaf.data)
    );
    let json = serde_json::json!({ "leaf": leaf, "size": head.size, "proven": true });
    Ok(Outcome::new(text, &json))
}

fn consistency(client: &Client, now: &Head, key: &str, path: &Path) -> Result<Outcome, Error> {
    let mut note = String::new();
    File::open(path)
        .and_then(|file| file.take(NOTE_MAX).read_to_string(&mut note))
        .map_err(Error::file("reading", path))?;
    let old = checked(&note, key)?;
    let unproven = |what: String| Error::Unproven { what };
    if old.size > now.size {
        return Err(unproven(format!(
            "the ledger has {} leaves, but {} were signed for in {}: it was cut back",
            now.size,
            old.size,
            path.display()
        )));
    }
    let query = [("old", old.size.to_string()), ("new", now.size.to_string())];
    let proof = client.call(ProveConsistency, &[], &query, &api::Nothing {})?;
    let (before, after) = ((old.size, &old.root), (now.size, &now.root));
    if !verify_consistency(before, after, &hashes(&proof.hashes)?) {
        return Err(unproven(format!(
            "the ledger of {} leaves does not go on from the one of {} in {}: it was changed",
            now.size,
            old.size,
            path.display()
        )));
    }
    let text = format!(
        "the signed ledger of {} leaves goes on from the one of {} leaves; nothing of it was \
         changed or taken away\n",
        now.size, old.size
    );
    let json = serde_json::json!({ "old": old.size, "new": now.size, "proven": true });
    Ok(Outcome::new(text, &json))
}

/// The head in a note, if `key` signed it.
fn checked(note: &str, key: &str) -> Result<Head, Error> {
    let wrong = |error: ledger::LedgerError| Error::Unproven { what: model::chain(&error) };
    let key: Vkey = key.parse().map_err(wrong)?;
    let repository = repository(key.name())?;
    Head::open(repository, note.as_bytes(), &key).map_err(wrong)
}

/// The id in an origin, `holdfast/<hex>`.
fn repository(origin: &str) -> Result<[u8; 16], Error> {
    let mut id = [0; 16];
    let hex = origin.strip_prefix("holdfast/").unwrap_or_default();
    let what = || Error::Unproven { what: format!("'{origin}' is not the origin of a ledger") };
    hex::decode_to_slice(hex, &mut id).map_err(|_| what())?;
    Ok(id)
}

fn hashes(texts: &[String]) -> Result<Vec<Hash>, Error> {
    let one = |text: &String| {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map(|()| hash)
    };
    let what = || Error::Unproven { what: "the proof is not made of hashes".into() };
    texts.iter().map(one).collect::<Result<_, _>>().map_err(|_| what())
}

/// Line by line, so that the lines stay.
fn cleaned(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", clean(line))).collect()
}
