//! The SAN: sessions, LUNs, paths, discovery, and the test of a LUN.

use jiff::Timestamp;
use model::NaaName;
use serde::{Deserialize, Serialize};

/// The sessions, and what could not be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SanSessions {
    /// In the order in which they were made.
    pub sessions: Vec<SanSession>,
    /// Portals and LUNs that cannot be used.
    pub problems: Vec<SanProblem>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SanSession {
    /// `host:port`, or our own port.
    pub portal: String,
    /// iSCSI name of the target, or its WWPN.
    pub target: String,
    /// It answered when it was last used.
    pub up: bool,
    /// Headers carry a CRC32C.
    pub header_digest: bool,
    /// Data carries a CRC32C.
    pub data_digest: bool,
    /// LUNs that it is a path to.
    pub luns: u64,
}

/// A portal or a LUN that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SanProblem {
    /// `host:port`, or our own port.
    pub portal: String,
    /// iSCSI name of the target, or its WWPN.
    pub target: String,
    /// Number of the LUN; `None`: the whole target.
    pub lun: Option<String>,
    /// Why.
    pub error: String,
}

/// Asks a portal for its targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoveryRequest {
    /// `host:port`; an IPv6 host stands in brackets.
    pub portal: String,
    /// Take the portal that was asked for the address of every target: for targets behind address
    /// translation, which name addresses that cannot be reached from here.
    #[serde(default)]
    pub as_asked: bool,
}

/// What a portal says it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {
    /// Every target with every address.
    pub targets: Vec<DiscoveredPlace>,
}

/// Where a session can go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveredPlace {
    /// `host:port`.
    pub portal: String,
    /// iSCSI name of the target.
    pub target: String,
    /// Portal group tag, where the target names one.
    pub group: Option<u16>,
    /// It stands in the configuration.
    pub configured: bool,
}

/// The LUNs within reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SanLuns {
    /// Every disk once, whatever the number of its paths.
    pub luns: Vec<SanLun>,
    /// Those that cannot be used.
    pub problems: Vec<SanProblem>,
}

/// One LUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SanLun {
    /// Its names, the best first. Without one it cannot be matched with a datastore.
    pub names: Vec<NaaName>,
    /// T10 vendor.
    pub vendor: String,
    /// Product.
    pub product: String,
    /// Serial number.
    pub serial: Option<String>,
    /// Its size.
    pub capacity_bytes: u64,
    /// Size of a logical block.
    pub block_bytes: u32,
    /// The array says that it is thin.
    pub thin: bool,
    /// It is presented read-only; `None`: it does not say.
    pub write_protected: Option<bool>,
    /// What to do about its presentation; empty: nothing.
    pub advice: String,
    /// Somebody has accepted that it is presented writable.
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
    /// Paths that were found.
    pub paths: u64,
    /// Paths that commands can take now.
    pub paths_usable: u64,
}

/// What is said of a LUN that is presented writable.
pub const PRESENT_READ_ONLY: &str = "The array would let this appliance write to the LUN. The \
    appliance has no command for it; have the LUN presented read-only to it all the same, so that \
    the array itself is the proof. Where that cannot be, 'holdfast san acknowledge' puts on record \
    who accepts it.";

/// Accepts that a LUN is presented writable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgementRequest {
    /// Who accepts it: a name that the site knows.
    pub by: String,
    /// Why, or in which matter; may be empty.
    #[serde(default)]
    pub note: String,
}

/// On record: somebody has accepted that a LUN is presented writable. It ends when the LUN is
/// presented read-only, or is no longer the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who, as the request named them.
    pub by: String,
    /// When, by the machine's clock.
    pub at: Timestamp,
    /// Why; may be empty.
    pub note: String,
}

/// The paths of all LUNs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SanPaths {
    /// LUN after LUN, in the order of [`SanLuns::luns`].
    pub paths: Vec<SanPath>,
}

/// Whether a path is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SanPathState {
    /// Commands take it.
    Active,
    /// It could be used; a better one is.
    Ready,
    /// The array serves no reads by it now (standby, unavailable, in transition).
    Passive,
    /// It was lost; it counts again when it has proved its identity.
    Lost,
    /// It has not been compared with the others yet.
    Unproven,
    /// It shows something else and is never used.
    Refused,
}

