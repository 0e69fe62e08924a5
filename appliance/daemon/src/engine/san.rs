//! The SAN for people: sessions, LUNs, paths, discovery, the test of a LUN.

use super::{Appliance, from_port, random};
use crate::acknowledged::{NotAccepted, Presented};
use crate::clock;
use crate::wire::fabric::{port, skipped_line};
use api::{
    AcknowledgementRequest, Discovered, DiscoveredPlace, DiscoveryRequest, FcPortView, FcPorts,
    FcRemotePort, LUN_BYTES_MAX, LunBytesQuery, LunStatus, LunTest, LunTestRequest,
    PRESENT_READ_ONLY, Reason, SanLun, SanLuns, SanPath, SanPathState, SanPaths, SanProblem,
    SanSession, SanSessions, SanStatus,
};
use bytes::Bytes;
use console::{EngineError, EngineResult};
use jobs::ports::Fabric;
use model::{ErrorKind, NaaName};
use san::kernel::{FcPort, Kernel, RemotePort};
use san::{Addresses, Lun, PathInfo, PathState, San, Skipped, TargetPortal};
use std::time::Duration;

/// Longest address of a portal that is taken: a host name has at most 253 characters.
const PORTAL_MAX: usize = 300;
/// Longest test.
const SECONDS_MAX: u32 = 30;

pub(super) async fn sessions(appliance: &Appliance) -> EngineResult<SanSessions> {
    let san = appliance.fabric.san().await.map_err(|error| from_port(&error))?;
    Ok(sessions_of(&san))
}

pub(super) async fn login(appliance: &Appliance) -> EngineResult<SanSessions> {
    let san = appliance.fabric.look_again().await.map_err(|error| from_port(&error))?;
    Ok(sessions_of(&san))
}

fn sessions_of(san: &San) -> SanSessions {
    let session = |one: san::SessionInfo| SanSession {
        portal: one.portal,
        target: one.target,
        up: !one.lost,
        header_digest: one.header_digest,
        data_digest: one.data_digest,
        luns: one.luns as u64,
    };
    SanSessions {
        sessions: san.sessions().into_iter().map(session).collect(),
        problems: problems(san),
    }
}

fn problems(san: &San) -> Vec<SanProblem> {
    let problem = |one: Skipped| SanProblem {
        error: model::chain(&one.error),
        portal: one.portal,
        target: one.target,
        lun: one.lun.map(|lun| lun.to_string()),
    };
    san.skipped().into_iter().map(problem).collect()
}

/// With the initiator name and the CHAP secret of the configuration.
pub(super) async fn discover(
    appliance: &Appliance,
    request: DiscoveryRequest,
) -> EngineResult<Discovered> {
    let DiscoveryRequest { portal: asked, as_asked } = request;
    if asked.is_empty() || asked.len() > PORTAL_MAX || asked.chars().any(char::is_whitespace) {
        let detail = "portal: it must be an address such as 192.0.2.10:3260 or [2001:db8::1]:3260.";
        return Err(EngineError::new(
            ErrorKind::Refused,
            "portal-address",
            "The portal's address is not understood",
            detail,
        )
        .next_step("Give host and port."));
    }
    let config = appliance.fabric.config();
    let chap = config.portals.first().and_then(|portal| portal.chap.as_ref());
    let initiator = &appliance.config.san.initiator;
    let addresses = if as_asked { Addresses::AsAsked } else { Addresses::AsTold };
    let found = san::discover_all(std::slice::from_ref(&asked), initiator, chap, addresses).await;
    if let Some((_, error)) = found.failed.into_iter().next() {
        return Err(from_port(&port(format!("asking portal {asked} for its targets"), error)));
    }
    let place = |found: TargetPortal| {
        let TargetPortal { target, portal, group } = found;
        let is_it = |known: &san::PortalConfig| known.portal == portal && known.target == target;
        let configured = config.portals.iter().any(is_it);
        DiscoveredPlace { portal, target, group, configured }
    };
    let targets = found.portals.into_iter().map(place).collect();
    Ok(Discovered { targets })
}

pub(super) async fn luns(appliance: &Appliance) -> EngineResult<SanLuns> {
    let san = appliance.fabric.san().await.map_err(|error| from_port(&error))?;
    let luns = san.luns().iter().map(|lun| lun_view(appliance, lun)).collect();
    Ok(SanLuns { luns, problems: problems(&san) })
}

