//! The operational stage: what we offer, and what a target may answer (RFC 7143, 13).

use crate::keys::{self, Pairs, number};
use crate::sending::Bursts;
use crate::{Config, IscsiError};

/// MaxBurstLength that we offer: bytes. Data-In sequences end at it; no buffer depends on it.
const MAX_BURST: u32 = 1 << 20;
/// FirstBurstLength that we offer: bytes. Only data that goes out uses it.
const FIRST_BURST: u32 = 256 * 1024;
/// MaxRecvDataSegmentLength of a target that declares none (13.12).
const DEFAULT_SEGMENT: u32 = 8192;

/// Keys that only inform: a target may say them again in each of its answers.
const INFORMATION: &[&str] =
    &["TargetAlias", "TargetPortalGroupTag", "TargetAddress", "TargetName"];

/// What both sides agreed on at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Headers carry a CRC32C.
    pub header_digest: bool,
    /// Data carries a CRC32C.
    pub data_digest: bool,
    /// Bytes of data that the target takes in one PDU of ours.
    pub max_send_data: u32,
    /// How data goes out.
    pub bursts: Bursts,
    /// Seconds to wait before a lost session may be logged in again.
    pub time_to_wait: u16,
    /// The target's alias, for people.
    pub target_alias: Option<String>,
    /// The portal group that answered.
    pub portal_group: Option<u16>,
    /// TSIH: the target's handle of the session.
    pub session_handle: u16,
}

/// The keys of the operational stage, ours first.
pub(super) fn offer(config: &Config) -> Vec<u8> {
    let mut text = Vec::new();
    let digests = |wanted| if wanted { "CRC32C,None" } else { "None,CRC32C" };
    keys::push(&mut text, "HeaderDigest", digests(config.header_digest));
    keys::push(&mut text, "DataDigest", digests(config.data_digest));
    let mut numeric = |key, value: u32| keys::push(&mut text, key, &value.to_string());
    numeric("MaxRecvDataSegmentLength", config.max_recv_data);
    numeric("DefaultTime2Wait", 0);
    numeric("DefaultTime2Retain", 0);
    numeric("ErrorRecoveryLevel", 0);
    if config.target.is_some() {
        numeric("MaxConnections", 1);
        numeric("MaxBurstLength", MAX_BURST);
        numeric("FirstBurstLength", FIRST_BURST);
        numeric("MaxOutstandingR2T", 1);
        keys::push(&mut text, "InitialR2T", "No");
        keys::push(&mut text, "ImmediateData", "Yes");
        keys::push(&mut text, "DataPDUInOrder", "Yes");
        keys::push(&mut text, "DataSequenceInOrder", "Yes");
    }
    text
}

impl Agreed {
    /// The defaults that hold when a target says nothing.
    pub(super) fn before() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            max_send_data: DEFAULT_SEGMENT,
            bursts: Bursts::default(),
            time_to_wait: 2,
            target_alias: None,
            portal_group: None,
            session_handle: 0,
        }
    }

    /// Declarations that a target may make in either stage.
    pub(super) fn note_target(&mut self, pairs: &Pairs) -> Result<(), IscsiError> {
        if let Some(alias) = pairs.get("TargetAlias")? {
            self.target_alias = Some(alias.chars().take(255).collect());
        }
        if let Some(group) = pairs.get("TargetPortalGroupTag")? {
            let group = number("TargetPortalGroupTag", group, 0, 0xffff)?;
            self.portal_group = u16::try_from(group).ok();
        }
        Ok(())
    }
}

/// What was said in the operational stage, over all of its exchanges.
#[derive(Debug)]
pub(super) struct Negotiation {
    discovery: bool,
    seen: Vec<String>,
}

/// What a key of the target's asks of us.
enum Taken {
    /// Nothing: it answers ours, or declares something.
    Silently,
    /// This value.
    Answer(&'static str),
}

impl Negotiation {
    pub(super) fn new(config: &Config) -> Self {
        Self { discovery: config.target.is_none(), seen: Vec::new() }
    }

