//! The datastore: a VMFS-6 volume that fills a LUN, with the folders of the VMs on it.
//!
//! The volume is made by the project's own formatter, as a separate program (`vmfs-tool`); the
//! lab's vCenter writes to it through the same program. Beside it lies, for each disk, the
//! *truth*: a plain image of what the guest sees, to which every later guest write goes too.

use crate::guest::{GuestSpec, image};
use crate::place::{built, copy_sparse, sparse_file};
use crate::process::run;
use crate::virtual_machine::{descriptor, nvram, vmx};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the LUN of a lab: NAA-6, 32 digits.
pub const NAA: &str = "624a9370cdef0123456789abcdef0123";
/// The datastore's name.
pub const LABEL: &str = "san01-vmfs";

/// How the blocks of a disk's flat file are allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provisioning {
    /// On demand: where nothing was written there is no block.
    Thin,
    /// All at once, zeroed.
    Thick,
    /// All at once, each zeroed at its first write; until then it holds stale bytes.
    LazyThick,
}

/// What a disk holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// A guest's partition table and file system.
    Guest(GuestSpec),
    /// A large, nearly empty disk: pieces of 1 MiB that do not compress, evenly spread.
    Scattered {
        /// Capacity in bytes.
        bytes: u64,
        /// Bytes of the pieces, whole MiB.
        data_bytes: u64,
    },
}

/// A disk to be.
#[derive(Clone, Debug)]
pub struct DiskSpec {
    /// What it holds.
    pub content: Content,
    /// How it is allocated.
    pub provisioning: Provisioning,
}

/// A VM to be. Its first disk gets key 2000, the next 2001, and so on.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// Its name, also of its folder.
    pub name: String,
    /// Its disks.
    pub disks: Vec<DiskSpec>,
}

/// How the blocks of files follow one another on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// The next free block.
    Contiguous,
    /// Short runs, scattered over the volume.
    Fragmented,
}

/// A VM on the datastore, as the vCenter's configuration names it too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// Its folder on the datastore.
    pub folder: String,
    /// Such as `debian12_64Guest`.
    pub guest_id: String,
    /// `config.uuid`.
    pub uuid: String,
    /// `config.instanceUuid`.
    pub instance_uuid: String,
    /// Its folder in the inventory.
    pub vm_folder: String,
    /// Its tags, by category.
    pub tags: BTreeMap<String, String>,
    /// Its custom attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its disks.
    pub disks: Vec<Disk>,
}

/// A disk of a VM on the datastore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// `VirtualDevice.key`.
    pub key: i32,
    /// Unit number on the controller.
    pub unit: u32,
    /// Path of the descriptor on the datastore.
    pub file: String,
    /// Path of the flat file on the datastore.
    pub flat: String,
    /// Bytes.
    pub capacity: u64,
    /// Allocated on demand.
    pub thin: bool,
    /// `backing.uuid`.
    pub uuid: String,
    /// The raw image of what the guest sees.
    pub truth: PathBuf,
}

/// What the formatter says of a volume.
#[derive(Clone, Debug, Deserialize)]
pub struct VolumeFacts {
    /// As in `/vmfs/volumes/<uuid>`.
    pub vmfs_uuid: String,
    /// Number of the partition that holds the volume.
    pub partition: u32,
    /// Where it begins on the LUN, in bytes.
    pub partition_offset: u64,
    /// Bytes of the LUN.
    pub lun_bytes: u64,
    /// Bytes of the volume.
    pub volume_bytes: u64,
}

/// A finished datastore.
#[derive(Clone, Debug)]
pub struct Datastore {
    /// The LUN's bytes.
    pub image: PathBuf,
    /// The LUN's name: 32 digits.
    pub naa: String,
    /// What identifies the volume.
    pub facts: VolumeFacts,
    /// The VMs on it.
    pub vms: Vec<Vm>,
}

impl Datastore {
    /// Makes the disks' truth images and the volume with all of it below `directory`.
    ///
    /// # Errors
    /// When a tool is missing or fails, or the content does not fit on the LUN.
    pub fn create(
        directory: &Path,
        lun_bytes: u64,
        layout: Layout,
        naa: &str,
        specs: &[VmSpec],
    ) -> Result<Self> {
        let parts = directory.join("parts");
        std::fs::create_dir_all(&parts)?;
        let vms: Vec<Vm> =
            specs.iter().map(|spec| make_vm(directory, spec)).collect::<Result<_>>()?;
        let mut volume = volume_json(lun_bytes, layout, naa);
        let mut files = Vec::new();
        let mut disks = Vec::new();
        for (vm, spec) in vms.iter().zip(specs) {
            files.push(text_json(&format!("{0}/{0}.vmx", vm.folder), &vmx(vm)));
            let place = parts.join(format!("{}.nvram", vm.name));
            std::fs::write(&place, nvram(vm))?;
            let path = format!("{0}/{0}.nvram", vm.folder);
            files.push(serde_json::json!({ "path": path, "content_file": place }));
            for (disk, spec) in vm.disks.iter().zip(&spec.disks) {
                files.push(text_json(&disk.file, &descriptor(disk)));
                disks.push(serde_json::json!({
                    "path": disk.flat, "raw": disk.truth, "provisioning": spec.provisioning,
                }));
            }
        }
        volume["files"] = files.into();
        volume["disks"] = disks.into();
        let spec = directory.join("volume.json");
        std::fs::write(&spec, serde_json::to_vec_pretty(&volume)?)?;
        let image = directory.join("lun.img");
        let mut tool = Command::new(built("vmfs-tool")?);
        tool.arg("create").arg("--image").arg(&image).arg("--spec").arg(&spec);
        let facts = serde_json::from_slice(&run(&mut tool)?).context("what vmfs-tool says")?;
        Ok(Self { image, naa: naa.to_owned(), facts, vms })
    }

