//! Who shuts us out: asked when a reservation outlasted our patience, so that an administrator
//! knows where to look.

use super::Lun;
use super::way::Way;
use crate::SanError;
use scsi::{Advice, Reservation, disk};
use std::time::Duration;
use tokio::time::timeout;

/// A device that does not tell by then (one of the old kind of reservations shuts out this
/// question, too) does not tell at all.
const PATIENCE: Duration = Duration::from_secs(2);

impl Lun {
    /// The error, with the holder's key where it speaks of a reservation and the LUN tells it.
    pub(super) async fn name_holder(&self, way: &Way, error: SanError) -> SanError {
        let SanError::Device { operation, lun, target, advice: Advice::WaitReserved, .. } = &error
        else {
            return error;
        };
        let asked = way.path.run("PERSISTENT RESERVE IN", disk::read_reservation());
        let told = timeout(PATIENCE, asked).await.ok().and_then(Result::ok);
        match told.map(|told| Reservation::decode(told.received())) {
            Some(Ok(Some(holder))) => {
                let holder = holder.to_string();
                SanError::Reserved { operation, lun: *lun, target: target.clone(), holder }
            }
            _ => error,
        }
    }
}
