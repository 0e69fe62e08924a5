//! How data goes out (RFC 7143, 4.2.5.2 and 13.10 to 13.14): how much of it unasked, with the
//! command and behind it; the rest when the target asks for it (R2T), burst by burst.

/// What both sides agreed on. The defaults hold where a target says nothing; sending nothing
/// unasked is always right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// FirstBurstLength: bytes that may go out unasked, with the command's own PDU.
    pub first: u32,
    /// MaxBurstLength: bytes that one R2T may ask for.
    pub max: u32,
    /// InitialR2T: data behind the command has to be asked for from the first byte on.
    pub initial_r2t: bool,
    /// ImmediateData: data may travel in the command's own PDU.
    pub immediate: bool,
}

impl Default for Bursts {
    fn default() -> Self {
        Self { first: 65_536, max: 262_144, initial_r2t: true, immediate: false }
    }
}

impl Bursts {
    /// Of `length` bytes: how many travel with the command, and how many go out unasked in all.
    pub(crate) fn unasked(&self, length: u32, max_send_data: u32) -> (u32, u32) {
        let first = length.min(self.first).min(self.max);
        let immediate = if self.immediate { first.min(max_send_data) } else { 0 };
        (immediate, if self.initial_r2t { immediate } else { first })
    }
}
