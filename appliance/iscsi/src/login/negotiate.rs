//! The operational stage: what we offer, and what a target may answer (RFC 7143, 13).

use crate::keys::{self, Pairs, number};
use crate::{Config, IscsiError};

/// MaxBurstLength that we offer: bytes. Data-In sequences end at it; no buffer depends on it.
const MAX_BURST: u32 = 1 << 20;
/// FirstBurstLength that we offer: bytes. Only writes use it.
const FIRST_BURST: u32 = 256 * 1024;
/// MaxRecvDataSegmentLength of a target that declares none (13.12).
const DEFAULT_SEGMENT: u32 = 8192;

/// What both sides agreed on at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Headers carry a CRC32C.
    pub header_digest: bool,
    /// Data carries a CRC32C.
    pub data_digest: bool,
    /// Bytes of data that the target takes in one PDU of ours.
    pub max_send_data: u32,
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

    /// Takes the target's answers and own questions; returns what has to be answered.
    pub(super) fn take(&mut self, pairs: &Pairs) -> Result<Vec<u8>, IscsiError> {
        let mut reply = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (key, value) in pairs.iter() {
            if seen.contains(&key) {
                return Err(IscsiError::misbehaved(format!("key {key} came twice")));
            }
            if !self.take_one(key, value)? {
                keys::push(&mut reply, key, "NotUnderstood");
            }
            seen.push(key);
        }
        Ok(reply)
    }

    /// False when the key is one that nobody defined and that asks for an answer.
    fn take_one(&mut self, key: &str, value: &str) -> Result<bool, IscsiError> {
        if is_declined(value) {
            return decline(key, value).map(|()| true);
        }
        match key {
            "HeaderDigest" => self.header_digest = digest(key, value)?,
            "DataDigest" => self.data_digest = digest(key, value)?,
            "MaxRecvDataSegmentLength" => {
                self.max_send_data = number(key, value, 512, (1 << 24) - 1)?;
            }
            "DefaultTime2Wait" => {
                let seconds = number(key, value, 0, 3600)?;
                self.time_to_wait = u16::try_from(seconds).expect("at most 3600");
            }
            "DefaultTime2Retain" => drop(number(key, value, 0, 3600)?),
            "ErrorRecoveryLevel" => drop(number(key, value, 0, 0)?),
            // Nothing here writes or opens a second connection: any legal value will do.
            "MaxConnections" | "MaxOutstandingR2T" => drop(number(key, value, 1, 0xffff)?),
            "MaxBurstLength" | "FirstBurstLength" => drop(number(key, value, 512, 0xff_ffff)?),
            "InitialR2T" | "ImmediateData" => drop(boolean(key, value)?),
            "DataPDUInOrder" | "DataSequenceInOrder" if !boolean(key, value)? => {
                return Err(IscsiError::misbehaved(format!("{key}=No was not on offer")));
            }
            "DataPDUInOrder" | "DataSequenceInOrder" => {}
            "TargetAlias" | "TargetPortalGroupTag" | "TargetAddress" | "TargetName" => {}
            // 13.24: a version of the protocol beyond the RFC; ours is that of RFC 7143 itself.
            "iSCSIProtocolLevel" => {}
            _ => return Ok(false),
        }
        Ok(true)
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
