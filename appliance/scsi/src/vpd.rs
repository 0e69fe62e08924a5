//! Vital product data for everyone: pages 00h, 80h and 83h (SPC-4, 7.8).

use crate::error::{DecodeError, Problem};
use crate::field::{Reply, ascii};
use model::NaaName;

/// The body of VPD page `page`: the bytes that its length field announces, all of them there.
pub(crate) fn body<'a>(
    name: &'static str,
    page: u8,
    bytes: &'a [u8],
) -> Result<Reply<'a>, DecodeError> {
    let reply = Reply::new(name, bytes);
    let got = reply.u8(1)?;
    if got != page {
        return Err(reply.error(Problem::WrongPage { wanted: page, got }));
    }
    let length = usize::from(reply.u16(2)?);
    Ok(Reply::new(name, reply.slice(4, length)?))
}

/// Page 00h: which pages the device has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedPages(Vec<u8>);

impl SupportedPages {
    /// Number of the page.
    pub const PAGE: u8 = 0x00;

    /// Decodes the page.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = body("VPD page 00h", Self::PAGE, bytes)?;
        Ok(Self(body.slice(0, body.len())?.to_vec()))
    }

    /// True when the device has `page`.
    #[must_use]
    pub fn contains(&self, page: u8) -> bool {
        self.0.contains(&page)
    }
}

/// Page 80h: the unit's serial number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialNumber(pub String);

impl SerialNumber {
    /// Number of the page.
    pub const PAGE: u8 = 0x80;

    /// Decodes the page.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = body("VPD page 80h", Self::PAGE, bytes)?;
        Ok(Self(ascii(body.slice(0, body.len())?)))
    }
}

/// What a designator names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Association {
    /// The logical unit.
    LogicalUnit,
    /// The port that answered.
    TargetPort,
    /// The device that holds the port.
    TargetDevice,
    /// Reserved by the standard.
    Reserved,
}

/// One identification descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Designator {
    /// What it names.
    pub association: Association,
    /// Designator type: 1 T10 vendor id, 2 EUI-64, 3 NAA, 4 relative port, 5 port group, ...
    pub kind: u8,
    /// The designator itself.
    pub bytes: Vec<u8>,
}

/// Page 83h: device identification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Designators(pub Vec<Designator>);

impl Designators {
    /// Number of the page.
    pub const PAGE: u8 = 0x83;

    /// Decodes the page. A descriptor that reaches beyond the page makes the whole page
    /// unusable: identity is not guessed from half a list.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = body("VPD page 83h", Self::PAGE, bytes)?;
        let mut list = Vec::new();
        let mut at = 0;
        while at < body.len() {
            let length = usize::from(body.u8(at + 3)?);
            list.push(Designator {
                association: association(body.u8(at + 1)?),
                kind: body.u8(at + 1)? & 0x0f,
                bytes: body.slice(at + 4, length)?.to_vec(),
            });
            at += 4 + length;
        }
        Ok(Self(list))
    }

    /// The names by which hosts know the logical unit, the longest first: NAA 6, then 5, then 2.
    ///
    /// NAA 3 is left out: 'locally assigned' is unique only where somebody cares for it, so it
    /// cannot prove identity.
    #[must_use]
    pub fn naa_names(&self) -> Vec<NaaName> {
        let of_type = |wanted: u8, length: usize| {
            self.0.iter().filter(move |designator| {
                designator.association == Association::LogicalUnit
                    && designator.kind == 3
                    && designator.bytes.len() == length
                    && designator.bytes[0] >> 4 == wanted
            })
        };
        let mut names: Vec<NaaName> = Vec::new();
        for designator in of_type(6, 16).chain(of_type(5, 8)).chain(of_type(2, 8)) {
            match NaaName::from_designator(&designator.bytes) {
                Ok(name) if !names.contains(&name) => names.push(name),
                _ => {}
            }
        }
        names
    }

    /// Relative identifier of the target port that answered (designator type 4).
    #[must_use]
    pub fn relative_port(&self) -> Option<u16> {
        self.of_port(4)
    }

    /// Target port group of the port that answered (designator type 5); what the group can do
    /// is said by REPORT TARGET PORT GROUPS.
    #[must_use]
    pub fn port_group(&self) -> Option<u16> {
        self.of_port(5)
    }

    /// The last two of the four bytes of both types (SPC-4, 7.8.6.7 and 7.8.6.8). Two that
    /// differ say nothing.
    fn of_port(&self, kind: u8) -> Option<u16> {
        let mut numbers = self.0.iter().filter_map(|designator| match designator.bytes[..] {
            [_, _, high, low]
                if designator.association == Association::TargetPort && designator.kind == kind =>
            {
                Some(u16::from_be_bytes([high, low]))
            }
            _ => None,
        });
        let first = numbers.next()?;
        numbers.all(|other| other == first).then_some(first)
    }
}

