//! A whole site: SAN, datastore, vCenter.

use crate::daemon::{
    ConsoleConfig, Daemon, DaemonConfig, LockConfig, PortalConfig, RepositoryConfig, SanConfig,
    VcenterConfig,
};
use crate::datastore::{Datastore, Disk, LABEL, Layout, NAA, Vm, VmSpec};
use crate::place::{FreshDirectory, built, copy_sparse, fresh_directory};
use crate::tgt::{Chap, LunSpec, TARGET, Tgt, TgtSpec};
use crate::vcenter::{DatastoreSpec, Vcenter, VcenterSpec};
use anyhow::{Context as _, Result};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The lab's only vSphere account.
pub const USER: &str = "administrator@vsphere.local";
/// Its password; it opens nothing else.
pub const PASSWORD: &str = "lab-Passw0rd!";
/// The initiator's CHAP account on the lab's target.
const CHAP_USER: &str = "holdfast";
/// Its secret: 16 bytes, as long as initiators commonly allow.
const CHAP_SECRET: &str = "lab-chap-secret1";

/// The appliance's name as an iSCSI initiator.
pub const INITIATOR: &str = "iqn.2026-01.org.holdfast:box";

/// What a site is made of.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// Bytes of the LUN; the volume fills it.
    pub lun_bytes: u64,
    /// How files lie on the volume.
    pub layout: Layout,
    /// The VMs.
    pub vms: Vec<VmSpec>,
}

/// A running site. Dropping it stops everything and removes its files.
#[derive(Debug)]
pub struct Lab {
    /// The management side.
    pub vcenter: Vcenter,
    /// The SAN.
    pub tgt: Tgt,
    /// What lies on the LUN.
    pub datastore: Datastore,
    directory: FreshDirectory,
}

impl Lab {
    /// Makes the datastore and starts its peers.
    ///
    /// # Errors
    /// When something is not installed, does not build or does not come up.
    pub fn start(spec: &LabSpec) -> Result<Self> {
        Self::start_as(spec, false)
    }

    /// As [`Lab::start`], with one host in the place of the vCenter.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub fn start_alone(spec: &LabSpec) -> Result<Self> {
        Self::start_as(spec, true)
    }

    fn start_as(spec: &LabSpec, standalone: bool) -> Result<Self> {
        let directory = fresh_directory()?;
        let place = directory.path();
        let datastore = Datastore::create(place, spec.lun_bytes, spec.layout, NAA, &spec.vms)
            .context("making the datastore")?;
        let lun = LunSpec { number: 1, image: datastore.image.clone(), naa: NAA.to_owned() };
        let chap = Chap { user: CHAP_USER.to_owned(), secret: CHAP_SECRET.to_owned() };
        let tgt = Tgt::start(place, TgtSpec { chap: Some(chap), digests: true, luns: vec![lun] })?;
        let vcenter = VcenterSpec { standalone, ..vcenter_spec(&datastore)? };
        let vcenter = Vcenter::start(place, &vcenter)?;
        Ok(Self { vcenter, tgt, datastore, directory })
    }

    /// Where this lab keeps its files; everything in it goes with the lab.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A configuration of the appliance that fits this site. Secrets lie in files of their own.
    ///
    /// # Errors
    /// When the secrets cannot be written.
    pub fn daemon_config(&self) -> Result<DaemonConfig> {
        let place = self.directory();
        let san = SanConfig {
            initiator: INITIATOR.to_owned(),
            chap_user: Some(CHAP_USER.to_owned()),
            chap_secret_file: Some(secret_file(place, "chap-secret", CHAP_SECRET)?),
            chap_algorithms: vec!["md5".to_owned()],
            header_digest: true,
            data_digest: true,
            kernel: false,
            portal: vec![PortalConfig { portal: self.tgt.portal(), target: TARGET.to_owned() }],
        };
        appliance(place, &self.vcenter, san)
    }

    /// Starts the appliance with [`Lab::daemon_config`].
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn daemon(&self) -> Result<Daemon> {
        Daemon::start(self.directory(), self.daemon_config()?)
    }

    /// A VM by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn vm(&self, name: &str) -> Result<&Vm> {
        self.datastore.vm(name)
    }

    /// A VM's disk, counted from 0.
    ///
    /// # Errors
    /// When there is none.
    pub fn disk(&self, vm: &str, number: usize) -> Result<&Disk> {
        self.vm(vm)?.disks.get(number).with_context(|| format!("{vm} has no disk {number}"))
    }

    /// Copies what the guest sees on a disk at this moment, to compare with later.
    ///
    /// # Errors
    /// When there is no such disk, or no space.
    pub fn keep_truth(&self, vm: &str, number: usize, name: &str) -> Result<PathBuf> {
        let place = self.directory().join(format!("{vm}-{number}-{name}.raw"));
        copy_sparse(&self.disk(vm, number)?.truth, &place)?;
        Ok(place)
    }

    /// The guest writes `data` at byte `offset` of its disk.
    ///
    /// # Errors
    /// When there is no such disk, or the write does not fit.
    pub fn write(&self, vm: &str, number: usize, offset: u64, data: &[u8]) -> Result<()> {
        self.vcenter.write(vm, self.disk(vm, number)?.key, offset, data)
    }
}

/// A configuration of the appliance beside that vCenter, with its files in `place`.
///
/// # Errors
/// When the secrets cannot be written.
pub fn appliance(place: &Path, vcenter: &Vcenter, san: SanConfig) -> Result<DaemonConfig> {
    Ok(DaemonConfig {
        user: None,
        state_dir: place.join("state"),
        console: ConsoleConfig {
            listen: "127.0.0.1:0".to_owned(),
            token_file: place.join("token"),
            ready_file: place.join("state").join("ready.json"),
        },
        vcenter: VcenterConfig {
            url: vcenter.url().to_owned(),
            user: USER.to_owned(),
            password_file: secret_file(place, "vcenter-password", PASSWORD)?,
            thumbprint: vcenter.thumbprint().to_owned(),
        },
        san,
        repository: RepositoryConfig {
            path: place.join("repository"),
            segment_mib: 64,
            zstd_level: 1,
            reserve_mib: None,
            immutable: false,
            warden: None,
            encryption_key_file: None,
        },
        lock: LockConfig { mode: "governance".to_owned(), days: 7 },
        keep: None,
        backup: None,
    })
}

/// A file that only its owner may read.
fn secret_file(directory: &Path, name: &str, secret: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, secret).with_context(|| format!("writing {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// A vCenter that has the datastore and its VMs.
///
/// # Errors
/// When the program that it writes the volume with does not build.
pub fn vcenter_spec(datastore: &Datastore) -> Result<VcenterSpec> {
    Ok(VcenterSpec {
        standalone: false,
        listen: "127.0.0.1:0".to_owned(),
        control: "127.0.0.1:0".to_owned(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        api_version: "8.0.2.0".to_owned(),
        datastore: DatastoreSpec {
            name: LABEL.to_owned(),
            naa: format!("naa.{}", datastore.naa),
            vmfs_uuid: datastore.facts.vmfs_uuid.clone(),
            capacity: datastore.facts.volume_bytes,
            partition: datastore.facts.partition,
            lun_sectors: datastore.facts.lun_bytes / 512,
            image: datastore.image.clone(),
        },
        vmfs_tool: vec![built("vmfs-tool")?],
        vms: datastore.vms.clone(),
    })
}
