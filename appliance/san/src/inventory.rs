//! What a target shows us: every LUN with its names and its size.

use crate::SanError;
use crate::job::Mark;
use crate::path::{Done, Path};
use crate::transport::{Place, Transport};
use model::NaaName;
use scsi::{
    Capacity, DecodeError, Designators, Inquiry, LunId, LunList, PeripheralType, SerialNumber,
    SupportedPages, disk,
};

/// Room for 256 LUNs at first; a longer list is asked for again as a whole.
const LIST_FIRST: u32 = 8 + 256 * 8;
/// SAM-5 has 65536 possible LUNs of one level; a longer list is not believed.
const LIST_MAX: u32 = 8 + 65_536 * 8;

/// A LUN as it was when we logged in.
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
    /// iSCSI name of its target.
    pub target: String,
    /// `host:port` by which it was found.
    pub portal: String,
    /// Its number at the target.
    pub lun: LunId,
}

impl LunInfo {
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

/// A LUN, or a whole portal, that could not be looked at.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// `host:port`.
    pub portal: String,
    /// iSCSI name.
    pub target: String,
    /// The LUN; `None` when not even the login worked.
    pub lun: Option<LunId>,
    /// Why.
    pub error: SanError,
}

/// What makes a LUN that LUN; compared again after anything that could have changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) names: Vec<NaaName>,
    pub(crate) capacity: Capacity,
}

/// A LUN that is a disk, with the way to it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: Path,
    pub(crate) info: LunInfo,
    pub(crate) identity: Identity,
    pub(crate) mark: Mark,
}

/// All disks behind a transport, and what could not be looked at.
pub(crate) async fn take(transport: &Transport) -> Result<(Vec<Found>, Vec<Skipped>), SanError> {
    let zero = Path::new(transport.clone(), LunId::ZERO);
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for lun in list(&zero).await? {
        match look(Path::new(transport.clone(), lun)).await {
            Ok(Some(disk)) => found.push(disk),
            Ok(None) => {}
            Err(error @ (SanError::PathLost { .. } | SanError::Session { .. })) => {
                return Err(error);
            }
            Err(error) => {
                let Place { portal, target } = transport.place().clone();
                skipped.push(Skipped { portal, target, lun: Some(lun), error });
            }
        }
    }
    Ok((found, skipped))
}

async fn list(zero: &Path) -> Result<Vec<LunId>, SanError> {
    let mut room = LIST_FIRST;
    loop {
        let done = zero.run("REPORT LUNS", disk::report_luns(room)).await?;
        let list = decoded(zero, LunList::decode(received(&done)))?;
        if list.needed <= room {
            return Ok(list.luns);
        }
        if list.needed > LIST_MAX || room == LIST_MAX {
            return Err(SanError::Short {
                operation: "REPORT LUNS",
                lun: zero.lun,
                target: zero.target(),
                got: room,
                wanted: list.needed,
            });
        }
        room = list.needed;
    }
}

/// The disk behind a path; `None` when there is something else, or nothing.
async fn look(path: Path) -> Result<Option<Found>, SanError> {
    let done = path.run("INQUIRY", disk::inquiry()).await?;
    let inquiry = decoded(&path, Inquiry::decode(received(&done)))?;
    if !inquiry.connected || inquiry.device != PeripheralType::Disk {
        return Ok(None);
    }
    let serial = serial(&path).await?;
    let (identity, mark) = identify(&path).await?;
    let Place { portal, target } = path.transport.place().clone();
    let info = LunInfo {
        names: identity.names.clone(),
        capacity: identity.capacity.bytes(),
        block_size: identity.capacity.block_size(),
        thin: identity.capacity.thin,
        vendor: inquiry.vendor,
        product: inquiry.product,
        serial,
        target,
        portal,
        lun: path.lun,
    };
    Ok(Some(Found { path, info, identity, mark }))
}

async fn serial(path: &Path) -> Result<Option<String>, SanError> {
    let done = path.run("INQUIRY", disk::inquiry_vpd(SupportedPages::PAGE)).await?;
    let pages = decoded(path, SupportedPages::decode(received(&done)))?;
    if !pages.contains(SerialNumber::PAGE) {
        return Ok(None);
    }
    let done = path.run("INQUIRY", disk::inquiry_vpd(SerialNumber::PAGE)).await?;
    decoded(path, SerialNumber::decode(received(&done))).map(|serial| Some(serial.0))
}

/// Names and size, both of the same moment.
pub(crate) async fn identify(path: &Path) -> Result<(Identity, Mark), SanError> {
    for _ in 0..4 {
        let page = path.run("INQUIRY", disk::inquiry_vpd(Designators::PAGE)).await?;
        let capacity = path.run("READ CAPACITY(16)", disk::read_capacity_16()).await?;
        if page.mark != capacity.mark {
            continue; // something happened between the two
        }
        let names = decoded(path, Designators::decode(received(&page)))?.naa_names();
        let capacity = decoded(path, Capacity::decode(received(&capacity)))?;
        return Ok((Identity { names, capacity }, page.mark));
    }
    Err(SanError::Unanswered {
        operation: "identification",
        lun: path.lun,
        target: path.target(),
        problem: "it changes all the time",
    })
}

fn received(done: &Done) -> &[u8] {
    let length = usize::try_from(done.transferred).unwrap_or(usize::MAX);
    &done.buffer[..length.min(done.buffer.len())]
}

fn decoded<T>(path: &Path, result: Result<T, DecodeError>) -> Result<T, SanError> {
    result.map_err(|source| SanError::Decode { lun: path.lun, target: path.target(), source })
}
