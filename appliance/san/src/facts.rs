//! Who a LUN says it is, by one path: asked by questions that a path answers in any state, as
//! far as there are such.

use crate::job::Mark;
use crate::path::{Done, Path};
use crate::{SanError, alua};
use model::NaaName;
use scsi::{
    AccessState, Association, Capacity, DecodeError, Designators, Inquiry, ModeHeader,
    PeripheralType, SerialNumber, SupportedPages, TargetPortGroups, disk,
};
use std::collections::BTreeSet;

/// How often the name and the size are asked for until both are of one moment.
const ROUNDS_MAX: u32 = 4;

/// What makes a LUN that LUN; compared again after anything that could have changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// NAA names, the best first.
    pub(crate) names: Vec<NaaName>,
    /// Every designator of the logical unit that is worldwide unique, by type.
    pub(crate) designators: BTreeSet<(u8, Vec<u8>)>,
    /// `None`: the path did not serve that question.
    pub(crate) capacity: Option<Capacity>,
}

/// A LUN as one path shows it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) identity: Identity,
    pub(crate) vendor: String,
    pub(crate) product: String,
    pub(crate) serial: Option<String>,
    /// The LUN tells states of paths.
    pub(crate) alua: bool,
    /// State of this path; `None`: not told.
    pub(crate) access: Option<AccessState>,
    /// Target port group of this path.
    pub(crate) group: Option<u16>,
    /// Relative number of the target's port.
    pub(crate) port: Option<u16>,
    /// Writes would be refused; `None`: not told.
    pub(crate) write_protected: Option<bool>,
}

impl Facts {
    /// What differs between two paths that claim to show one LUN; `None`: nothing. What a path
    /// does not tell differs from nothing.
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        if let Some(what) = self.identity.difference(&other.identity) {
            return Some(what);
        }
        let texts = [
            ("the vendor", &self.vendor, &other.vendor),
            ("the product", &self.product, &other.product),
        ];
        if let Some((what, ..)) = texts.into_iter().find(|(_, ours, theirs)| ours != theirs) {
            return Some(what);
        }
        (self.serial != other.serial).then_some("the serial number")
    }
}

impl Identity {
    /// What differs; `None`: nothing.
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.names != other.names || self.designators != other.designators {
            return Some("its name");
        }
        match (&self.capacity, &other.capacity) {
            (Some(ours), Some(theirs)) if ours != theirs => Some("its size or block size"),
            _ => None,
        }
    }
}

/// The disk behind a path; `None` when there is something else, or nothing.
pub(crate) async fn look(path: &Path) -> Result<Option<(Facts, Mark)>, SanError> {
    let done = path.run("INQUIRY", disk::inquiry()).await?;
    let inquiry = decoded(path, Inquiry::decode(done.received()))?;
    if !inquiry.connected || inquiry.device != PeripheralType::Disk {
        return Ok(None);
    }
    let serial = serial(path).await?;
    let (page, _) = designators(path).await?;
    let alua = inquiry.target_port_groups != TargetPortGroups::None;
    let groups = if alua { alua::ask(path).await? } else { None };
    let (group, port) = (page.port_group(), page.relative_port());
    let access = groups.as_ref().and_then(|groups| alua::state_of(groups, group, port));
    let (identity, mark) = identify(path).await?;
    let write_protected =
        if access.is_none_or(AccessState::reads) { write_protected(path).await? } else { None };
    let facts = Facts {
        identity,
        vendor: inquiry.vendor,
        product: inquiry.product,
        serial,
        alua: groups.is_some(),
        access,
        group,
        port,
        write_protected,
    };
    Ok(Some((facts, mark)))
}

async fn serial(path: &Path) -> Result<Option<String>, SanError> {
    let done = path.run("INQUIRY", disk::inquiry_vpd(SupportedPages::PAGE)).await?;
    let pages = decoded(path, SupportedPages::decode(done.received()))?;
    if !pages.contains(SerialNumber::PAGE) {
        return Ok(None);
    }
    let done = path.run("INQUIRY", disk::inquiry_vpd(SerialNumber::PAGE)).await?;
    decoded(path, SerialNumber::decode(done.received())).map(|serial| Some(serial.0))
}

