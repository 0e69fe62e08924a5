//! Taking the inventory: logging in where there is no session, asking every target what it has,
//! and putting the paths together that lead to one LUN.
//!
//! A LUN is known by the names it gives itself, never by a number or a kernel's name. Names can be
//! copied: paths belong together only when all else is the same too ([`Lun::prove`]).

use crate::facts::Facts;
use crate::inventory::{self, Found, Skipped, take};
use crate::kernel::{Kernel, KernelError, ScsiDevice};
use crate::path::Path;
use crate::san::{Shared, State};
use crate::session::Session;
use crate::transport::{Place, Transport};
use crate::{Lun, LunInfo, PortalConfig, SanError};
use model::NaaName;
use scsi::{AccessState, LunId};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How often portals without a session are tried again.
const MISSING: Duration = Duration::from_secs(30);
/// Between two inventories at least.
const REST: Duration = Duration::from_secs(1);
/// LUNs whose paths are compared at a time.
const COMPARED_AT_ONCE: usize = 16;

/// A name that must not be read, and why.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) names: Vec<NaaName>,
    pub(crate) error: SanError,
}

/// Takes the inventory when a target says that it has changed, and while portals are missing.
pub(crate) async fn keep(shared: Weak<Shared>, rescan: Arc<Notify>) {
    loop {
        // Whether it was asked for or time is over, the state says what there is to do.
        let asked = timeout(MISSING, rescan.notified()).await.is_ok();
        let Some(shared) = shared.upgrade() else { return };
        if shared.state().closed {
            return;
        }
        if asked || !shared.state().missing.is_empty() {
            scan(&shared).await;
        }
        drop(shared);
        sleep(REST).await;
    }
}

/// Takes the inventory.
pub(crate) async fn scan(shared: &Arc<Shared>) {
    let _one_at_a_time = shared.scanning.lock().await;
    let mut skipped = Vec::new();
    log_in(shared, &mut skipped).await;
    open_devices(shared, &mut skipped).await;
    let (found, silent) = ask_all(shared, &mut skipped).await;
    let (mut refused, mut known, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    for group in groups(without_own(shared, found, &mut skipped, &mut refused)) {
        let has_name = |lun: &&Lun| shares_name(&lun.info().names, &group[0]);
        match shared.state().luns.iter().find(has_name).cloned() {
            Some(lun) => known.push((lun, group)),
            None => fresh.push(group),
        }
    }
    forget(&mut shared.state(), &known, &silent);
    for (lun, group) in known {
        widen(&lun, group, &mut skipped).await;
    }
    let (luns, more) = put_together(fresh, &shared.rescan, &mut skipped).await;
    refused.extend(more);
    let mut state = shared.state();
    state.luns.extend(luns);
    (state.skipped, state.refused) = (skipped, refused);
}

/// Logs in where there is no session, at all portals at a time.
async fn log_in(shared: &Shared, skipped: &mut Vec<Skipped>) {
    let missing = std::mem::take(&mut shared.state().missing);
    let logins: Vec<_> = missing
        .into_iter()
        .map(|portal| (portal.clone(), tokio::spawn(Session::login(portal))))
        .collect();
    for (portal, login) in logins {
        let ended = login.await.unwrap_or_else(|_| Err(SanError::NoPortal)); // it does not panic
        match ended {
            Ok(session) => shared.state().transports.push(Transport::Iscsi(session)),
            Err(error) => miss(shared, portal, error, skipped),
        }
    }
}

/// Notes that a portal has no session.
fn miss(shared: &Shared, portal: PortalConfig, error: SanError, skipped: &mut Vec<Skipped>) {
    tracing::warn!(portal = portal.portal, target = portal.target, "left out: {error}");
    let place = Place { portal: portal.portal.clone(), target: portal.target.clone() };
    let said = |one: &Skipped| one.lun.is_none() && place == one.place();
    if !skipped.iter().any(said) {
        skipped.push(Skipped::new(&place, None, error));
    }
    shared.state().missing.push(portal);
}

/// Takes the inventory whenever the kernel says that its devices changed.
pub(crate) async fn follow(kernel: Kernel, shared: Weak<Shared>) {
    let mut changes = kernel.changes();
    if let Err(error) = kernel.watch() {
        // Lost paths are noticed by their commands, new ones by the next inventory.
        tracing::warn!(%error, "the kernel's device messages cannot be had");
    }
    drop(kernel);
    while changes.changed().await.is_ok() {
        match shared.upgrade() {
            Some(shared) if !shared.state().closed => shared.rescan.notify_one(),
            _ => return,
        }
    }
}

/// Opens the devices of the kernel that are new and may be read.
async fn open_devices(shared: &Shared, skipped: &mut Vec<Skipped>) {
    let Some(kernel) = shared.config.kernel.clone() else { return };
    let has: Vec<Transport> = shared.state().transports.clone();
    let is_new = move |device: &ScsiDevice| {
        !has.iter().any(|one| matches!(one, Transport::Kernel(disk) if disk.leads_to(device)))
    };
    let limits = PortalConfig::default().limits();
    // Within a runtime, on a thread that may block.
    let opened = tokio::task::spawn_blocking(move || {
        for setting in kernel.prepare()? {
            tracing::debug!(?setting, "a setting of the kernel");
        }
        let devices = kernel.devices()?;
        let may = devices.into_iter().filter(|seen| seen.refusal.is_none());
        let fresh = may.map(|seen| seen.device).filter(is_new);
        let open = |device: ScsiDevice| (device.place(), device.lun, kernel.open(&device, limits));
        Ok::<_, KernelError>(fresh.map(open).collect::<Vec<_>>())
    });
    let here = Place { portal: "the kernel's SCSI devices".into(), target: "this box".into() };
    let opened = match opened.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(source)) => {
            let Place { portal, target } = here.clone();
            let error = SanError::Kernel { portal, target, source: Box::new(source) };
            return skipped.push(Skipped::new(&here, None, error));
        }
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    for (place, lun, disk) in opened {
        match disk {
            Ok(disk) => shared.state().transports.push(Transport::Kernel(disk)),
            Err(error) => skipped.push(Skipped::new(&place, Some(lun), error)),
        }
    }
}

