//! Names of the files (FORMAT.md 2).

pub(crate) const HEADER: &str = "repository";
pub(crate) const SEGMENTS: &str = "segments";
pub(crate) const KEYS: &str = "keys";
pub(crate) const MASTER: &str = "keys/master";
pub(crate) const LEDGER: &str = "ledger";
pub(crate) const LEAVES: &str = "ledger/leaves";
pub(crate) const HEAD: &str = "ledger/head";

/// What a name in `segments/` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Open(u32),
    Sealed(u32),
    Foreign,
}

pub(crate) fn open(serial: u32) -> String {
    format!("{SEGMENTS}/{serial:08x}.open")
}

pub(crate) fn sealed(serial: u32) -> String {
    format!("{SEGMENTS}/{serial:08x}.segment")
}

pub(crate) fn epoch(number: u32) -> String {
    format!("{KEYS}/{number:08x}")
}

pub(crate) fn torn(size: u64) -> String {
    format!("{LEDGER}/torn-{size}")
}

/// The serial in a file name; names that we would not write are foreign.
pub(crate) fn parse(name: &str) -> Name {
    let Some((digits, kind)) = name.split_once('.') else { return Name::Foreign };
    let serial = u32::from_str_radix(digits, 16).ok().filter(|n| format!("{n:08x}") == digits);
    match (serial, kind) {
        (Some(serial), "open") => Name::Open(serial),
        (Some(serial), "segment") => Name::Sealed(serial),
        _ => Name::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        assert_eq!(parse("0000002a.open"), Name::Open(42));
        assert_eq!(parse("0000002a.segment"), Name::Sealed(42));
        for foreign in
            ["2a.open", "0000002A.open", "+000002a.open", "0000002a", "x", "0000002a.segment.bak"]
        {
            assert_eq!(parse(foreign), Name::Foreign, "{foreign}");
        }
    }
}
