//! Names of the files (FORMAT.md 2).

/// The repository header.
pub const HEADER: &str = "repository";
/// Held by the daemon.
pub const LOCK: &str = "lock";
/// Directory of the ledger.
pub const LEDGER: &str = "ledger";
/// The ledger.
pub const LEAVES: &str = "ledger/leaves";
/// Its signed head.
pub const HEAD: &str = "ledger/head";
/// Held by the warden.
pub const LEDGER_LOCK: &str = "ledger/lock";
/// Directory of the wrapped keys.
pub const KEYS: &str = "keys";
/// The wrapped master key.
pub const MASTER_KEY: &str = "keys/master";
/// Directory of the volumes.
pub const VOLUMES: &str = "volumes";

/// `path` on volume `volume`; volume 0 is the repository's own directory.
#[must_use]
pub fn on(volume: u8, path: &str) -> String {
    match volume {
        0 => path.to_owned(),
        _ if path.is_empty() => format!("{VOLUMES}/{volume}"),
        _ => format!("{VOLUMES}/{volume}/{path}"),
    }
}

/// The directory of the open segments of a volume.
#[must_use]
pub fn open_dir(volume: u8) -> String {
    on(volume, "open")
}

/// The directory of the sealed segments of a volume.
#[must_use]
pub fn segments_dir(volume: u8) -> String {
    on(volume, "segments")
}

/// An open segment.
#[must_use]
pub fn open(volume: u8, serial: u32) -> String {
    format!("{}/{serial:08x}", open_dir(volume))
}

/// A sealed segment.
#[must_use]
pub fn sealed(volume: u8, serial: u32) -> String {
    format!("{}/{serial:08x}.segment", segments_dir(volume))
}

/// The wrapped key of an epoch.
#[must_use]
pub fn key(epoch: u32) -> String {
    format!("{KEYS}/{epoch:08x}")
}

/// Where the torn tail of a ledger of `size` leaves is kept.
#[must_use]
pub fn torn(size: u64) -> String {
    format!("{LEDGER}/torn-{size}")
}

/// The header of a volume.
#[must_use]
pub fn volume_header(volume: u8) -> String {
    on(volume, "volume")
}

/// The serial of a file name in `open/`; names that are not ours are foreign.
#[must_use]
pub fn parse_open(name: &str) -> Option<u32> {
    u32::from_str_radix(name, 16).ok().filter(|serial| format!("{serial:08x}") == name)
}

/// The serial of a file name in `segments/`; names that are not ours are foreign.
#[must_use]
pub fn parse_sealed(name: &str) -> Option<u32> {
    parse_open(name.strip_suffix(".segment")?)
}

/// The epoch of a file name in `keys/`; names that are not ours are foreign.
#[must_use]
pub fn parse_key(name: &str) -> Option<u32> {
    parse_open(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        assert_eq!(parse_open("0000002a"), Some(42));
        assert_eq!(parse_sealed("0000002a.segment"), Some(42));
        for foreign in ["2a", "0000002A", "+000002a", "x", "", "0000002a.segment", "00000002a"] {
            assert_eq!(parse_open(foreign), None, "{foreign}");
        }
        for foreign in ["0000002a", "2a.segment", "0000002a.segment.bak", ".segment"] {
            assert_eq!(parse_sealed(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn volumes_have_their_own_directories() {
        assert_eq!(open(0, 42), "open/0000002a");
        assert_eq!(sealed(7, 42), "volumes/7/segments/0000002a.segment");
        assert_eq!(on(7, ""), "volumes/7");
        assert_eq!(on(0, ""), "");
    }
}