    /// Takes the target's answers and own questions; returns what has to be answered. A key may
    /// be negotiated once in a login (RFC 7143, 6.3), however many PDUs it takes.
    pub(super) fn take(
        &mut self,
        agreed: &mut Agreed,
        pairs: &Pairs,
    ) -> Result<Vec<u8>, IscsiError> {
        let mut reply = Vec::new();
        for (key, value) in pairs.iter() {
            if !INFORMATION.contains(&key) {
                if self.seen.iter().any(|seen| seen == key) {
                    return Err(IscsiError::misbehaved(format!("key {key} came twice")));
                }
                self.seen.push(key.to_owned());
            }
            if let Taken::Answer(answer) = self.take_one(agreed, key, value)? {
                keys::push(&mut reply, key, answer);
            }
        }
        Ok(reply)
    }

    fn take_one(&self, agreed: &mut Agreed, key: &str, value: &str) -> Result<Taken, IscsiError> {
        if is_declined(value) {
            return decline(key, value).map(|()| Taken::Silently);
        }
        match key {
            "HeaderDigest" => agreed.header_digest = digest(key, value)?,
            "DataDigest" => agreed.data_digest = digest(key, value)?,
            "MaxRecvDataSegmentLength" => {
                agreed.max_send_data = number(key, value, 512, (1 << 24) - 1)?;
            }
            "DefaultTime2Wait" => {
                let seconds = number(key, value, 0, 3600)?;
                agreed.time_to_wait = u16::try_from(seconds).expect("at most 3600");
            }
            "DefaultTime2Retain" => drop(number(key, value, 0, 3600)?),
            "ErrorRecoveryLevel" => drop(number(key, value, 0, 0)?),
            _ if INFORMATION.contains(&key) => {}
            // 13.24, 13.23: our protocol level and reporting are those of the RFCs themselves.
            "iSCSIProtocolLevel" => return Ok(Taken::Answer("1")),
            "TaskReporting" => return Ok(Taken::Answer("RFC3720")),
            _ => return self.take_data_key(&mut agreed.bursts, key, value),
        }
        Ok(Taken::Silently)
    }

    /// Keys about the transfer of data, which a discovery session has none of (13): there a
    /// target that asks is told so; elsewhere these are answers to what we offered.
    fn take_data_key(
        &self,
        bursts: &mut Bursts,
        key: &str,
        value: &str,
    ) -> Result<Taken, IscsiError> {
        match key {
            // Each R2T is answered at once, and there is one connection: any legal value will do.
            "MaxConnections" | "MaxOutstandingR2T" => drop(number(key, value, 1, 0xffff)?),
            // The smaller value holds (13.13, 13.14), also where a target says the larger one.
            "MaxBurstLength" => bursts.max = number(key, value, 512, 0xff_ffff)?.min(MAX_BURST),
            "FirstBurstLength" => {
                bursts.first = number(key, value, 512, 0xff_ffff)?.min(FIRST_BURST);
            }
            "InitialR2T" => bursts.initial_r2t = boolean(key, value)?,
            "ImmediateData" => bursts.immediate = boolean(key, value)?,
            "DataPDUInOrder" | "DataSequenceInOrder" => {
                if !boolean(key, value)? {
                    return Err(IscsiError::misbehaved(format!("{key}=No was not on offer")));
                }
            }
            _ => return Ok(Taken::Answer("NotUnderstood")),
        }
        Ok(if self.discovery { Taken::Answer("Irrelevant") } else { Taken::Silently })
    }
}

fn is_declined(value: &str) -> bool {
    matches!(value, "Reject" | "Irrelevant" | "NotUnderstood")
}

/// A key without which the defaults differ from what we need cannot be declined.
fn decline(key: &str, value: &str) -> Result<(), IscsiError> {
    let needed =
        matches!(key, "MaxRecvDataSegmentLength" | "DataPDUInOrder" | "DataSequenceInOrder");
    if needed && value == "Reject" {
        return Err(IscsiError::misbehaved(format!("the target rejects {key}")));
    }
    Ok(())
}

fn digest(key: &str, value: &str) -> Result<bool, IscsiError> {
    match value {
        "None" => Ok(false),
        "CRC32C" => Ok(true),
        other => Err(IscsiError::misbehaved(format!("{key}={other} was not on offer"))),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, IscsiError> {
    match value {
        "Yes" => Ok(true),
        "No" => Ok(false),
        other => Err(IscsiError::misbehaved(format!("{key}={other} is neither Yes nor No"))),
    }
}
