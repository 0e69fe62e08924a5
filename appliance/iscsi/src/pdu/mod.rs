//! PDU headers (RFC 7143, 11): `header` reads what a target sends, `request` builds what we send.
//!
//! ```text
//! basic header, 48 bytes | additional headers | digest? | data | padding to 4 | digest?
//! ```

mod header;
mod request;

pub(crate) use header::{Header, Opcode};
pub(crate) use request::{
    LoginStage, abort_task, data_out, login, logout, nop_out, ping, scsi_read, scsi_write,
    text_request,
};

/// Bytes of a basic header segment.
pub(crate) const HEADER: usize = 48;

/// The value of a task tag that stands for none (RFC 7143, 11.2.1.8).
pub(crate) const NO_TAG: u32 = 0xffff_ffff;
