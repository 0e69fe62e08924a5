//! Restores against a target in memory that can fail, or end us, at every call.

use jobs::journal::JournalLog;
use jobs::ports::{BoxError, BoxFuture, PortError};
use jobs::restore::ports::{
    Found, Import, Order, OrderedDisk, Outlook, ReadBack, StoredDisk, Target, Who,
};
use jobs::restore::{RestoreError, sweep_restores};
use jobs::{Journal, Progress, Restore};
use model::{ErrorKind, RecoveryPointId, RunId, VmIdentity, VmUuid, WallTime};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{self, Receiver};

const CELL: u64 = 1 << 20;
const OLD_UUID: &str = "50 01";

struct Disk(Vec<u8>);

impl StoredDisk for Disk {
    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }
    fn data_bytes(&self) -> Result<u64, PortError> {
        Ok(self.capacity())
    }
    fn cell_size(&self) -> u64 {
        CELL
    }
    fn cell(&self, cell: u64) -> Result<Option<Vec<u8>>, PortError> {
        let start = usize::try_from(cell * CELL).unwrap();
        let end = (start + usize::try_from(CELL).unwrap()).min(self.0.len());
        let bytes = self.0[start..end].to_vec();
        Ok(bytes.iter().any(|byte| *byte != 0).then_some(bytes))
    }
}

#[derive(Clone, Debug, Default)]
struct Vm {
    found: Found,
    whole: bool,
    who: Who,
    on: bool,
}

#[derive(Default)]
struct State {
    vms: Vec<Vm>,
    calls: usize,
    /// This call fails; with `dead` all from then on, as after a power cut.
    fail_at: Option<usize>,
    dead: bool,
    /// The call that fails is carried out all the same: its answer was lost.
    done_all_the_same: bool,
    /// What comes back of the disk differs here.
    flip: Option<usize>,
    /// Nothing can be read back.
    deaf: bool,
}

#[derive(Clone, Default)]
struct Site(Arc<Mutex<State>>);

impl Site {
    /// Carries a change out, unless this call fails.
    fn call<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, PortError> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        let fails = match state.fail_at {
            Some(at) if state.dead => state.calls >= at,
            Some(at) => state.calls == at,
            None => false,
        };
        if !fails {
            return Ok(change(&mut state));
        }
        if state.done_all_the_same && state.fail_at == Some(state.calls) {
            change(&mut state);
        }
        let (kind, operation) = (ErrorKind::Retryable, "a call".to_owned());
        Err(PortError { kind, operation, source: "the connection broke".into() })
    }

    fn named(&self, name: &str) -> Vec<Vm> {
        let state = self.0.lock().unwrap();
        state.vms.iter().filter(|vm| vm.found.name == name).cloned().collect()
    }

    fn all(&self) -> Vec<Vm> {
        self.0.lock().unwrap().vms.clone()
    }
}

fn with(state: &mut State, reference: &str, change: impl FnOnce(&mut Vm)) {
    if let Some(vm) = state.vms.iter_mut().find(|vm| vm.found.reference == reference) {
        change(vm);
    }
}

struct Making(Site, String);

impl Import for Making {
    async fn send(
        &mut self,
        _disk: &OrderedDisk,
        mut pieces: Receiver<Vec<u8>>,
    ) -> Result<u64, PortError> {
        let mut bytes = 0;
        loop {
            match pieces.recv().await {
                None => {
                    let (kind, operation) = (ErrorKind::Retryable, "an upload".to_owned());
                    return Err(PortError { kind, operation, source: "it broke off".into() });
                }
                Some(piece) if piece.is_empty() => return self.0.call(|_| bytes),
                Some(piece) => bytes += piece.len() as u64,
            }
        }
    }

    async fn complete(self) -> Result<String, PortError> {
        self.0.call(|state| with(state, &self.1, |vm| vm.whole = true))?;
        Ok(self.1)
    }

    async fn abort(self, _reason: &str) {}
}

impl Target for Site {
    type Import = Making;