impl SanPathState {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ready => "ready",
            Self::Passive => "passive",
            Self::Lost => "LOST",
            Self::Unproven => "unproven",
            Self::Refused => "REFUSED",
        }
    }
}

/// One path to one LUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SanPath {
    /// Best name of the LUN.
    pub naa: Option<NaaName>,
    /// `host:port`, or our own port.
    pub portal: String,
    /// iSCSI name of the target, or its WWPN.
    pub target: String,
    /// Number of the LUN by this path.
    pub lun: String,
    /// Whether it is used.
    pub state: SanPathState,
    /// What the array says of it (ALUA), such as `active/optimized`; `None`: nothing.
    pub access: Option<String>,
    /// Target port group.
    pub group: Option<u16>,
    /// Commands in a row that failed.
    pub failures: u32,
    /// Seconds since a command was last answered well.
    pub last_good_seconds: Option<u64>,
    /// Of one read, smoothed.
    pub latency_microseconds: Option<u64>,
    /// Commands in flight.
    pub in_flight: u64,
    /// Bytes that came by it.
    pub read_bytes: u64,
    /// Commands that had to be sent again.
    pub repeated: u64,
    /// What was last the matter with it.
    pub note: Option<String>,
}

/// Asks for the test of a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunTestRequest {
    /// How long all measurements together take, 1 to 30.
    #[serde(default = "seconds_default")]
    pub seconds: u32,
}

fn seconds_default() -> u32 {
    6
}

impl Default for LunTestRequest {
    fn default() -> Self {
        Self { seconds: seconds_default() }
    }
}

/// How a LUN reads. The measurements only read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LunTest {
    /// Which one; it proved its identity by every path that was used, before and after.
    pub lun: SanLun,
    /// Its paths, after the test.
    pub paths: Vec<SanPath>,
    /// Median time of one random read of 4 KiB, one at a time.
    pub latency_p50_microseconds: u64,
    /// 99 of 100 of these reads were quicker.
    pub latency_p99_microseconds: u64,
    /// Reads that this is taken from.
    pub latency_reads: u64,
    /// Sequential reads of 1 MiB, several at a time.
    pub sequential_bytes_per_second: u64,
    /// Random reads of 4 KiB, many at a time.
    pub random_reads_per_second: u64,
}

/// The Fibre Channel ports of this box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FcPorts {
    /// By the numbers of their hosts.
    pub ports: Vec<FcPortView>,
    /// The LUNs behind them are read (`san.kernel` in the configuration).
    pub used: bool,
}

/// A port of a host adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FcPortView {
    /// Such as `host1`.
    pub host: String,
    /// WWPN: what the storage administrator zones and masks by.
    pub port_name: Option<String>,
    /// WWNN.
    pub node_name: Option<String>,
    /// There is a link.
    pub online: bool,
    /// The kernel's word for its state.
    pub state: Option<String>,
    /// Speed of the link, such as `16 Gbit`.
    pub speed: Option<String>,
    /// Model and firmware, as the adapter tells.
    pub adapter: Option<String>,
    /// The ports that it sees.
    pub remote_ports: Vec<FcRemotePort>,
}

/// A port of the fabric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FcRemotePort {
    /// WWPN.
    pub port_name: Option<String>,
    /// It can have LUNs.
    pub target: bool,
    /// Commands reach it.
    pub online: bool,
    /// The kernel's word for its state.
    pub state: Option<String>,
    /// Seconds after which commands fail when it is lost; `None`: only when its devices vanish.
    pub fast_io_fail_seconds: Option<u32>,
    /// Seconds after which its devices vanish when it is lost.
    pub dev_loss_seconds: Option<u32>,
}

/// Which bytes of a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunBytesQuery {
    /// The first one.
    pub offset: u64,
    /// How many: 1 to [`LUN_BYTES_MAX`].
    pub length: u64,
}

/// Most bytes of a LUN in one answer.
pub const LUN_BYTES_MAX: u64 = 1 << 20;
