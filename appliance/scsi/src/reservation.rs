//! PERSISTENT RESERVE IN (SPC-4, 6.15): who holds a LUN that answers RESERVATION CONFLICT.
//!
//! Only asked, never set: a reservation that an ESXi host holds is waited for and reported.

use crate::error::DecodeError;
use crate::field::Reply;
use std::fmt;

const HEADER: usize = 8;

/// The keys that are registered with a LUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationKeys {
    /// PRGENERATION: counts changes of the registrations.
    pub generation: u32,
    /// As many as fitted into the buffer.
    pub keys: Vec<u64>,
    /// Bytes that the whole list needs.
    pub needed: u32,
}

impl ReservationKeys {
    /// Decodes the reply to READ KEYS. Half a key at the end of a small buffer is no key.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reply = Reply::new("PERSISTENT RESERVE IN, READ KEYS", bytes);
        let generation = reply.u32(0)?;
        let needed = reply.u32(4)?.saturating_add(8);
        let end = usize::try_from(needed).unwrap_or(usize::MAX).min(reply.len()).max(HEADER);
        let list = reply.slice(HEADER, end - HEADER)?;
        let keys = list
            .chunks_exact(8)
            .map(|key| u64::from_be_bytes(key.try_into().expect("chunks of exactly 8 bytes")));
        Ok(Self { generation, keys: keys.collect(), needed })
    }
}

/// The one persistent reservation of a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The key of its holder, 0 when all registrants hold it.
    pub key: u64,
    /// Whom it shuts out.
    pub kind: ReservationKind,
}

/// Whom a reservation shuts out (SPC-4, table 64).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationKind {
    /// 1h, 5h, 7h: writes of others.
    Write,
    /// 3h, 6h, 8h: reads of others, too.
    Exclusive,
    /// None of the standard's.
    Other(u8),
}

impl Reservation {
    /// Decodes the reply to READ RESERVATION; `None` when nobody holds one.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let reply = Reply::new("PERSISTENT RESERVE IN, READ RESERVATION", bytes);
        if reply.u32(4)? == 0 {
            return Ok(None);
        }
        let kind = match reply.u8(HEADER + 13)? & 0x0f {
            1 | 5 | 7 => ReservationKind::Write,
            3 | 6 | 8 => ReservationKind::Exclusive,
            other => ReservationKind::Other(other),
        };
        Ok(Some(Self { key: reply.u64(HEADER)?, kind }))
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ReservationKind::Write => "write-exclusive",
            ReservationKind::Exclusive => "exclusive",
            ReservationKind::Other(_) => "unknown",
        };
        match self.key {
            0 => write!(f, "{kind} reservation of all registered hosts"),
            key => write!(f, "{kind} reservation of the host with key {key:016x}h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_far_as_they_fit() {
        let bytes = hex::decode("000000070000001000000000000000010000000000000abc").unwrap();
        let list = ReservationKeys::decode(&bytes).unwrap();
        assert_eq!((list.generation, list.needed), (7, 24));
        assert_eq!(list.keys, [1, 0xabc]);
        assert_eq!(ReservationKeys::decode(&bytes[..20]).unwrap().keys, [1]);
        assert!(ReservationKeys::decode(&bytes[..7]).is_err());
    }

    #[test]
    fn the_holder_of_a_reservation() {
        let none = hex::decode("0000000700000000").unwrap();
        assert_eq!(Reservation::decode(&none), Ok(None));
        let held = hex::decode("0000000700000010000000000000beef0000000000030000").unwrap();
        let reservation = Reservation::decode(&held).unwrap().unwrap();
        assert_eq!((reservation.key, reservation.kind), (0xbeef, ReservationKind::Exclusive));
        assert!(reservation.to_string().contains("key 000000000000beefh"));
        assert!(Reservation::decode(&held[..21]).is_err());
    }
}
