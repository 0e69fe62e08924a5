//! What the numbers of an SG_IO answer mean: host, driver and device each have a say, in that
//! order. A device's status counts only if the command reached it and came back.

use crate::kernel::error::KernelError;
use iscsi::{Completion, Outcome, Residual};

/// The answer to SG_IO, as the kernel fills it in (`scsi/sg.h`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// What the host adapter says.
    pub(super) host: u16,
    /// What its driver says; the upper half is advice that nobody gives any more.
    pub(super) driver: u16,
    /// The device's SCSI status.
    pub(super) status: u8,
    pub(super) sense: Vec<u8>,
    pub(super) transferred: u32,
    pub(super) wanted: u32,
}

/// `Err`: the way was lost, the command may be sent again by another.
pub(super) fn verdict(reply: Reply) -> Result<Outcome, KernelError> {
    match (reply.host, reply.driver & 15) {
        // The driver says 8 where there is sense data.
        (HOST_OK, DRIVER_OK | DRIVER_SENSE) => Ok(Outcome::Completed(completion(reply))),
        (HOST_OK, DRIVER_TIMEOUT) | (HOST_TIME_OUT, _) => Ok(Outcome::TimedOut),
        (host, _) if lost(host).is_some() => {
            Err(KernelError::Adapter(lost(host).unwrap_or_default()))
        }
        // Older kernels say it twice: here, and by the status.
        (HOST_TARGET_FAILURE..=HOST_MEDIUM_ERROR, _) if reply.status != 0 => {
            Ok(Outcome::Completed(completion(reply)))
        }
        (HOST_PARITY, _) => Ok(Outcome::Damaged),
        // Busy bus, aborted, reset, out of memory and the like: it may well work again.
        (host, _) => Ok(Outcome::TargetFailure(u8::try_from(host).unwrap_or(u8::MAX))),
    }
}

fn completion(reply: Reply) -> Completion {
    let Reply { status, sense, transferred, wanted, .. } = reply;
    let residual = match wanted.saturating_sub(transferred) {
        0 => Residual::None,
        missing => Residual::Under(missing),
    };
    Completion { status, sense, transferred, residual }
}

const HOST_OK: u16 = 0;
const HOST_TIME_OUT: u16 = 3;
const HOST_PARITY: u16 = 6;
/// Target failure, nexus failure (reserved), no space, medium error.
const HOST_TARGET_FAILURE: u16 = 16;
const HOST_MEDIUM_ERROR: u16 = 19;
const DRIVER_OK: u16 = 0;
const DRIVER_TIMEOUT: u16 = 6;
const DRIVER_SENSE: u16 = 8;

/// Host codes that say that the way is gone.
fn lost(host: u16) -> Option<&'static str> {
    match host {
        1 => Some("no connection (DID_NO_CONNECT)"),
        4 => Some("no such target (DID_BAD_TARGET)"),
        14 => Some("the transport was disrupted (DID_TRANSPORT_DISRUPTED)"),
        15 => Some("the port stayed lost (DID_TRANSPORT_FAILFAST)"),
        20 => Some("the path is marginal (DID_TRANSPORT_MARGINAL)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(host: u16, driver: u16, status: u8) -> Reply {
        Reply { host, driver, status, sense: vec![112, 0, 6], transferred: 8, wanted: 12 }
    }

    #[test]
    fn adapter_and_driver_come_before_the_device() {
        for host in [1, 4, 14, 15, 20] {
            assert!(matches!(verdict(reply(host, 0, 0)), Err(KernelError::Adapter(_))), "{host}");
            assert!(verdict(reply(host, 8, 2)).is_err(), "whatever the status says");
        }
        assert_eq!(verdict(reply(3, 0, 0)).unwrap(), Outcome::TimedOut);
        assert_eq!(verdict(reply(0, 6, 0)).unwrap(), Outcome::TimedOut);
        assert_eq!(verdict(reply(6, 0, 0)).unwrap(), Outcome::Damaged);
        for host in [2, 5, 7, 8, 11, 12, 13, 18, 999] {
            let outcome = verdict(reply(host, 0, 0)).unwrap();
            assert!(matches!(outcome, Outcome::TargetFailure(_)), "{host}: {outcome:?}");
        }
    }

    #[test]
    fn a_device_that_answered_is_heard() {
        let residual = Residual::Under(4);
        for (host, driver, status) in [(0, 0, 0), (0, 8, 2), (0, 0x38, 2), (0, 0, 24), (17, 0, 24)]
        {
            let wanted = Completion { status, sense: vec![112, 0, 6], transferred: 8, residual };
            assert_eq!(verdict(reply(host, driver, status)).unwrap(), Outcome::Completed(wanted));
        }
    }

    proptest! {
        #[test]
        fn nothing_but_a_clean_answer_counts_as_good(host: u16, driver: u16, status: u8) {
            if let Ok(Outcome::Completed(completion)) = verdict(reply(host, driver, status))
                && completion.status == 0
            {
                prop_assert_eq!(host, 0);
                prop_assert!([0, 8].contains(&(driver & 15)));
            }
        }
    }
}
