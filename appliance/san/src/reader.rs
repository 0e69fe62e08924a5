//! A LUN for parsers, which block.

use crate::{Lun, READ_MAX};
use block::{ReadAt, ReadError};
use bytes::BytesMut;
use tokio::runtime::Handle;

/// [`ReadAt`] over a [`Lun`]. For threads that may block (`spawn_blocking`), not for async code.
#[derive(Clone, Debug)]
pub struct LunReader {
    lun: Lun,
    runtime: Handle,
}

impl LunReader {
    pub(crate) fn new(lun: Lun, runtime: Handle) -> Self {
        Self { lun, runtime }
    }
}

impl ReadAt for LunReader {
    fn size(&self) -> u64 {
        self.lun.info().capacity
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.size())?;
        let mut memory = BytesMut::new();
        let mut at = offset;
        for part in buffer.chunks_mut(READ_MAX) {
            let read = self.lun.read_into(at, part.len(), memory);
            let bytes = self.runtime.block_on(read).map_err(|error| ReadError::Device {
                offset: at,
                length: part.len() as u64,
                kind: error.kind(),
                source: error.into(),
            })?;
            part.copy_from_slice(&bytes);
            at += part.len() as u64;
            memory = bytes;
        }
        Ok(())
    }
}
