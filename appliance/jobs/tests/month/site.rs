//! The site of the month: its hypervisor and its SAN, with what happens to them call by call.

use super::machine::Machine;
use crate::Dice;
use crate::world::Calls;
use api::Portrait;
use block::{ReadAt, ReadError};
use jobs::Progress;
use jobs::journal::JournalLog;
use jobs::ports::{
    BoxError, BoxFuture, Changes, Created, DatastoreView, DiskView, Fabric, Hypervisor, LunView,
    Network, NetworkPath, PortError, Since, SourceLun, VmPortrait, VmView, VmfsView,
};
use model::{ChangeId, DiskIdentity, ErrorKind, NaaName, VmIdentity, VmUuid};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// What happens when a call comes.
pub enum Event {
    /// A guest writes.
    Write(usize),
    /// Somebody else makes a snapshot of a VM.
    OtherSnapshot(usize),
    /// This call fails.
    Fail,
    /// vCenter goes away: it, and so many more calls to it, fail.
    Restart(usize),
    /// The appliance loses power: nothing works any more until it starts again.
    PowerLoss,
    /// A person cancels the run.
    Cancel(Arc<Progress>),
}

/// What happened and what is to come.
pub struct Fate {
    pub calls: usize,
    pub plan: BTreeMap<usize, Event>,
    pub dark: bool,
    down: usize,
    pub dice: Dice,
}

pub struct Site {
    pub fate: Mutex<Fate>,
    machines: Vec<Mutex<Machine>>,
}

impl Site {
    pub fn new(machines: Vec<Machine>, dice: Dice) -> Arc<Self> {
        let fate = Fate { calls: 0, plan: BTreeMap::new(), dark: false, down: 0, dice };
        let machines = machines.into_iter().map(Mutex::new).collect();
        let site = Arc::new(Self { fate: Mutex::new(fate), machines });
        for number in 0..site.machines.len() {
            site.machine(number).store.attach(Arc::downgrade(&site) as _);
        }
        site
    }

    pub fn machine(&self, number: usize) -> MutexGuard<'_, Machine> {
        self.machines[number].lock().unwrap()
    }

    pub fn uuid(number: usize) -> VmUuid {
        VmUuid(format!("50 {number:02}"))
    }

    fn of(&self, vm: &VmView) -> MutexGuard<'_, Machine> {
        self.with(&vm.identity.uuid).unwrap()
    }

    fn with(&self, uuid: &VmUuid) -> Option<MutexGuard<'_, Machine>> {
        (0..self.machines.len())
            .find(|&number| Self::uuid(number) == *uuid)
            .map(|at| self.machine(at))
    }

    /// All is well again, and nothing more is planned.
    pub fn calm(&self) {
        let mut fate = self.fate.lock().unwrap();
        fate.plan.clear();
        (fate.calls, fate.dark, fate.down) = (0, false, 0);
    }

    /// Counts a call, and lets happen what was planned for it.
    fn happens(&self, name: &str, vcenter: bool) -> Result<(), PortError> {
        let mut fate = self.fate.lock().unwrap();
        let number = fate.calls;
        fate.calls += 1;
        let mut fails = false;
        match fate.plan.remove(&number) {
            Some(Event::Write(vm)) => self.machine(vm).write_somewhere(&mut fate.dice),
            Some(Event::OtherSnapshot(vm)) => {
                let mut machine = self.machine(vm);
                let truth = machine.truth.clone();
                machine.others.push(truth);
            }
            Some(Event::Fail) => fails = true,
            Some(Event::Restart(calls)) => fate.down = calls,
            Some(Event::PowerLoss) => fate.dark = true,
            Some(Event::Cancel(progress)) => progress.cancel(),
            None => {}
        }
        let down = vcenter && fate.down > 0;
        fate.down -= usize::from(down);
        if fails || down || fate.dark {
            let source = "broken by the test".into();
            let (kind, operation) = (ErrorKind::Retryable, name.to_owned());
            return Err(PortError { kind, operation, source });
        }
        Ok(())
    }

    fn vcenter(&self, name: &str) -> Result<(), PortError> {
        self.happens(name, true)
    }

    fn view(uuid: &VmUuid, machine: &Machine) -> VmView {
        let name = format!("vm{}", machine.number);
        let (uuid, server_uuid) = (uuid.clone(), "vc".into());
        VmView {
            reference: name.clone(),
            identity: VmIdentity { uuid, name, server_uuid },
            template: false,
            powered_off: false,
            fault_tolerance: None,
            tools_running: true,
            cbt_supported: true,
            cbt_enabled: machine.tracking,
            consolidation_needed: machine.consolidation_needed,
            snapshots: machine.ours.iter().map(|frozen| frozen.name.clone()).collect(),
            vmx_path: format!("{}/vm.vmx", machine.folder()),
            disks: vec![disk(machine, machine.others.len() + machine.ours.len(), None)],
            problems: Vec::new(),
        }
    }
}

