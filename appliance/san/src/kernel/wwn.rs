//! World wide names: 8 bytes that name a port or a node.

use std::fmt;
use std::str::FromStr;

/// A world wide name of Fibre Channel (FC-FS-3, 18) or a SAS address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wwn(pub u64);

impl FromStr for Wwn {
    type Err = NotAName;

    /// From `0x` and 16 hexadecimal digits, as the kernel writes it, or from 8 bytes with colons,
    /// as people do.
    fn from_str(text: &str) -> Result<Self, NotAName> {
        let digits: String = match text.strip_prefix("0x") {
            Some(digits) => digits.to_owned(),
            None => text.split(':').filter(|byte| byte.len() == 2).collect(),
        };
        let plain = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let colons = text.len() == 23 || text.len() == 18;
        let number = u64::from_str_radix(&digits, 16).ok().filter(|_| plain && colons);
        // All zeros and all ones stand for "no name yet".
        number.filter(|&number| number != 0 && number != u64::MAX).map(Self).ok_or(NotAName)
    }
}

impl fmt::Display for Wwn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.to_be_bytes().into_iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Wwn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no world wide name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a world wide name: 16 hexadecimal digits after 0x, or 8 bytes with colons")]
pub struct NotAName;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_name_is_not_a_name() {
        for text in [
            "",
            "0x",
            "0x0000000000000000",
            "0xffffffffffffffff",
            "0x20005254000000",
            "0x2000525400000a0b0c",
            "20005254000000ab",
            "20:00:52:54:00:00:00",
            "20:00:52:54:00:00:00:0g",
            "0x+000525400000a0b",
            "unknown",
        ] {
            assert_eq!(text.parse::<Wwn>(), Err(NotAName), "{text}");
        }
    }

    proptest! {
        #[test]
        fn both_ways_of_writing_name_the_same(number in 1..u64::MAX) {
            let wwn = Wwn(number);
            prop_assert_eq!(wwn.to_string().parse(), Ok(wwn));
            prop_assert_eq!(format!("{number:#018x}").parse(), Ok(wwn));
        }

        #[test]
        fn any_text_is_a_name_or_not(text in ".{0,32}") {
            let _ = text.parse::<Wwn>();
        }
    }
}
