//! A ledger of five leaves, signed, with right proofs; and one that was exchanged.

use api::{ConsistencyQuery, InclusionQuery, LeafView, Leaves, LeavesQuery, LedgerHead, Proof};
use console::{EngineError, EngineResult};
use ledger::note::NoteSigner;
use ledger::tree::leaf_hash;
use ledger::{Head, Prover, Tree, origin};
use model::ErrorKind;

const REPOSITORY: [u8; 16] = [0x5a; 16];

fn data(number: u64) -> String {
    format!(r#"{{"v":2,"clock":{number},"wall":{number},"event":{{"type":"overrides-off"}}}}"#)
}

pub const SIZE: u64 = 5;

/// The head over the first `size` leaves.
pub fn head(size: u64) -> LedgerHead {
    let signer = NoteSigner::new(&origin(&REPOSITORY), &[7; 32]).unwrap();
    let mut tree = Tree::default();
    (0..size).for_each(|number| tree.push(leaf_hash(data(number).as_bytes())));
    let note = Head::new(REPOSITORY, &tree).sign(&signer);
    LedgerHead { size, note, signer: signer.vkey().to_string() }
}

pub fn leaves(query: LeavesQuery) -> Leaves {
    let from = query.from.unwrap_or(0);
    let end = from.saturating_add(query.limit() as u64).min(SIZE);
    let leaves = (from..end).map(|number| LeafView { number, data: data(number) }).collect();
    Leaves { size: SIZE, leaves, next: (end < SIZE).then_some(end) }
}

pub fn inclusion(query: InclusionQuery) -> EngineResult<Proof> {
    proof(Prover::inclusion(query.leaf, query.size))
}

pub fn consistency(query: ConsistencyQuery) -> EngineResult<Proof> {
    proof(Prover::consistency(query.old, query.new))
}

fn proof(prover: Option<Prover>) -> EngineResult<Proof> {
    let done = prover.and_then(|mut prover| {
        (0..SIZE).for_each(|number| prover.push(leaf_hash(data(number).as_bytes())));
        prover.finish()
    });
    let hashes = done.ok_or_else(|| {
        let detail = "There is no such proof.";
        EngineError::new(ErrorKind::Refused, "no-proof", "There is no proof", detail)
    })?;
    Ok(Proof { hashes: hashes.iter().map(hex::encode).collect() })
}