/// Asks every target, all at a time; also tells which did not answer.
async fn ask_all(shared: &Shared, skipped: &mut Vec<Skipped>) -> (Vec<Found>, Vec<Transport>) {
    let (transports, luns) = {
        let state = shared.state();
        (state.transports.clone(), state.luns.clone())
    };
    let ask = |transport: Transport| {
        let luns = luns.clone();
        tokio::spawn(async move {
            let known = |number: LunId| -> Option<Path> {
                luns.iter().find_map(|lun| lun.known(&transport, number))
            };
            let taken = take(&transport, known).await;
            (transport, taken)
        })
    };
    let asked: Vec<_> = transports.into_iter().map(ask).collect();
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for answer in asked {
        let Ok((transport, taken)) = answer.await else { continue }; // it does not panic
        match taken {
            Ok((more, problems)) => {
                found.extend(more);
                skipped.extend(problems);
            }
            Err(error) => {
                tracing::warn!(place = ?transport.place(), "inventory: {error}");
                skipped.push(Skipped::new(transport.place(), None, error));
                silent.push(transport);
            }
        }
    }
    (found, silent)
}

/// Leaves out the disks that this box lives on.
fn without_own(
    shared: &Shared,
    found: Vec<Found>,
    skipped: &mut Vec<Skipped>,
    refused: &mut Vec<Refused>,
) -> Vec<Found> {
    let mut rest = Vec::new();
    for one in found {
        let info = LunInfo::of(&one.path, &one.facts);
        let own = info.and_then(|info| shared.config.own.iter().find_map(|own| own.is(&info)));
        let Some(what) = own else {
            rest.push(one);
            continue;
        };
        let (lun, target) = (one.path.lun, one.path.target());
        let error = SanError::OwnDisk { lun, target, what };
        tracing::warn!("{error}");
        refused.push(Refused { names: one.facts.identity.names, error: error.clone() });
        skipped.push(Skipped::new(one.path.transport.place(), Some(lun), error));
    }
    rest
}

