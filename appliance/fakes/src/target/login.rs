//! The login of a target that lets everybody in.

use super::{Exchange, Pdu, Spec};

/// What an initiator said that matters later.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Declared {
    /// Digests as they were chosen; in use from the full feature phase on.
    pub(super) digests: (bool, bool),
    /// Bytes of data that it takes in one PDU.
    pub(super) segment: Option<usize>,
}

/// The answer to a login request, and whether the full feature phase begins with it.
pub(super) fn answer(spec: &Spec, exchange: &Exchange, declared: &mut Declared) -> (Pdu, bool) {
    let request = &exchange.request;
    let (current, next) = (request.header[1] >> 2 & 3, request.header[1] & 3);
    let mut answer = exchange.answer(0x23, request.header[1] & 0x8f);
    answer.header[8..14].copy_from_slice(&request.header[8..14]);
    answer.header[15] = 1; // TSIH
    let pairs = if current == 0 { security() } else { operational(spec, request, declared) };
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let full = request.header[1] & 0x80 != 0 && next == 3;
    (answer.text(&pairs), full)
}

fn security() -> Vec<(String, String)> {
    vec![("TargetPortalGroupTag".into(), "1".into()), ("AuthMethod".into(), "None".into())]
}

fn operational(spec: &Spec, request: &Pdu, declared: &mut Declared) -> Vec<(String, String)> {
    if let Some(segment) = request.key("MaxRecvDataSegmentLength") {
        declared.segment = segment.parse().ok();
    }
    let mut pairs = vec![("MaxRecvDataSegmentLength".to_owned(), "8192".to_owned())];
    let mut chosen = [spec.digests.0, spec.digests.1];
    for (wanted, key) in chosen.iter_mut().zip(["HeaderDigest", "DataDigest"]) {
        let Some(offered) = request.key(key) else {
            *wanted = false;
            continue;
        };
        *wanted &= offered.split(',').any(|digest| digest == "CRC32C");
        pairs.push((key.into(), if *wanted { "CRC32C".into() } else { "None".into() }));
    }
    declared.digests = (chosen[0], chosen[1]);
    pairs.extend(spec.keys.iter().cloned());
    pairs
}
