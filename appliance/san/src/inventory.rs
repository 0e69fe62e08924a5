//! What a target shows us: every LUN with its names and its size.

use crate::SanError;
use crate::facts::{Facts, look, whole};
use crate::job::Mark;
use crate::path::Path;
use crate::transport::{Place, Transport};
use model::NaaName;
use scsi::{LunId, LunList, disk};

/// Room for 256 LUNs at first; a longer list is asked for again as a whole.
const LIST_FIRST: u32 = 8 + 256 * 8;
/// SAM-5 has 65536 possible LUNs of one level; a longer list is not believed.
const LIST_MAX: u32 = 8 + 65_536 * 8;

/// A LUN as it was when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunInfo {
    /// NAA names, the best first. Empty when the device has none: then it cannot be identified.
    pub names: Vec<NaaName>,
    /// Size in bytes.
    pub capacity: u64,
    /// Bytes per logical block: 512 or 4096.
    pub block_size: u32,
    /// The array says that the LUN is thin.
    pub thin: bool,
    /// T10 vendor.
    pub vendor: String,
    /// Product.
    pub product: String,
    /// Serial number (VPD page 80h).
    pub serial: Option<String>,
    /// The LUN is presented read-only, as it should be; `None`: it does not say. We never write;
    /// a read-only presentation is the array's own promise that nobody can by this box.
    pub write_protected: Option<bool>,
    /// Target of its first path: iSCSI name, or WWPN.
    pub target: String,
    /// By what its first path leads there: `host:port`, or our own port.
    pub portal: String,
    /// Its number by its first path. It is no identity: another path may have another one.
    pub lun: LunId,
}

impl LunInfo {
    /// As a path shows it. `None`: it does not tell the size.
    pub(crate) fn of(path: &Path, facts: &Facts) -> Option<Self> {
        let Place { portal, target } = path.transport.place().clone();
        let capacity = facts.identity.capacity.as_ref()?;
        Some(Self {
            names: facts.identity.names.clone(),
            capacity: capacity.bytes(),
            block_size: capacity.block_size(),
            thin: capacity.thin,
            vendor: facts.vendor.clone(),
            product: facts.product.clone(),
            serial: facts.serial.clone(),
            write_protected: facts.write_protected,
            target,
            portal,
            lun: path.lun,
        })
    }

    /// One line for lists in messages.
    pub(crate) fn line(&self) -> String {
        let name = self.names.first().map_or("without a name", NaaName::as_str);
        format!(
            "{name} ({} {}, {} MiB, LUN {} of {})",
            self.vendor,
            self.product,
            self.capacity >> 20,
            self.lun,
            self.target
        )
    }
}

/// A LUN, or a whole portal, that could not be looked at or must not be used.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// `host:port`, or our own port.
    pub portal: String,
    /// iSCSI name, or WWPN.
    pub target: String,
    /// The LUN; `None` when not even the login worked.
    pub lun: Option<LunId>,
    /// Why.
    pub error: SanError,
}

impl Skipped {
    pub(crate) fn new(place: &Place, lun: Option<LunId>, error: SanError) -> Self {
        let Place { portal, target } = place.clone();
        Self { portal, target, lun, error }
    }

    pub(crate) fn place(&self) -> Place {
        Place { portal: self.portal.clone(), target: self.target.clone() }
    }
}

/// A LUN that is a disk, with one way to it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: Path,
    pub(crate) facts: Facts,
    pub(crate) mark: Mark,
}

/// One line for messages about paths that do not belong together.
pub(crate) fn line(path: &Path, facts: &Facts) -> String {
    let identity = &facts.identity;
    let name = identity.names.first().map_or("without a name", NaaName::as_str);
    let size = identity.capacity.as_ref().map_or_else(
        || "size not told".into(),
        |capacity| format!("{} bytes in blocks of {}", capacity.bytes(), capacity.block_size()),
    );
    let serial = facts.serial.as_deref().unwrap_or("none");
    let (path, vendor, product) = (path.line(), &facts.vendor, &facts.product);
    format!("{path}: {name} ({vendor} {product}, serial number {serial}, {size})")
}

/// All disks behind a transport, and what could not be looked at. A path that is `known` is asked
/// as itself, so that what the device announces meanwhile is not lost on its users.
pub(crate) async fn take(
    transport: &Transport,
    known: impl Fn(LunId) -> Option<Path>,
) -> Result<(Vec<Found>, Vec<Skipped>), SanError> {
    let numbers = |zero: Path| async move {
        match transport {
            Transport::Iscsi(_) => list(&zero).await,
            Transport::Kernel(disk) => Ok(vec![disk.lun()]),
        }
    };
    let path = |lun| known(lun).unwrap_or_else(|| Path::new(transport.clone(), lun));
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for lun in numbers(path(LunId::ZERO)).await? {
        let path = path(lun);
        match look(&path).await {
            Ok(Some((facts, mark))) => found.push(Found { path, facts, mark }),
            Ok(None) => {}
            Err(error) if error.is_lost() => return Err(error),
            Err(error) => skipped.push(Skipped::new(transport.place(), Some(lun), error)),
        }
    }
    Ok((found, skipped))
}

async fn list(zero: &Path) -> Result<Vec<LunId>, SanError> {
    whole(zero, "REPORT LUNS", (LIST_FIRST, LIST_MAX), disk::report_luns, |done| {
        LunList::decode(done.received()).map(|list| (list.luns, list.needed))
    })
    .await
}