/// What shares a name belongs together, if anything does. What has no name stays alone.
fn groups(found: Vec<Found>) -> Vec<Vec<Found>> {
    let mut groups: Vec<Vec<Found>> = Vec::new();
    for one in found {
        let names = one.facts.identity.names.clone();
        match groups.iter_mut().find(|group| group.iter().any(|two| shares_name(&names, two))) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

fn shares_name(names: &[NaaName], found: &Found) -> bool {
    found.facts.identity.names.iter().any(|name| names.contains(name))
}

/// Forgets LUNs that every target they had a path to answers without.
fn forget(state: &mut State, seen: &[(Lun, Vec<Found>)], silent: &[Transport]) {
    state.luns.retain(|lun| {
        let is_seen = seen.iter().any(|(known, _)| known.is_same(lun));
        let may_be_there = silent.iter().any(|target| !lun.states_by(target).is_empty());
        if !is_seen && !may_be_there {
            tracing::warn!(lun = lun.info().line(), "no target shows it any more");
        }
        is_seen || may_be_there
    });
}

/// Adds the paths that a LUN does not have yet.
async fn widen(lun: &Lun, group: Vec<Found>, skipped: &mut Vec<Skipped>) {
    for found in group {
        if !lun.update(&found) {
            let _added = add(lun, found, skipped).await;
        }
    }
}

/// Adds a path. The error says that it shows something else; a path that cannot be asked now is
/// asked again by the LUN's keeper.
async fn add(lun: &Lun, found: Found, skipped: &mut Vec<Skipped>) -> Result<(), SanError> {
    let (place, number) = (found.path.transport.place().clone(), found.path.lun);
    let reads = found.facts.access.is_none_or(AccessState::reads);
    let Some(at) = lun.join(found, false) else {
        tracing::warn!(lun = lun.info().line(), "a path too many is left out");
        return Ok(());
    };
    if !reads {
        lun.keep_print().await;
        return Ok(());
    }
    match lun.prove(at).await {
        Err(error @ (SanError::Ambiguous { .. } | SanError::IdentityChanged { .. })) => {
            skipped.push(Skipped::new(&place, Some(number), error.clone()));
            Err(error)
        }
        Err(error) => {
            tracing::warn!(?place, lun = %number, "not compared yet: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Makes LUNs of groups of paths, several at a time, in the order of the groups.
async fn put_together(
    groups: Vec<Vec<Found>>,
    rescan: &Arc<Notify>,
    skipped: &mut Vec<Skipped>,
) -> (Vec<Lun>, Vec<Refused>) {
    let mut made = Vec::new();
    let mut running = JoinSet::new();
    for (number, group) in groups.into_iter().enumerate() {
        if running.len() >= COMPARED_AT_ONCE {
            made.extend(running.join_next().await.and_then(Result::ok)); // it does not panic
        }
        let rescan = Arc::clone(rescan);
        running.spawn(async move { (number, make(group, rescan).await) });
    }
    made.extend(running.join_all().await);
    made.sort_by_key(|(number, _)| *number);
    let (mut luns, mut refused) = (Vec::new(), Vec::new());
    for (_, (outcome, problems)) in made {
        skipped.extend(problems);
        match outcome {
            Made::Lun(lun) => luns.push(lun),
            Made::Refused(one) => refused.push(one),
            Made::Nothing => {}
        }
    }
    (luns, refused)
}

enum Made {
    Lun(Lun),
    Refused(Refused),
    Nothing,
}

/// Makes a LUN of its paths. When they do not show one and the same, none of them can be believed.
async fn make(mut group: Vec<Found>, rescan: Arc<Notify>) -> (Made, Vec<Skipped>) {
    // The first one is what the others are compared with: one that tells all, where there is one.
    group.sort_by_key(|found| rank(&found.facts));
    let mut paths = group.into_iter();
    let Some(first) = paths.next() else { return (Made::Nothing, Vec::new()) };
    let names = first.facts.identity.names.clone();
    let line = inventory::line(&first.path, &first.facts);
    let (place, number) = (first.path.transport.place().clone(), first.path.lun);
    let Some(lun) = Lun::new(first, rescan) else {
        let name = names.first().map_or_else(|| "without a name".into(), ToString::to_string);
        let error = SanError::NoPath { name, paths: vec![line] };
        return (Made::Nothing, vec![Skipped::new(&place, Some(number), error)]);
    };
    let mut skipped = Vec::new();
    for found in paths {
        if let Err(error) = add(&lun, found, &mut skipped).await {
            skipped.push(Skipped::new(&place, Some(number), error.clone()));
            return (Made::Refused(Refused { names, error }), skipped);
        }
    }
    (Made::Lun(lun), skipped)
}

/// Paths that serve reads and tell the size come first.
fn rank(facts: &Facts) -> (bool, bool) {
    (!facts.access.is_none_or(AccessState::reads), facts.identity.capacity.is_none())
}