/// Looks at the LUN anew first: what is accepted is what is there now.
pub(super) async fn acknowledge(
    appliance: &Appliance,
    name: &NaaName,
    request: AcknowledgementRequest,
) -> EngineResult<SanLun> {
    let san = appliance.fabric.look_again().await.map_err(|error| from_port(&error))?;
    let found = san.find(name);
    let lun = found.map_err(|error| from_port(&port(format!("finding LUN {name}"), error)))?;
    tokio::task::block_in_place(|| {
        appliance.acknowledged.accept(&Presented::of(&lun), request, clock::wall())
    })
    .map_err(|error| not_accepted(name, &error))?;
    Ok(lun_view(appliance, &lun))
}

fn not_accepted(name: &NaaName, error: &NotAccepted) -> EngineError {
    let (kind, next_step) = match error {
        NotAccepted::NotWritable(_) => (ErrorKind::Refused, "'holdfast san luns' shows it."),
        NotAccepted::Text { .. } => (ErrorKind::Refused, "Give a name that the site knows."),
        NotAccepted::Record(_) => {
            (ErrorKind::Retryable, "Look at the state directory and its disk, then try again.")
        }
    };
    let title = "Nothing was put on record";
    EngineError::new(kind, "not-acknowledged", title, format!("LUN {name}: {error}"))
        .next_step(next_step)
}

fn lun_view(appliance: &Appliance, lun: &Lun) -> SanLun {
    let (info, paths) = (lun.info(), lun.paths());
    let write_protected = lun.write_protected();
    let acknowledged = appliance.acknowledged.of(&Presented::of(lun));
    let warned = write_protected == Some(false) && acknowledged.is_none();
    let advice = if warned { PRESENT_READ_ONLY } else { "" };
    SanLun {
        names: info.names.clone(),
        vendor: info.vendor.clone(),
        product: info.product.clone(),
        serial: info.serial.clone(),
        capacity_bytes: info.capacity,
        block_bytes: info.block_size,
        thin: info.thin,
        write_protected,
        advice: advice.into(),
        acknowledged,
        paths: paths.len() as u64,
        paths_usable: usable(&paths),
    }
}

fn usable(paths: &[PathInfo]) -> u64 {
    let usable = |path: &&PathInfo| matches!(path.state, PathState::Active | PathState::Ready);
    paths.iter().filter(usable).count() as u64
}

pub(super) async fn paths(appliance: &Appliance) -> EngineResult<SanPaths> {
    let san = appliance.fabric.san().await.map_err(|error| from_port(&error))?;
    Ok(SanPaths { paths: san.luns().iter().flat_map(path_views).collect() })
}

