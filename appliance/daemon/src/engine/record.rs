//! The ledger, for those who check it.

use super::from_store;
use api::{ConsistencyQuery, InclusionQuery, LeafView, Leaves, LeavesQuery, LedgerHead, Proof};
use console::{EngineError, EngineResult};
use ledger::{Hash, Head};
use model::ErrorKind;
use repository::{Repository, StoreError};

pub(super) fn head(repository: &Repository) -> EngineResult<LedgerHead> {
    let status = repository.warden_status().map_err(|error| from_store(&error))?;
    let head = Head::peek(repository.id(), status.head.as_bytes()).map_err(|error| {
        let (kind, title) = (error.kind(), "The warden's head is none");
        EngineError::new(kind, "bad-head", title, model::chain(&error))
    })?;
    Ok(LedgerHead { size: head.size, note: status.head, signer: status.signer })
}

pub(super) fn leaves(repository: &Repository, query: LeavesQuery) -> EngineResult<Leaves> {
    let from = query.from.unwrap_or(0);
    let (size, _) = repository.ledger_head();
    let data = repository.leaves(from, query.limit()).map_err(|error| from_store(&error))?;
    let end = from.saturating_add(data.len() as u64);
    let leaves = (from..)
        .zip(data)
        .map(|(number, data)| match String::from_utf8(data) {
            Ok(data) => Ok(LeafView { number, data }),
            Err(error) => {
                let detail = format!("Leaf {number} of the ledger is no text: {error}");
                Err(EngineError::new(ErrorKind::Corrupt, "bad-leaf", "A leaf is damaged", detail))
            }
        })
        .collect::<EngineResult<_>>()?;
    Ok(Leaves { size, leaves, next: (end < size).then_some(end) })
}

pub(super) fn inclusion(repository: &Repository, query: InclusionQuery) -> EngineResult<Proof> {
    shown(repository.prove_inclusion(query.leaf, query.size))
}

pub(super) fn consistency(repository: &Repository, query: ConsistencyQuery) -> EngineResult<Proof> {
    shown(repository.prove_consistency(query.old, query.new))
}

fn shown(proof: Result<Vec<Hash>, StoreError>) -> EngineResult<Proof> {
    let hashes = proof.map_err(|error| from_store(&error))?;
    Ok(Proof { hashes: hashes.iter().map(hex::encode).collect() })
}