/// The disk above so many snapshots.
fn disk(machine: &Machine, deltas: usize, change_id: Option<ChangeId>) -> DiskView {
    let (path, capacity) = (machine.disk_path(deltas), machine.capacity());
    let uuid = format!("6000C29a {}", machine.number);
    DiskView {
        identity: DiskIdentity { key: 2000, uuid, path, capacity, change_id },
        label: "Hard disk 1".into(),
        not_covered: None,
        parents: (0..deltas).rev().map(|number| machine.disk_path(number)).collect(),
    }
}

impl Calls for Site {
    fn call(&self, name: &str) -> Result<(), PortError> {
        self.happens(name, false)
    }
}

impl Hypervisor for Site {
    async fn vm(&self, uuid: &VmUuid) -> Result<VmView, PortError> {
        self.vcenter("vm")?;
        Ok(Self::view(uuid, &self.with(uuid).unwrap()))
    }

    async fn again(&self, vm: &VmView) -> Result<VmView, PortError> {
        self.vm(&vm.identity.uuid).await
    }

    async fn is_gone(&self, _reference: &str) -> Result<bool, PortError> {
        self.vcenter("is gone")?;
        Ok(false)
    }

    async fn consolidate(&self, vm: &VmView) -> Result<(), PortError> {
        self.vcenter("consolidate")?;
        self.of(vm).consolidation_needed = false;
        self.vcenter("answer to consolidate")
    }

    async fn datastores(&self) -> Result<Vec<DatastoreView>, PortError> {
        self.vcenter("datastores")?;
        let mut views = Vec::new();
        for (number, home) in (0..self.machines.len()).flat_map(|vm| [(vm, 0), (vm, 1)]) {
            let machine = self.machine(number);
            let lun = LunView { name: machine.naa(home).to_string(), capacity: Some(640 << 20) };
            views.push(DatastoreView {
                name: machine.datastore(home),
                kind: "VMFS".into(),
                capacity: 640 << 20,
                free: 320 << 20,
                vmfs: Some(VmfsView { uuid: machine.uuids[home].clone(), luns: vec![lun] }),
            });
        }
        Ok(views)
    }

    async fn enable_cbt(&self, vm: &VmView) -> Result<(), PortError> {
        self.vcenter("enable CBT")?;
        self.of(vm).tracking = true;
        Ok(())
    }

    async fn block_migration(&self, vm: &VmView, source: &str) -> Result<bool, PortError> {
        self.vcenter("block migration")?;
        self.of(vm).blocked.push(source.into());
        self.vcenter("answer to block migration")?;
        Ok(true)
    }

    async fn allow_migration(&self, vm: &VmView, source: &str) -> Result<(), PortError> {
        self.vcenter("allow migration")?;
        self.of(vm).blocked.retain(|blocked| blocked != source);
        self.vcenter("answer to allow migration")
    }

    async fn create_snapshot(
        &self,
        vm: &VmView,
        name: &str,
        _description: &str,
        quiesce: bool,
    ) -> Result<Created, PortError> {
        self.vcenter("create snapshot")?;
        if quiesce && !self.of(vm).rests {
            return Ok(Created::NotQuiesced("a script in the guest failed".into()));
        }
        let handle = self.of(vm).freeze(name);
        // The answer can be lost although the snapshot was made.
        self.vcenter("answer to create snapshot")?;
        Ok(Created::Snapshot(handle))
    }

    async fn find_snapshots(&self, vm: &VmView, name: &str) -> Result<Vec<String>, PortError> {
        self.vcenter("find snapshots")?;
        let machine = self.of(vm);
        let same = machine.ours.iter().filter(|frozen| frozen.name == name);
        Ok(same.map(|frozen| frozen.handle.clone()).collect())
    }

