//! The hypervisor of the world.

use super::{CAPACITY, World, joined};
use api::Portrait;
use jobs::ports::{
    Changes, Created, DatastoreView, DiskView, Hypervisor, LunView, PortError, Since, VmPortrait,
    VmView, VmfsView,
};
use model::{ChangeId, DiskIdentity, VmIdentity, VmUuid};

const NAA: &str = "naa.624a9370cdef0123456789abcdef0123";

impl World {
    fn disk(&self, change_id: Option<ChangeId>) -> DiskView {
        DiskView {
            identity: DiskIdentity {
                key: 2000,
                uuid: "6000C29a".into(),
                path: self.disk_path(),
                capacity: CAPACITY,
                change_id,
            },
            label: "Hard disk 1".into(),
            not_covered: None,
            parents: self.parents(),
        }
    }
}

impl Hypervisor for World {
    async fn vm(&self, uuid: &VmUuid) -> Result<VmView, PortError> {
        self.call("vm")?;
        let state = self.state.lock().unwrap();
        Ok(VmView {
            reference: "vm-1".into(),
            identity: VmIdentity {
                uuid: uuid.clone(),
                name: "web01".into(),
                server_uuid: "vc".into(),
            },
            template: false,
            powered_off: false,
            fault_tolerance: None,
            tools_running: state.tools_running,
            cbt_supported: true,
            cbt_enabled: state.cbt_enabled,
            consolidation_needed: state.unmerged,
            snapshots: state.snapshots.iter().map(|(_, name, _)| name.clone()).collect(),
            vmx_path: "[san01] web01/web01.vmx".into(),
            disks: vec![self.disk(None)],
            problems: Vec::new(),
        })
    }

    async fn again(&self, vm: &VmView) -> Result<VmView, PortError> {
        self.vm(&vm.identity.uuid).await
    }

    async fn is_gone(&self, _reference: &str) -> Result<bool, PortError> {
        self.call("is gone")?;
        Ok(false)
    }

    async fn consolidate(&self, _vm: &VmView) -> Result<(), PortError> {
        self.call("consolidate")?;
        let mut state = self.state.lock().unwrap();
        state.unmerged = state.unmerged && !state.merges;
        Ok(())
    }

    async fn datastores(&self) -> Result<Vec<DatastoreView>, PortError> {
        self.call("datastores")?;
        let uuid = self.uuid();
        let state = self.state.lock().unwrap();
        let vmfs =
            VmfsView { uuid, luns: vec![LunView { name: NAA.into(), capacity: Some(640 << 20) }] };
        Ok(vec![DatastoreView {
            name: "san01".into(),
            kind: "VMFS".into(),
            capacity: 640 << 20,
            free: state.free_bytes,
            vmfs: Some(vmfs),
        }])
    }

    async fn enable_cbt(&self, _vm: &VmView) -> Result<(), PortError> {
        self.call("enable CBT")?;
        self.state.lock().unwrap().cbt_enabled = true;
        Ok(())
    }

    async fn block_migration(&self, _vm: &VmView, source: &str) -> Result<bool, PortError> {
        self.call("block migration")?;
        self.state.lock().unwrap().blocked.push(source.into());
        self.call("answer to block migration")?;
        Ok(true)
    }

    async fn allow_migration(&self, _vm: &VmView, source: &str) -> Result<(), PortError> {
        self.call("allow migration")?;
        self.state.lock().unwrap().blocked.retain(|blocked| blocked != source);
        Ok(())
    }

    async fn create_snapshot(
        &self,
        _vm: &VmView,
        name: &str,
        _description: &str,
        quiesce: bool,
    ) -> Result<Created, PortError> {
        self.call("create snapshot")?;
        let mut state = self.state.lock().unwrap();
        if quiesce && !state.rests {
            return Ok(Created::NotQuiesced("a script in the guest failed".into()));
        }
        state.sequence += 1;
        let handle = format!("snapshot-{}", state.sequence);
        let truth = state.truth.clone();
        state.snapshots.push((handle.clone(), name.into(), truth));
        drop(state);
        // The answer can be lost although the snapshot was made.
        self.call("answer to create snapshot")?;
        Ok(Created::Snapshot(handle))
    }

    async fn find_snapshots(&self, _vm: &VmView, name: &str) -> Result<Vec<String>, PortError> {
        self.call("find snapshots")?;
        let state = self.state.lock().unwrap();
        let same = state.snapshots.iter().filter(|(_, other, _)| other == name);
        Ok(same.map(|(handle, _, _)| handle.clone()).collect())
    }

    async fn snapshot_disks(
        &self,
        _vm: &VmView,
        _snapshot: &str,
    ) -> Result<Vec<DiskView>, PortError> {
        self.call("snapshot disks")?;
        let mut state = self.state.lock().unwrap();
        let change_id = ChangeId(format!("52 {:02x}/{}", state.epoch, state.sequence));
        let disk = self.disk(state.cbt_enabled.then_some(change_id));
        if let Some(looks) = state.moves_after.as_mut() {
            *looks -= 1;
            if *looks == 0 {
                state.moves_after = None;
                state.sequence += 1;
            }
        }
        Ok(vec![disk])
    }

    async fn portrait(&self, _vm: &VmView, _snapshot: &str) -> Result<VmPortrait, PortError> {
        self.call("portrait")?;
        let portrait = Portrait { name: "web01".into(), ..Portrait::default() };
        Ok(VmPortrait { portrait, configuration: "<config/>".into() })
    }

    async fn changes(
        &self,
        _vm: &VmView,
        _snapshot: &str,
        _disk: &DiskIdentity,
        since: &Since,
    ) -> Result<Changes, PortError> {
        self.call("changes")?;
        if self.state.lock().unwrap().delta_bytes.is_some() {
            self.looked.notified().await;
        }
        let mut state = self.state.lock().unwrap();
        let Since::Change(id) = since else { return Ok(Changes::Areas(state.allocated())) };
        let (epoch, sequence) = id.0.rsplit_once('/').unwrap();
        if epoch != format!("52 {:02x}", state.epoch) {
            return Ok(Changes::Unusable("the epoch is another one".into()));
        }
        let sequence: u64 = sequence.parse().unwrap();
        let areas: Vec<_> = state
            .changes
            .iter()
            .filter(|(when, _)| *when >= sequence)
            .map(|(_, area)| *area)
            .collect();
        Ok(Changes::Areas(joined(areas)))
    }

    async fn delta_bytes(&self, _vm: &VmView, _snapshot: &str) -> Result<Option<u64>, PortError> {
        self.call("delta bytes")?;
        self.looked.notify_one();
        Ok(self.state.lock().unwrap().delta_bytes)
    }

    async fn remove_snapshot(&self, _vm: &VmView, snapshot: &str) -> Result<(), PortError> {
        self.call("remove snapshot")?;
        let mut state = self.state.lock().unwrap();
        state.snapshots.retain(|(handle, _, _)| handle != snapshot);
        if state.snapshots.is_empty() {
            state.merge();
        }
        Ok(())
    }
}
