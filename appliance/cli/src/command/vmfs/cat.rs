//! `vmfs cat`: the content of a file, through one buffer.

use super::volume::Opened;
use crate::error::Error;
use crate::output::{Lines, Outcome, Show};
use block::ReadAt as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use vmfs::{File, Target, VmfsError};

/// Bytes that are held at a time.
const BUFFER_BYTES: u64 = 1 << 20;

/// `vmfs cat`. The first byte is written when the whole map is known to be good; the map is read
/// again after the last one.
pub(super) fn cat(opened: &Opened, show: Show, path: &str) -> Result<Outcome, Error> {
    let file = opened.file(path)?;
    let failed = || Error::vmfs(format!("reading {path:?}"));
    file.verify().and_then(|()| nothing_unknown(&file)).map_err(failed())?;
    let length = file.length();
    if show.json {
        let mut hash = Sha256::new();
        copy(&file, path, |bytes| {
            hash.update(bytes);
            Ok(true)
        })?;
        file.recheck().map_err(failed())?;
        let sha256 = hex::encode(hash.finalize());
        let json = json!({ "path": path, "length": length, "sha256": sha256 });
        return Ok(Outcome::new(String::new(), &json));
    }
    let mut out = Lines::new();
    let whole = copy(&file, path, |bytes| out.bytes(bytes).map_err(Error::output))?;
    out.flush().map_err(Error::output)?;
    if whole {
        file.recheck().map_err(failed())?;
    }
    Ok(Outcome::printed(true))
}

fn nothing_unknown(file: &File) -> Result<(), VmfsError> {
    for part in file.parts(0, file.length())? {
        let part = part?;
        if let Target::Unknown(reason) = part.to {
            return Err(VmfsError::UnknownContent { offset: part.file_offset, reason });
        }
    }
    Ok(())
}

/// Hands all bytes to `sink`, in order; ends when it wants no more. Says whether it had all.
fn copy(
    file: &File,
    path: &str,
    mut sink: impl FnMut(&[u8]) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let most = usize::try_from(BUFFER_BYTES).expect("64-bit machine");
    let mut buffer = vec![0; most];
    let mut offset = 0;
    while offset < file.length() {
        let left = file.length() - offset;
        let bytes = &mut buffer[..usize::try_from(left).unwrap_or(most).min(most)];
        file.read_at(offset, bytes)
            .map_err(Error::vmfs(format!("reading {path:?} at offset {offset}")))?;
        if !sink(bytes)? {
            return Ok(false);
        }
        offset += bytes.len() as u64;
    }
    Ok(true)
}