    async fn look(&self, order: &Order) -> Result<Outlook, PortError> {
        let uuid = order.vm.uuid.0.clone();
        self.call(|state| Outlook {
            name_taken: state.vms.iter().any(|vm| vm.found.name == order.name()),
            existing: state
                .vms
                .iter()
                .find(|vm| vm.found.instance_uuid.as_ref() == Some(&uuid))
                .map(|vm| vm.found.clone()),
            free: 1 << 40,
            needed: 1,
            identity: who(),
            left_out: Vec::new(),
            place: "here".into(),
        })
    }

    async fn begin(&self, order: &Order) -> Result<Making, PortError> {
        let reference = format!("vm-{}", order.temporary());
        let found = Found {
            reference: reference.clone(),
            name: order.temporary(),
            instance_uuid: Some("new".into()),
            powered_off: true,
            in_the_way: None,
        };
        self.call(|state| state.vms.push(Vm { found, ..Vm::default() }))?;
        Ok(Making(self.clone(), reference))
    }

    async fn named(&self, name: &str) -> Result<Vec<Found>, PortError> {
        self.call(|state| {
            let vms = state.vms.iter().filter(|vm| vm.found.name == name);
            vms.map(|vm| vm.found.clone()).collect()
        })
    }

    async fn at(&self, reference: &str) -> Result<Option<Found>, PortError> {
        self.call(|state| {
            let mut vms = state.vms.iter();
            vms.find(|vm| vm.found.reference == reference).map(|vm| vm.found.clone())
        })
    }

    fn read_back<'a>(
        &'a self,
        _reference: &'a str,
        _order: &'a Order,
        disk: &'a OrderedDisk,
    ) -> BoxFuture<'a, Result<ReadBack, PortError>> {
        Box::pin(async move {
            let (deaf, flip) = self.call(|state| (state.deaf, state.flip))?;
            if deaf {
                return Ok(ReadBack::None("nobody serves it".into()));
            }
            let mut bytes = Vec::new();
            for cell in 0..disk.bytes.capacity().div_ceil(CELL) {
                let empty = || vec![0; usize::try_from(CELL).unwrap()];
                bytes.extend(disk.bytes.cell(cell)?.unwrap_or_else(empty));
            }
            bytes.truncate(usize::try_from(disk.bytes.capacity()).unwrap());
            if let Some(at) = flip {
                bytes[at] ^= 1;
            }
            let (to, pieces) = mpsc::channel(1);
            tokio::spawn(async move {
                // Pieces that do not fit cells; who has seen a difference takes no more of them.
                for piece in bytes.chunks(300_001) {
                    if to.send(Ok(piece.to_vec())).await.is_err() {
                        return;
                    }
                }
                let _ = to.send(Ok(Vec::new())).await;
            });
            Ok(ReadBack::Bytes("memory".into(), pieces))
        })
    }

    async fn describe(
        &self,
        _reference: &str,
        _order: &Order,
    ) -> Result<(Vec<String>, Vec<String>), PortError> {
        self.call(|_| (vec!["NVRAM".into()], Vec::new()))
    }

    async fn rename(&self, reference: &str, name: &str) -> Result<(), PortError> {
        self.call(|state| with(state, reference, |vm| vm.found.name = name.to_owned()))
    }

    async fn destroy(&self, reference: &str) -> Result<(), PortError> {
        self.call(|state| state.vms.retain(|vm| vm.found.reference != reference))
    }

    async fn become_who(&self, reference: &str, who: &Who) -> Result<(), PortError> {
        self.call(|state| {
            let taken = state.vms.iter().any(|vm| vm.found.instance_uuid == who.instance_uuid);
            assert!(
                !taken
                    || state.vms.iter().any(|vm| vm.found.reference == reference && vm.who == *who),
                "two VMs would have one UUID"
            );
            with(state, reference, |vm| {
                vm.who = who.clone();
                vm.found.instance_uuid.clone_from(&who.instance_uuid);
            });
        })
    }

    async fn power_on(&self, reference: &str) -> Result<(), PortError> {
        self.call(|state| with(state, reference, |vm| vm.on = true))
    }
}

