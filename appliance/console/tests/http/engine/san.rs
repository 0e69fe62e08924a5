//! Two LUNs: one by two paths, one of them lost; one that is presented read-only.

use api::{
    Acknowledgement, AcknowledgementRequest, Discovered, DiscoveredPlace, DiscoveryRequest,
    FcPortView, FcPorts, FcRemotePort, LunBytesQuery, LunTest, LunTestRequest, PRESENT_READ_ONLY,
    SanLun, SanLuns, SanPath, SanPathState, SanPaths, SanProblem, SanSession, SanSessions,
};
use bytes::Bytes;
use console::{EngineError, EngineResult};
use model::{ErrorKind, NaaName};

const TARGET: &str = "iqn.2026-01.test.lab:array";
pub const NAMES: [&str; 2] =
    ["naa.600140500000000000000000000000a1", "naa.600140500000000000000000000000a2"];

pub fn sessions() -> SanSessions {
    let session = |portal: &str, up| SanSession {
        portal: portal.into(),
        target: TARGET.into(),
        up,
        header_digest: true,
        data_digest: true,
        luns: 2,
    };
    let sessions = vec![session("10.0.0.1:3260", true), session("10.0.1.1:3260", false)];
    SanSessions { sessions, problems: problems() }
}

fn problems() -> Vec<SanProblem> {
    vec![SanProblem {
        portal: "10.0.2.1:3260".into(),
        target: TARGET.into(),
        lun: None,
        error: "connecting to portal 10.0.2.1:3260: connection refused".into(),
    }]
}

pub fn discover(request: &DiscoveryRequest) -> EngineResult<Discovered> {
    if request.portal.is_empty() {
        let title = "The portal does not answer";
        return Err(EngineError::new(ErrorKind::Retryable, "peer", title, "No portal is named."));
    }
    let told = "192.168.7.7:3260".to_owned();
    let portal = if request.as_asked { request.portal.clone() } else { told };
    let place =
        DiscoveredPlace { portal, target: TARGET.into(), group: Some(1), configured: false };
    Ok(Discovered { targets: vec![place] })
}

pub fn luns() -> SanLuns {
    SanLuns { luns: vec![lun(0), lun(1)], problems: problems() }
}

/// Only the first LUN is presented writable.
pub fn acknowledge(name: &NaaName, request: AcknowledgementRequest) -> EngineResult<SanLun> {
    if name.as_str() != NAMES[0] {
        let (title, detail) = ("There is nothing to accept", format!("LUN {name} is read-only."));
        return Err(EngineError::new(ErrorKind::Refused, "not-writable", title, detail));
    }
    let AcknowledgementRequest { by, note } = request;
    let at = "2026-06-01T12:00:00Z".parse().unwrap();
    let acknowledged = Some(Acknowledgement { by, at, note });
    Ok(SanLun { acknowledged, advice: String::new(), ..lun(0) })
}

fn lun(number: usize) -> SanLun {
    let protected = number == 1;
    SanLun {
        names: vec![NAMES[number].parse().unwrap()],
        vendor: "ACME".into(),
        product: "Array\u{1b}[2J".into(),
        serial: Some(format!("S{number}")),
        capacity_bytes: 1 << 40,
        block_bytes: 512,
        thin: true,
        write_protected: Some(protected),
        advice: if protected { String::new() } else { PRESENT_READ_ONLY.into() },
        acknowledged: None,
        paths: 2 - number as u64,
        paths_usable: 1,
    }
}

pub fn paths() -> SanPaths {
    let mut lost = path(0, SanPathState::Lost);
    lost.portal = "10.0.1.1:3260".into();
    lost.failures = 3;
    lost.note = Some("connection reset".into());
    SanPaths { paths: vec![path(0, SanPathState::Active), lost, path(1, SanPathState::Active)] }
}

fn path(lun: usize, state: SanPathState) -> SanPath {
    SanPath {
        naa: Some(NAMES[lun].parse().unwrap()),
        portal: "10.0.0.1:3260".into(),
        target: TARGET.into(),
        lun: (lun + 1).to_string(),
        state,
        access: Some("active/optimized".into()),
        group: Some(1),
        failures: 0,
        last_good_seconds: Some(4),
        latency_microseconds: Some(850),
        in_flight: 0,
        read_bytes: 7 << 30,
        repeated: 1,
        note: None,
    }
}

pub fn fc_ports() -> FcPorts {
    let remote = |name: &str, online| FcRemotePort {
        port_name: Some(name.into()),
        target: true,
        online,
        state: Some(if online { "Online" } else { "Blocked" }.into()),
        fast_io_fail_seconds: Some(5),
        dev_loss_seconds: Some(30),
    };
    let remote_ports =
        vec![remote("50:01:43:80:00:00:00:01", true), remote("50:01:43:80:00:00:00:02", false)];
    let port = FcPortView {
        host: "host1".into(),
        port_name: Some("21:00:00:24:ff:00:00:01".into()),
        node_name: None,
        online: true,
        state: Some("Online".into()),
        speed: Some("16 Gbit".into()),
        adapter: None,
        remote_ports,
    };
    FcPorts { ports: vec![port], used: false }
}

pub fn test(name: &NaaName, request: LunTestRequest) -> EngineResult<LunTest> {
    let number = NAMES.iter().position(|known| *known == name.as_str()).ok_or_else(|| {
        let (title, detail) = ("There is no such LUN", format!("No LUN {name} is presented."));
        EngineError::new(ErrorKind::NotFound, "lun-unknown", title, detail)
    })?;
    Ok(LunTest {
        lun: lun(number),
        paths: vec![path(number, SanPathState::Active)],
        latency_p50_microseconds: 400,
        latency_p99_microseconds: 2_300,
        latency_reads: 1000 * u64::from(request.seconds),
        sequential_bytes_per_second: 900 << 20,
        random_reads_per_second: 41_000,
    })
}

/// Each byte of a LUN is its own offset's last digits.
pub fn read(name: &NaaName, query: LunBytesQuery) -> EngineResult<Bytes> {
    if !NAMES.contains(&name.as_str()) {
        let title = "A peer did not answer as needed";
        return Err(EngineError::new(ErrorKind::NotFound, "peer", title, "No such LUN."));
    }
    let bytes = query.offset..query.offset + query.length;
    Ok(bytes.map(|offset| offset.to_le_bytes()[0]).collect())
}
