//! `vmfs info`, `ls` and `stat`: what the metadata says.

use super::volume::Opened;
use crate::error::Error;
use crate::output::{Outcome, Table, clean, size};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;
use vmfs::{DeviceInfo, FileKind, Listed, Stat, VmfsError, VolumeInfo};

/// `vmfs info`.
pub(super) fn info(opened: &Opened) -> Outcome {
    let info = opened.volume.info();
    let device = |(name, device): (&String, &DeviceInfo)| {
        json!({
            "name": name,
            "partition_offset": device.partition.offset,
            "partition_bytes": device.partition.length,
            "uuid": device.uuid,
            "lvm_version": device.lvm_version,
            "generation": device.generation,
            "host_device": device.name,
        })
    };
    let devices: Vec<Value> = opened.names.iter().zip(&info.devices).map(device).collect();
    let json = json!({
        "uuid": info.uuid,
        "label": info.label,
        "version": info.version,
        "local": info.local,
        "created": time(info.created),
        "config": info.config,
        "block_bytes": info.block_size,
        "size_bytes": info.size,
        "lvm_uuid": info.lvm_uuid,
        "lvm_generation": info.lvm_generation,
        "devices": devices,
    });
    Outcome::new(info_text(opened, info), &json)
}

fn info_text(opened: &Opened, info: &VolumeInfo) -> String {
    let kind = if info.local { "VMFS-L" } else { "VMFS" };
    let rows = [
        ("volume", info.label.clone()),
        ("uuid", info.uuid.clone()),
        ("version", format!("{kind} {}", info.version)),
        ("size", format!("{} in blocks of {}", size(info.size), size(info.block_size))),
        ("created", time(info.created)),
        ("lvm", info.lvm_uuid.clone().unwrap_or_else(|| "none".into())),
    ];
    let mut table = Table::new(&["DEVICE", "PARTITION AT", "SIZE", "LVM", "GENERATION"], &[1, 2]);
    for (name, device) in opened.names.iter().zip(&info.devices) {
        let (partition, length) = (device.partition.offset, size(device.partition.length));
        let (version, generation) = (device.lvm_version, device.generation);
        table.row([
            name.clone(),
            partition.to_string(),
            length,
            version.to_string(),
            generation.to_string(),
        ]);
    }
    format!("{}\n{}", lines(&rows), table.text())
}

/// `vmfs ls`: succeeds when the descriptor of every name can be read.
pub(super) fn folder(opened: &Opened, path: &str) -> Result<Outcome, Error> {
    let mut listed =
        opened.volume.list(path).map_err(Error::vmfs(format!("listing the folder {path:?}")))?;
    listed.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
    let mut table = Table::new(&["TYPE", "LENGTH", "MODIFIED", "NAME"], &[1]);
    let (mut entries, mut damaged) = (Vec::new(), String::new());
    for one in &listed {
        let (target, error) = target(opened, path, one);
        table.row(cells(one, target.as_deref()));
        if let Some(error) = &error {
            let _ =
                writeln!(damaged, "DAMAGED: {}", clean(&format!("{}: {error}", one.entry.name)));
        }
        entries.push(entry_json(one, target, error));
    }
    let json = json!({ "path": path, "entries": entries });
    Ok(Outcome::new(table.text() + &damaged, &json).succeeded(damaged.is_empty()))
}

/// Where a symbolic link leads to; and what of the name cannot be read.
fn target(opened: &Opened, path: &str, one: &Listed) -> (Option<String>, Option<String>) {
    let chain = |error: &VmfsError| model::chain(error);
    if one.entry.kind != FileKind::Symlink || one.stat.is_err() {
        return (None, one.stat.as_ref().err().map(chain));
    }
    let link = format!("{}/{}", path.trim_end_matches('/'), one.entry.name);
    match opened.volume.read_link(&link) {
        Ok(target) => (Some(target), None),
        Err(error) => (None, Some(chain(&error))),
    }
}