fn association(byte: u8) -> Association {
    match (byte >> 4) & 3 {
        0 => Association::LogicalUnit,
        1 => Association::TargetPort,
        2 => Association::TargetDevice,
        _ => Association::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(descriptors: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (byte_1, designator) in descriptors {
            body.extend([1, *byte_1, 0, u8::try_from(designator.len()).unwrap()]);
            body.extend_from_slice(designator);
        }
        let mut page = vec![0, 0x83];
        page.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        page.extend(body);
        page
    }

    #[test]
    fn naa_6_comes_first_and_only_the_units_own_names_count() {
        let six = hex::decode("624a9370cdef0123456789abcdef0123").unwrap();
        let five = hex::decode("5001405aabbccdde").unwrap();
        let local = hex::decode("3001405aabbccdde").unwrap();
        let bytes = page(&[
            (0x01, b"vendor text"),
            (0x03, &local),
            (0x13, &five), // the port's name, not the unit's
            (0x03, &five),
            (0x03, &six),
            (0x03, &six),
        ]);
        let names = Designators::decode(&bytes).unwrap().naa_names();
        let names: Vec<_> = names.iter().map(NaaName::as_str).collect();
        assert_eq!(names, ["naa.624a9370cdef0123456789abcdef0123", "naa.5001405aabbccdde"]);
    }

    #[test]
    fn the_port_that_answered_and_its_group() {
        let six = hex::decode("624a9370cdef0123456789abcdef0123").unwrap();
        let bytes = page(&[
            (0x03, &six),
            (0x94, &[0, 0, 0, 2]),
            (0x95, &[0, 0, 1, 0]),
            (0x05, &[0, 0, 9, 9]), // not of the port
        ]);
        let page_83 = Designators::decode(&bytes).unwrap();
        assert_eq!((page_83.relative_port(), page_83.port_group()), (Some(2), Some(256)));
        let bytes = page(&[(0x14, &[0, 0, 0, 2]), (0x14, &[0, 0, 0, 3]), (0x15, &[1, 2])]);
        let page_83 = Designators::decode(&bytes).unwrap();
        assert_eq!((page_83.relative_port(), page_83.port_group()), (None, None));
    }

    #[test]
    fn half_a_page_proves_nothing() {
        let bytes = page(&[(0x03, &[0x60; 16])]);
        for length in 0..bytes.len() {
            assert!(Designators::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut wrong = bytes.clone();
        wrong[1] = 0x80;
        assert!(Designators::decode(&wrong).is_err());
        let mut long = bytes;
        long[7] = 17;
        assert!(Designators::decode(&long).is_err());
    }

    #[test]
    fn serial_and_page_list() {
        assert_eq!(SerialNumber::decode(b"\0\x80\0\x04 AB1").unwrap().0, "AB1");
        let pages = SupportedPages::decode(&[0, 0, 0, 3, 0x00, 0x80, 0x83]).unwrap();
        assert!(pages.contains(0x83) && !pages.contains(0xb0));
    }
}
