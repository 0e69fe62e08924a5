//! A disk of a recovery point as a streamOptimized VMDK: as it comes, into FILE.part, which
//! becomes FILE when the end has come.

use crate::client::Client;
use crate::error::Error;
use crate::output::size;
use crate::part::Part;
use crate::progress::Meter;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// What to export, and where to.
pub(crate) struct Export<'a> {
    pub(crate) client: &'a Client,
    /// Whole id.
    pub(crate) point: &'a str,
    pub(crate) disk: u32,
    pub(crate) output: &'a Path,
    /// Replace `output`.
    pub(crate) force: bool,
}

impl Export<'_> {
    /// Exports; returns the bytes of the file.
    pub(crate) fn run(&self, meter: &mut Meter) -> Result<u64, Error> {
        let mut part = Part::create(self.output, self.force)?;
        let mut from = self.client.vmdk(self.point, self.disk)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut length = 0;
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::ExportBrokenOff { offset: length, source }),
            };
            part.append(&buffer[..count])?;
            length += count as u64;
            meter.advance(0, 0, 0, "exporting", &size(length));
        }
        part.publish(length)?;
        Ok(length)
    }
}