fn cells(one: &Listed, target: Option<&str>) -> [String; 4] {
    let (length, modified) = match &one.stat {
        Ok(stat) => (stat.length.to_string(), time(stat.modified)),
        Err(_) => ("?".into(), "?".into()),
    };
    let arrow = target.map_or_else(String::new, |target| format!(" -> {target}"));
    [word(one.entry.kind).into(), length, modified, format!("{}{arrow}", one.entry.name)]
}

fn entry_json(one: &Listed, target: Option<String>, error: Option<String>) -> Value {
    let stat = one.stat.as_ref().ok();
    json!({
        "name": one.entry.name,
        "type": word(one.entry.kind),
        "length": stat.map(|stat| stat.length),
        "modified": stat.map(|stat| time(stat.modified)),
        "descriptor": one.entry.descriptor,
        "generation": one.entry.generation,
        "target": target,
        "error": error,
    })
}

/// `vmfs stat`.
pub(super) fn stat(opened: &Opened, path: &str) -> Result<Outcome, Error> {
    let failed = || Error::vmfs(format!("looking at {path:?}"));
    let stat = opened.volume.stat(path).map_err(failed())?;
    let target = match stat.kind {
        FileKind::Symlink => Some(opened.volume.read_link(path).map_err(failed())?),
        _ => None,
    };
    let raw_device = match stat.kind {
        FileKind::RawDevice => Some(opened.volume.raw_device_id(path).map_err(failed())?),
        _ => None,
    };
    let raw = raw_device.as_ref().map(|(kind, id)| {
        json!({ "id_type": kind, "id_hex": hex::encode(id), "id_text": printable(id) })
    });
    let json = json!({
        "path": path,
        "type": word(stat.kind),
        "length": stat.length,
        "modified": time(stat.modified),
        "descriptor": stat.descriptor,
        "descriptor_offset": stat.descriptor_offset,
        "generation": stat.generation,
        "addressing": stat.addressing,
        "block_bytes": stat.block_size,
        "blocks": stat.blocks,
        "blocks_to_be_zeroed": stat.blocks_to_be_zeroed,
        "blocks_copy_on_write": stat.blocks_copy_on_write,
        "target": target,
        "raw_device": raw,
    });
    let mut rows = rows(path, &stat);
    rows.extend(target.map(|target| ("leads to", target)));
    rows.extend(raw_device.map(|(_, id)| ("raw device", printable(&id))));
    Ok(Outcome::new(lines(&rows), &json))
}

fn rows(path: &str, stat: &Stat) -> Vec<(&'static str, String)> {
    let blocks = format!(
        "{} of {}, {} to be zeroed, {} copy-on-write",
        stat.blocks,
        size(stat.block_size),
        stat.blocks_to_be_zeroed,
        stat.blocks_copy_on_write
    );
    let descriptor = format!(
        "{:#010x}, generation {}, at {:#x} of the volume",
        stat.descriptor, stat.generation, stat.descriptor_offset
    );
    vec![
        ("path", path.into()),
        ("type", stat.kind.name().into()),
        ("length", format!("{} bytes ({})", stat.length, size(stat.length))),
        ("modified", time(stat.modified)),
        ("content", stat.addressing.into()),
        ("blocks", blocks),
        ("descriptor", descriptor),
    ]
}

/// Names and values, one a line.
pub(super) fn lines(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<12} {}\n", clean(value))).collect()
}

/// The type in one word.
fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Volume => "volume",
        FileKind::Directory => "directory",
        FileKind::Regular => "file",
        FileKind::Symlink => "symlink",
        FileKind::System => "system",
        FileKind::RawDevice => "rdm",
    }
}

/// Every 32 bits of seconds are a time.
fn time(seconds: u32) -> String {
    Timestamp::from_second(seconds.into()).map_or_else(|_| String::new(), |time| time.to_string())
}

/// SCSI ids are mostly text.
fn printable(id: &[u8]) -> String {
    let shown =
        |&byte: &u8| if byte == b' ' || byte.is_ascii_graphic() { byte.into() } else { '.' };
    id.iter().map(shown).collect()
}