    async fn snapshot_disks(
        &self,
        vm: &VmView,
        snapshot: &str,
    ) -> Result<Vec<DiskView>, PortError> {
        self.vcenter("snapshot disks")?;
        let machine = self.of(vm);
        let frozen = machine.frozen(snapshot);
        let id = ChangeId(format!("52 {:02x}/{}", frozen.epoch, frozen.sequence));
        Ok(vec![disk(&machine, frozen.under, machine.tracking.then_some(id))])
    }

    async fn portrait(&self, _vm: &VmView, _snapshot: &str) -> Result<VmPortrait, PortError> {
        self.vcenter("portrait")?;
        Ok(VmPortrait { portrait: Portrait::default(), configuration: "<config/>".into() })
    }

    async fn changes(
        &self,
        vm: &VmView,
        snapshot: &str,
        _disk: &DiskIdentity,
        since: &Since,
    ) -> Result<Changes, PortError> {
        self.vcenter("changes")?;
        let machine = self.of(vm);
        let Since::Change(id) = since else {
            return Ok(Changes::Areas(machine.allocated.clone()));
        };
        let changed = machine.changed(machine.frozen(snapshot), id);
        Ok(match changed {
            Some(areas) => Changes::Areas(areas),
            None => Changes::Unusable("the epoch is another one".into()),
        })
    }

    async fn remove_snapshot(&self, vm: &VmView, snapshot: &str) -> Result<(), PortError> {
        self.vcenter("remove snapshot")?;
        let mut machine = self.of(vm);
        machine.ours.retain(|frozen| frozen.handle != snapshot);
        if machine.ours.is_empty() {
            machine.lay_down();
        }
        drop(machine);
        self.vcenter("answer to remove snapshot")
    }
}

/// The LUNs, read from their images.
pub struct San(pub Arc<Site>);

/// Opened for each read, since the image is another file after each change.
#[derive(Clone)]
struct Lun {
    site: Arc<Site>,
    image: PathBuf,
}

impl Lun {
    fn file(&self) -> File {
        File::open(&self.image).unwrap()
    }
}

impl Fabric for San {
    async fn lun(&self, name: &NaaName) -> Result<Arc<dyn SourceLun>, PortError> {
        self.0.call("find the LUN")?;
        let places = (0..self.0.machines.len()).flat_map(|vm| [(vm, 0), (vm, 1)]);
        let image = places.map(|(vm, home)| (self.0.machine(vm).naa(home), vm, home));
        let (_, vm, home) = image.into_iter().find(|(naa, ..)| naa == name).unwrap();
        let image = self.0.machine(vm).image(home);
        Ok(Arc::new(Lun { site: Arc::clone(&self.0), image }))
    }
}

impl SourceLun for Lun {
    fn capacity(&self) -> u64 {
        ReadAt::size(&self.file())
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        Box::pin(async move {
            self.site.call("read data")?;
            Ok(self.file().read_vec(offset, length).unwrap())
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move { self.site.call("verify the LUN") })
    }

    fn blocking(&self) -> Arc<dyn ReadAt> {
        Arc::new(self.clone())
    }
}

impl ReadAt for Lun {
    fn size(&self) -> u64 {
        ReadAt::size(&self.file())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let length = buffer.len() as u64;
        self.site.call("read metadata").map_err(|error| ReadError::Device {
            offset,
            length,
            kind: error.kind,
            source: error.into(),
        })?;
        self.file().read_at(offset, buffer)
    }
}

pub struct NoNetwork;

impl NetworkPath for NoNetwork {
    fn open<'a>(
        &'a self,
        _vm: &'a VmView,
        _snapshot: &'a str,
        _disk: &'a DiskIdentity,
    ) -> BoxFuture<'a, Result<Network, PortError>> {
        Box::pin(async { Ok(Network::None("the month has none".into())) })
    }
}

/// A file of the appliance's, which outlives its loss of power; appending is a call.
pub struct Disk(pub Arc<Site>, pub Arc<Mutex<Vec<u8>>>);

impl JournalLog for Disk {
    fn load(&self) -> Result<Vec<u8>, BoxError> {
        Ok(self.1.lock().unwrap().clone())
    }

    fn append(&self, line: &[u8]) -> Result<(), BoxError> {
        self.0.call("journal")?;
        self.1.lock().unwrap().extend(line);
        Ok(())
    }

    fn replace(&self, lines: &[u8]) -> Result<(), BoxError> {
        self.0.call("rewrite the journal")?;
        *self.1.lock().unwrap() = lines.to_vec();
        Ok(())
    }
}