fn who() -> Who {
    Who { uuid: Some("42".into()), instance_uuid: Some(OLD_UUID.into()), cards: Vec::new() }
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl JournalLog for Memory {
    fn load(&self) -> Result<Vec<u8>, BoxError> {
        Ok(self.0.lock().unwrap().clone())
    }
    fn append(&self, line: &[u8]) -> Result<(), BoxError> {
        self.0.lock().unwrap().extend(line);
        Ok(())
    }
    fn replace(&self, lines: &[u8]) -> Result<(), BoxError> {
        *self.0.lock().unwrap() = lines.to_vec();
        Ok(())
    }
}

/// A site with the VM that the point was made of, powered off.
fn site() -> Site {
    let site = Site::default();
    let found = Found {
        reference: "vm-1".into(),
        name: "web01".into(),
        instance_uuid: Some(OLD_UUID.into()),
        powered_off: true,
        in_the_way: None,
    };
    site.0.lock().unwrap().vms.push(Vm { found, whole: true, who: who(), on: false });
    site
}

fn order(request: api::RestoreRequest) -> Order {
    let mut bytes = vec![0; 3 * usize::try_from(CELL).unwrap() + 4096];
    bytes[17] = 1;
    bytes[2 * usize::try_from(CELL).unwrap() + 70_000..][..100].fill(7);
    bytes[3 * usize::try_from(CELL).unwrap() + 4095] = 9;
    let vm = VmIdentity {
        uuid: VmUuid(OLD_UUID.into()),
        name: "web01".into(),
        server_uuid: "vc".into(),
    };
    Order {
        run: RunId([7; 16]),
        point: RecoveryPointId([1; 16]),
        vm,
        request,
        configuration: String::new(),
        portrait: api::Portrait::default(),
        nvram: None,
        disks: vec![OrderedDisk { index: 0, key: 2000, bytes: Arc::new(Disk(bytes)) }],
    }
}

fn copy() -> Order {
    let name = Some("copy".into());
    order(api::RestoreRequest { name, power_on: true, ..api::RestoreRequest::default() })
}

fn replacement() -> Order {
    let replace = Some("web01".into());
    order(api::RestoreRequest { replace, ..api::RestoreRequest::default() })
}

async fn run(
    site: &Site,
    memory: &Memory,
    order: Order,
) -> Result<api::RestoreResult, RestoreError> {
    let journal = Arc::new(Journal::load(Box::new(memory.clone())).unwrap());
    let target = Arc::new(site.clone());
    let restore = Restore { target, journal, wall: || WallTime(1000) };
    restore.run(order, &Arc::new(Progress::default())).await
}

/// The next start, with everything well again; late enough for whatever could still come.
async fn restart(site: &Site, memory: &Memory) {
    site.0.lock().unwrap().fail_at = None;
    let journal = Journal::load(Box::new(memory.clone())).unwrap();
    let later = WallTime(1000 + jobs::sweep::SETTLED_AFTER_SECONDS);
    for swept in sweep_restores(site, &journal, later).await {
        swept.outcome.unwrap();
    }
    assert!(journal.restores().is_empty(), "nothing stays open");
}

#[tokio::test]
async fn a_copy_is_made_compared_named_and_powered_on() {
    let (site, memory) = (site(), Memory::default());
    let result = run(&site, &memory, copy()).await.unwrap();
    assert_eq!((result.vm.as_str(), result.powered_on, result.replaced), ("copy", true, false));
    assert_eq!(result.disks[0].verified.as_deref(), Some("memory"));
    assert!(site.named("copy")[0].whole && site.named("copy")[0].on);
    assert_eq!(site.named("web01")[0].found.reference, "vm-1", "the original is not touched");
    assert!(Journal::load(Box::new(memory)).unwrap().restores().is_empty());
}

#[tokio::test]
async fn a_replacement_takes_the_place_and_the_identity() {
    let (site, memory) = (site(), Memory::default());
    let result = run(&site, &memory, replacement()).await.unwrap();
    assert!(result.replaced && !result.powered_on);
    let [vm] = &site.all()[..] else { panic!("{:?}", site.all()) };
    assert_eq!((vm.found.name.as_str(), &vm.who), ("web01", &who()));
    assert_ne!(vm.found.reference, "vm-1");
}

#[tokio::test]
async fn what_would_not_be_safe_is_refused_before_anything_is_begun() {
    let refused = async |site: &Site, order: Order, word: &str| {
        let error = run(site, &Memory::default(), order).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.next_step().is_empty());
    };
    let mistyped = api::RestoreRequest { replace: Some("web1".into()), ..Default::default() };
    refused(&site(), order(mistyped), "typed").await;
    refused(&site(), order(api::RestoreRequest::default()), "already").await;
    let running = site();
    running.0.lock().unwrap().vms[0].found.powered_off = false;
    refused(&running, replacement(), "powered off").await;
    let snapshot = site();
    snapshot.0.lock().unwrap().vms[0].found.in_the_way = Some("it has snapshots".into());
    refused(&snapshot, replacement(), "snapshots").await;
    refused(&Site::default(), replacement(), "no VM").await;
    assert_eq!((running.all().len(), snapshot.all().len()), (1, 1));
}