async fn designators(path: &Path) -> Result<(Designators, Mark), SanError> {
    let page = path.run("INQUIRY", disk::inquiry_vpd(Designators::PAGE)).await?;
    Ok((decoded(path, Designators::decode(page.received()))?, page.mark))
}

/// Names and size, both of the same moment. A path that does not serve reads may keep the size
/// to itself.
pub(crate) async fn identify(path: &Path) -> Result<(Identity, Mark), SanError> {
    for _ in 0..ROUNDS_MAX {
        let (page, mark) = designators(path).await?;
        let capacity = match path.run("READ CAPACITY(16)", disk::read_capacity_16()).await {
            Ok(done) if done.mark != mark => continue, // something happened between the two
            Ok(done) => Some(decoded(path, Capacity::decode(done.received()))?),
            Err(error) if error.state_told().is_some() => None,
            Err(error) => return Err(error),
        };
        let (names, designators) = (page.naa_names(), unique(&page));
        return Ok((Identity { names, designators, capacity }, mark));
    }
    Err(path.unanswered("identification", "it changes all the time"))
}

/// Designators that name this logical unit in the whole world: T10 vendor id, EUI-64, NAA other
/// than the locally assigned, SCSI name string (SPC-4, 7.8.6).
fn unique(page: &Designators) -> BTreeSet<(u8, Vec<u8>)> {
    let of_unit = page.0.iter().filter(|one| one.association == Association::LogicalUnit);
    let counts = of_unit.filter(|one| match one.kind {
        1 | 2 | 8 => true,
        3 => one.bytes.first().is_some_and(|first| first >> 4 != 3),
        _ => false,
    });
    counts.map(|one| (one.kind, one.bytes.clone())).collect()
}

/// By the header of MODE SENSE, in the form that the device knows; `None`: in neither.
async fn write_protected(path: &Path) -> Result<Option<bool>, SanError> {
    let decode_6: Form = (disk::mode_sense_6(u8::MAX), ModeHeader::decode_6);
    let decode_10: Form = (disk::mode_sense_10(u16::from(u8::MAX)), ModeHeader::decode_10);
    for (cdb, decode) in [decode_6, decode_10] {
        match path.run("MODE SENSE", cdb).await {
            Ok(done) => match decode(done.received()) {
                Ok(header) => return Ok(Some(header.write_protected)),
                Err(error) => tracing::debug!(lun = %path.lun, %error, "write protection"),
            },
            Err(error) if error.is_lost() => return Err(error),
            Err(error) => tracing::debug!(lun = %path.lun, %error, "write protection"),
        }
    }
    Ok(None)
}

type Form = (scsi::Cdb, fn(&[u8]) -> Result<ModeHeader, DecodeError>);

/// A reply, or the error that names its LUN.
pub(crate) fn decoded<T>(path: &Path, result: Result<T, DecodeError>) -> Result<T, SanError> {
    result.map_err(|source| SanError::Decode { lun: path.lun, target: path.target(), source })
}

/// The reply to a question that is asked with growing room until it fits.
pub(crate) async fn whole<T>(
    path: &Path,
    operation: &'static str,
    rooms: (u32, u32),
    cdb: impl Fn(u32) -> scsi::Cdb,
    decode: impl Fn(&Done) -> Result<(T, u32), DecodeError>,
) -> Result<T, SanError> {
    let (mut room, most) = rooms;
    loop {
        let done = path.run(operation, cdb(room)).await?;
        let (reply, needed) = decoded(path, decode(&done))?;
        if needed <= room {
            return Ok(reply);
        }
        if needed > most || room == most {
            let (lun, target) = (path.lun, path.target());
            return Err(SanError::Short { operation, lun, target, got: room, wanted: needed });
        }
        room = needed;
    }
}