    /// The VM of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn vm(&self, name: &str) -> Result<&Vm> {
        self.vms.iter().find(|vm| vm.name == name).with_context(|| format!("no VM {name}"))
    }
}

fn volume_json(lun_bytes: u64, layout: Layout, naa: &str) -> serde_json::Value {
    serde_json::json!({
        "size": lun_bytes, "label": LABEL, "naa": format!("naa.{naa}"), "uuid_seed": 1,
        "layout": layout,
    })
}

fn text_json(path: &str, text: &str) -> serde_json::Value {
    serde_json::json!({ "path": path, "text": text })
}

/// Names the VM's files and makes the truth images of its disks.
fn make_vm(directory: &Path, spec: &VmSpec) -> Result<Vm> {
    let name = &spec.name;
    let mut disks = Vec::new();
    for (number, (disk, key)) in spec.disks.iter().zip(2000..).enumerate() {
        let stem = if number == 0 { name.clone() } else { format!("{name}_{number}") };
        let truth = directory.join(format!("{stem}.truth.raw"));
        make_truth(&disk.content, &truth)?;
        disks.push(Disk {
            key,
            // 7 is the controller's own.
            unit: u32::try_from(if number < 7 { number } else { number + 1 })?,
            file: format!("{name}/{stem}.vmdk"),
            flat: format!("{name}/{stem}-flat.vmdk"),
            capacity: truth.metadata()?.len(),
            thin: disk.provisioning == Provisioning::Thin,
            uuid: derived_uuid(&format!("disk {stem}")),
            truth,
        });
    }
    Ok(Vm {
        name: name.clone(),
        folder: name.clone(),
        guest_id: "debian12_64Guest".to_owned(),
        uuid: derived_uuid(&format!("bios {name}")),
        instance_uuid: derived_uuid(&format!("instance {name}")),
        vm_folder: "Production".to_owned(),
        tags: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
        attributes: BTreeMap::from([("owner".to_owned(), format!("team <{name}> & co"))]),
        disks,
    })
}

fn make_truth(content: &Content, truth: &Path) -> Result<()> {
    match content {
        Content::Guest(spec) => copy_sparse(&image(spec)?, truth),
        Content::Scattered { bytes, data_bytes } => scatter(truth, *bytes, *data_bytes),
    }
}

/// Spreads pieces of 1 MiB evenly; each is different and does not compress.
fn scatter(truth: &Path, bytes: u64, data_bytes: u64) -> Result<()> {
    const PIECE: u64 = 1 << 20;
    sparse_file(truth, bytes)?;
    let file = std::fs::File::options().write(true).open(truth)?;
    let pieces = (data_bytes / PIECE).max(1);
    let step = bytes / pieces / PIECE * PIECE;
    let mut piece = vec![0; 1 << 20];
    for number in 0..pieces {
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut piece);
        file.write_all_at(&piece, number * step)?;
    }
    Ok(())
}

/// A version-4 UUID made from a text: the same in every run.
fn derived_uuid(text: &str) -> String {
    let mut digits = blake3::hash(text.as_bytes()).to_hex()[..32].to_owned();
    digits.replace_range(12..13, "4");
    digits.replace_range(16..17, "a");
    let (a, b, c) = (&digits[..8], &digits[8..12], &digits[12..16]);
    format!("{a}-{b}-{c}-{}-{}", &digits[16..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::fresh_directory;

    #[test]
    fn scattered_pieces_lie_apart_and_the_rest_is_a_hole() {
        let directory = fresh_directory().unwrap();
        let truth = directory.path().join("big.raw");
        scatter(&truth, 1 << 30, 4 << 20).unwrap();
        let file = std::fs::File::open(&truth).unwrap();
        let mut piece = [[0; 64]; 2];
        file.read_exact_at(&mut piece[0], 0).unwrap();
        file.read_exact_at(&mut piece[1], 256 << 20).unwrap();
        assert!(piece[0] != piece[1] && piece[0] != [0; 64] && piece[1] != [0; 64]);
        let mut hole = [1; 64];
        file.read_exact_at(&mut hole, 1 << 20).unwrap();
        assert_eq!(hole, [0; 64]);
    }
}