fn path_views(lun: &Lun) -> Vec<SanPath> {
    let naa = lun.info().names.first();
    let view = |path: PathInfo| SanPath {
        naa: naa.cloned(),
        portal: path.portal,
        target: path.target,
        lun: path.lun.to_string(),
        state: state_view(path.state),
        access: path.access.map(|access| access.to_string()),
        group: path.group,
        failures: path.failures,
        last_good_seconds: path.last_good.map(|ago| ago.as_secs()),
        latency_microseconds: path.latency.map(micros),
        in_flight: path.in_flight as u64,
        read_bytes: path.counters.bytes_read,
        repeated: path.counters.retries,
        note: path.note,
    };
    lun.paths().into_iter().map(view).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn state_view(state: PathState) -> SanPathState {
    match state {
        PathState::Active => SanPathState::Active,
        PathState::Ready => SanPathState::Ready,
        PathState::Passive => SanPathState::Passive,
        PathState::Lost => SanPathState::Lost,
        PathState::Unproven => SanPathState::Unproven,
        PathState::Refused => SanPathState::Refused,
    }
}

/// Whether they are used or not: a storage administrator needs the names before.
pub(super) fn fc_ports(kernel: Option<Kernel>) -> FcPorts {
    let used = kernel.is_some();
    let text = |name: Option<san::kernel::Wwn>| name.map(|name| name.to_string());
    let remote = |port: RemotePort| FcRemotePort {
        port_name: text(port.port_name),
        target: port.is_target(),
        online: port.is_online(),
        fast_io_fail_seconds: port.fast_io_fail_tmo,
        dev_loss_seconds: port.dev_loss_tmo,
        state: port.state,
    };
    let view = |port: FcPort| FcPortView {
        port_name: text(port.port_name),
        node_name: text(port.node_name),
        online: port.is_online(),
        host: port.host,
        state: port.state,
        speed: port.speed,
        adapter: port.symbolic_name,
        remote_ports: port.remote_ports.into_iter().map(remote).collect(),
    };
    let ports = kernel.unwrap_or_default().fc_ports();
    FcPorts { ports: ports.into_iter().map(view).collect(), used }
}

pub(super) async fn test(
    appliance: &Appliance,
    name: NaaName,
    request: LunTestRequest,
) -> EngineResult<LunTest> {
    let san = appliance.fabric.san().await.map_err(|error| from_port(&error))?;
    let failed = |error| from_port(&port(format!("testing LUN {name}"), error));
    let lun = san.find(&name).map_err(failed)?;
    let seconds = request.seconds.clamp(1, SECONDS_MAX);
    let seed = u64::from_le_bytes(random()?);
    let time = Duration::from_secs(seconds.into());
    let measured = san::measure(&lun, time, seed).await.map_err(failed)?;
    Ok(LunTest {
        lun: lun_view(appliance, &lun),
        paths: path_views(&lun),
        latency_p50_microseconds: micros(measured.latency_p50),
        latency_p99_microseconds: micros(measured.latency_p99),
        latency_reads: measured.latency_reads,
        sequential_bytes_per_second: measured.sequential_bytes_per_second,
        random_reads_per_second: measured.random_reads_per_second,
    })
}

/// Bytes of a LUN. It is asked who it is before each reading, as for a backup.
pub(super) async fn read(
    appliance: &Appliance,
    name: NaaName,
    query: LunBytesQuery,
) -> EngineResult<Bytes> {
    let LunBytesQuery { offset, length } = query;
    let lun = appliance.fabric.lun(&name).await.map_err(|error| from_port(&error))?;
    let capacity = lun.capacity();
    let within = offset.checked_add(length).is_some_and(|end| end <= capacity);
    if !within || !(1..=LUN_BYTES_MAX).contains(&length) {
        let detail = format!(
            "{length} bytes at {offset} were asked for; the LUN has {capacity}, and at most \
             {LUN_BYTES_MAX} are read at a time."
        );
        let title = "These bytes of the LUN cannot be read";
        return Err(EngineError::new(ErrorKind::Refused, "lun-range", title, detail)
            .next_step("Ask for a range that lies on the LUN."));
    }
    let length = usize::try_from(length).expect("bounded above");
    let bytes = lun.read(offset, length).await.map_err(|error| from_port(&error))?;
    Ok(bytes.into())
}

/// What is known of the SAN already, and what of it needs a person.
pub(super) fn status(appliance: &Appliance) -> (SanStatus, Vec<Reason>) {
    let now = appliance.fabric.now();
    let mut reasons = Vec::new();
    let mut add = |code: &str, text: String, next_step: &str| {
        reasons.push(Reason { code: code.into(), text, next_step: next_step.into() });
    };
    if let Some(error) = &now.error {
        add(
            "san-unreachable",
            format!("The SAN cannot be used: {error}"),
            "Check the portals and CHAP in the configuration, and the target's access list.",
        );
    }
    let Some(san) = now.san else { return (SanStatus::default(), reasons) };
    for skipped in san.skipped() {
        add(
            "san-partly-unreachable",
            format!("A part of the SAN cannot be used: {}", skipped_line(&skipped)),
            "Check the target and its access list for this box.",
        );
    }
    let mut luns = Vec::new();
    for lun in san.luns() {
        let paths = lun.paths();
        let bad = |path: &&PathInfo| matches!(path.state, PathState::Lost | PathState::Refused);
        for path in paths.iter().filter(bad) {
            let name = lun.info().names.first().map_or("without a name", NaaName::as_str);
            let (target, portal, state) = (&path.target, &path.portal, path.state.name());
            let note = path.note.as_deref().unwrap_or("no error was seen");
            add(
                "san-path",
                format!("A path to LUN {name} is {state} ({target} by {portal}): {note}"),
                "Check cable, switch and controller; 'holdfast san paths' shows all paths.",
            );
        }
        luns.extend(lun_status(appliance, &lun, &paths));
    }
    (SanStatus { luns }, reasons)
}

/// One for each name.
fn lun_status(appliance: &Appliance, lun: &Lun, paths: &[PathInfo]) -> Vec<LunStatus> {
    let info = lun.info();
    let target = format!("{}, LUN {} at {}", info.target, info.lun, info.portal);
    let paths_usable = usable(paths);
    let ready = paths_usable > 0 || paths.len() == 1;
    let error = (!ready).then(|| "none of its paths can be used now".to_owned());
    let acknowledged = appliance.acknowledged.of(&Presented::of(lun));
    let view = |naa: &NaaName| LunStatus {
        naa: naa.clone(),
        target: target.clone(),
        capacity_bytes: info.capacity,
        ready,
        datastore: None,
        error: error.clone(),
        write_protected: lun.write_protected(),
        acknowledged: acknowledged.clone(),
        paths: paths.len() as u64,
        paths_usable,
    };
    info.names.iter().map(view).collect()
}