#[tokio::test]
async fn every_byte_that_differs_is_found_and_the_vm_is_left_alone() {
    let last = 3 * usize::try_from(CELL).unwrap() + 4095;
    for at in [0, 17, 300_000, 300_001, 1 << 20, last] {
        for order in [copy(), replacement()] {
            let (site, memory) = (site(), Memory::default());
            site.0.lock().unwrap().flip = Some(at);
            let error = run(&site, &memory, order).await.unwrap_err();
            let RestoreError::Differs { at: found, left, .. } = &error else { panic!("{error}") };
            assert_eq!(*found, at as u64);
            restart(&site, &memory).await;
            let vms = site.named(left);
            assert!(vms.len() == 1 && !vms[0].on, "left for inspection: {:?}", site.all());
            assert_eq!(site.named("web01")[0].found.reference, "vm-1");
        }
    }
}

#[tokio::test]
async fn a_vm_is_replaced_unverified_only_knowingly() {
    let (site, memory) = (site(), Memory::default());
    site.0.lock().unwrap().deaf = true;
    let error = run(&site, &memory, replacement()).await.unwrap_err();
    assert!(matches!(error, RestoreError::Unverified { .. }), "{error}");
    assert_eq!(site.named("web01")[0].found.reference, "vm-1");

    let mut knowingly = replacement();
    knowingly.run = RunId([8; 16]);
    knowingly.request.verify = false;
    let result = run(&site, &memory, knowingly).await.unwrap();
    assert!(result.disks[0].verified.is_none() && result.disks[0].not_verified.is_some());
    assert_ne!(site.named("web01")[0].found.reference, "vm-1");
}

/// Whatever call fails, and whether it was carried out or not, and whether it was the connection
/// or our own end: after the next start there is the old VM or the whole new one, under its name,
/// and nothing else.
#[tokio::test]
async fn after_any_failure_at_any_call_the_next_start_leaves_no_half_vm() {
    for (dead, done) in [(false, false), (false, true), (true, false), (true, true)] {
        for make in [copy, replacement] {
            let mut survived = 0;
            for at in 1..60 {
                let (site, memory) = (site(), Memory::default());
                {
                    let mut state = site.0.lock().unwrap();
                    (state.fail_at, state.dead) = (Some(at), dead);
                    state.done_all_the_same = done;
                }
                let ended = run(&site, &memory, make()).await;
                let calls = site.0.lock().unwrap().calls;
                restart(&site, &memory).await;
                let case = format!("call {at}, dead {dead}, done {done}: {ended:?}");
                judge(&site, &case, ended.is_ok());
                if calls < at {
                    survived += 1;
                }
            }
            assert!(survived > 10, "every call was reached");
        }
    }
}

fn judge(site: &Site, case: &str, ended_well: bool) {
    let vms = site.all();
    assert!(vms.iter().all(|vm| vm.whole), "{case}: half a VM: {vms:?}");
    let named = |name: &str| vms.iter().filter(|vm| vm.found.name == name).count();
    assert_eq!(named("web01"), 1, "{case}: {vms:?}");
    assert_eq!(named("web01") + named("copy"), vms.len(), "{case}: {vms:?}");
    let web = vms.iter().find(|vm| vm.found.name == "web01").unwrap();
    assert_eq!(web.who, who(), "{case}: it is who it was");
    if ended_well {
        let new = vms.iter().any(|vm| vm.found.reference != "vm-1");
        assert!(new, "{case}: what ended well is there");
    }
}
