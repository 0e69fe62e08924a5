//! A recovery point as a VM again: made beside everything else under a name of its own, read back
//! and compared, and only then given its name, or the place of the VM that it replaces.
//!
//! ```text
//! look -> journal -> make (import, send the disks) -> read back -> attributes
//!      -> journal: whole -> name, or replace -> power on -> journal closed
//! ```
//!
//! Why beside: an existing VM is touched only when its replacement is whole and compared, and it
//! goes last. Why the journal: a crash leaves half a VM, which the next start removes, or a whole
//! one, which it finishes ([`intent`]). What differs is never named, powered on or removed by us:
//! it is left under its temporary name for a person to look at.

pub mod error;
pub mod intent;
pub mod ports;
pub mod stream;

pub use error::RestoreError;
pub use intent::{RestoreIntent, Stage, SweptRestore, sweep_restores};

use crate::journal::Journal;
use crate::progress::{Progress, StepState};
use api::{RestoreResult, RestoredDisk};
use model::{ErrorKind, WallTime};
use ports::{Import, Order, OrderedDisk, Outlook, ReadBack, Target};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinError;

/// The parts of a restore.
pub struct Restore<T> {
    /// Where VMs are made.
    pub target: Arc<T>,
    /// Where is written down what must be ended.
    pub journal: Arc<Journal>,
    /// The wall clock.
    pub wall: fn() -> WallTime,
}

impl<T: Target> Restore<T> {
    /// Carries the order out.
    ///
    /// # Errors
    /// Nothing of a failed restore stays, except a VM that differs from its point.
    pub async fn run(
        &self,
        order: Order,
        progress: &Arc<Progress>,
    ) -> Result<RestoreResult, RestoreError> {
        let ended = self.steps(&order, progress).await;
        progress.end(if ended.is_ok() { StepState::Done } else { StepState::Failed });
        ended
    }

    async fn steps(
        &self,
        order: &Order,
        progress: &Arc<Progress>,
    ) -> Result<RestoreResult, RestoreError> {
        progress.step("pre-flight");
        let outlook = self.target.look(order).await?;
        check(order, &outlook)?;
        if progress.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        let mut intent = RestoreIntent {
            run: order.run,
            vm: order.vm.clone(),
            point: order.point,
            temporary: order.temporary(),
            name: order.name().to_owned(),
            stage: Stage::Making,
            opened: (self.wall)(),
        };
        self.write(&intent)?;
        let made = self.make(order, progress).await;
        let (reference, sent) = match made {
            Ok(made) => made,
            Err(error) => {
                self.undo(&intent, &error, progress).await;
                return Err(error);
            }
        };
        let disks = match self.read_back(&reference, order, &sent, progress).await {
            Ok(disks) => disks,
            Err(error) => {
                self.leave_or_undo(&intent, &error, progress).await?;
                return Err(error);
            }
        };
        progress.step("attributes");
        let (restored, mut not_restored) = match self.target.describe(&reference, order).await {
            Ok(told) => told,
            Err(error) => (Vec::new(), vec![format!("attributes: {}", model::chain(&error))]),
        };
        not_restored.splice(0..0, outlook.left_out.iter().cloned());
        for line in &not_restored {
            progress.warn(line.clone());
        }
        progress.step(if order.in_place() { "replace" } else { "name" });
        intent.stage = stage(order, &outlook, &reference);
        self.write(&intent)?;
        if let Err(error) = intent::finish(&*self.target, &intent).await {
            let temporary = &intent.temporary;
            progress.warn(format!("'{temporary}' is whole; the appliance goes on to name it"));
            return Err(error);
        }
        let powered_on = self.power_on(&reference, order, progress).await;
        self.journal.close_restore(order.run).map_err(RestoreError::Journal)?;
        Ok(RestoreResult {
            point: order.point,
            vm: order.name().to_owned(),
            place: outlook.place,
            replaced: order.in_place(),
            disks,
            restored,
            not_restored,
            powered_on,
        })
    }

    fn write(&self, intent: &RestoreIntent) -> Result<(), RestoreError> {
        self.journal.open_restore(intent.clone()).map_err(RestoreError::Journal)
    }

    /// Makes the VM and sends its disks; gives its handle and the bytes sent for each disk.
    async fn make(
        &self,
        order: &Order,
        progress: &Arc<Progress>,
    ) -> Result<(String, Vec<u64>), RestoreError> {
        progress.step("make the VM");
        let mut import = self.target.begin(order).await?;
        let mut sent = Vec::new();
        for disk in &order.disks {
            progress.step(format!("send disk {}", disk.index));
            progress.add_total(disk.bytes.capacity());
            match send(&mut import, disk, progress).await {
                Ok(bytes) => sent.push(bytes),
                Err(error) => {
                    import.abort(&model::chain(&error)).await;
                    return Err(error);
                }
            }
        }
        Ok((import.complete().await?, sent))
    }

    async fn read_back(
        &self,
        reference: &str,
        order: &Order,
        sent: &[u64],
        progress: &Arc<Progress>,
    ) -> Result<Vec<RestoredDisk>, RestoreError> {
        let mut disks = Vec::new();
        for (disk, sent_bytes) in order.disks.iter().zip(sent) {
            let (verified, not_verified) = if order.request.verify {
                progress.step(format!("read back disk {}", disk.index));
                self.compare(reference, order, disk, progress).await?
            } else {
                (None, Some("it was asked not to".to_owned()))
            };
            if let Some(reason) = &not_verified {
                self.unverified(order, disk, reason, progress)?;
            }
            disks.push(RestoredDisk {
                index: disk.index,
                capacity_bytes: disk.bytes.capacity(),
                sent_bytes: *sent_bytes,
                transport: "network".into(),
                verified,
                not_verified,
            });
        }
        Ok(disks)
    }

    /// How the disk was read back and found equal, or why it was not read.
    async fn compare(
        &self,
        reference: &str,
        order: &Order,
        disk: &OrderedDisk,
        progress: &Arc<Progress>,
    ) -> Result<(Option<String>, Option<String>), RestoreError> {
        let (how, pieces) = match self.target.read_back(reference, order, disk).await? {
            ReadBack::Bytes(how, pieces) => (how, pieces),
            ReadBack::None(reason) => return Ok((None, Some(reason))),
        };
        progress.add_total(disk.bytes.capacity());
        let (bytes, watched) = (Arc::clone(&disk.bytes), Arc::clone(progress));
        let compared = move || stream::compare(&*bytes, pieces, &watched);
        match tokio::task::spawn_blocking(compared).await.map_err(ended)?? {
            None => Ok((Some(how), None)),
            Some(at) => {
                Err(RestoreError::Differs { index: disk.index, at, how, left: order.temporary() })
            }
        }
    }

    /// Not verified is a warning; but a VM is replaced only when somebody said so knowingly.
    fn unverified(
        &self,
        order: &Order,
        disk: &OrderedDisk,
        reason: &str,
        progress: &Progress,
    ) -> Result<(), RestoreError> {
        if order.in_place() && order.request.verify {
            return Err(RestoreError::Unverified {
                name: order.name().to_owned(),
                reason: format!("disk {}: {reason}", disk.index),
                left: order.temporary(),
            });
        }
        progress.warn(format!("disk {} was not verified, because {reason}", disk.index));
        Ok(())
    }

    /// A VM that differs, or that could not be compared before a replacement, is looked at by a
    /// person; anything else that ended the run leaves nothing.
    async fn leave_or_undo(
        &self,
        intent: &RestoreIntent,
        error: &RestoreError,
        progress: &Progress,
    ) -> Result<(), RestoreError> {
        if matches!(error, RestoreError::Differs { .. } | RestoreError::Unverified { .. }) {
            return self.journal.close_restore(intent.run).map_err(RestoreError::Journal);
        }
        self.undo(intent, error, progress).await;
        Ok(())
    }

    /// What cannot be undone now stays in the journal, for the sweep. After a clear refusal no VM
    /// can come any more; after a broken connection nobody knows.
    async fn undo(&self, intent: &RestoreIntent, because: &RestoreError, progress: &Progress) {
        let unclear = [ErrorKind::Retryable, ErrorKind::Busy, ErrorKind::Cancelled];
        let settled = !unclear.contains(&because.kind());
        let undone = intent::end(&*self.target, &self.journal, intent, settled).await;
        if let Err(error) = undone {
            let why = model::chain(&error);
            progress.warn(format!(
                "what was made of '{}' is not removed yet ({why}); the appliance tries again",
                intent.temporary
            ));
        }
    }

    async fn power_on(&self, reference: &str, order: &Order, progress: &Progress) -> bool {
        if !order.request.power_on {
            return false;
        }
        progress.step("power on");
        match self.target.power_on(reference).await {
            Ok(()) => true,
            Err(error) => {
                let why = model::chain(&error);
                progress.warn(format!("'{}' could not be powered on: {why}", order.name()));
                false
            }
        }
    }
}

fn stage(order: &Order, outlook: &Outlook, made: &str) -> Stage {
    let made = made.to_owned();
    match &outlook.existing {
        Some(old) if order.in_place() => {
            Stage::Replacing { made, old: old.reference.clone(), who: outlook.identity.clone() }
        }
        _ => Stage::Naming { made },
    }
}

async fn send<I: Import>(
    import: &mut I,
    disk: &OrderedDisk,
    progress: &Arc<Progress>,
) -> Result<u64, RestoreError> {
    let (to, pieces) = mpsc::channel(stream::AHEAD);
    let (bytes, index, watched) = (Arc::clone(&disk.bytes), disk.index, Arc::clone(progress));
    let making = tokio::task::spawn_blocking(move || stream::send(&*bytes, index, to, &watched));
    let sent = import.send(disk, pieces).await;
    // A disk that cannot be made is the reason why its upload broke off; but an upload that broke
    // off is the reason why nobody takes the disk's pieces any more.
    match (making.await.map_err(ended)?, sent) {
        (Ok(()), sent) => Ok(sent?),
        (Err(RestoreError::Stream(_)), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
    }
}

fn ended(error: JoinError) -> RestoreError {
    RestoreError::Thread { what: "a thread of the restore", source: error.into() }
}

/// What must hold before anything is begun.
fn check(order: &Order, outlook: &Outlook) -> Result<(), RestoreError> {
    let refuse = |reason: String, next_step| Err(RestoreError::Refused { reason, next_step });
    if order.disks.is_empty() {
        let reason = "the recovery point has no disk to restore".to_owned();
        return refuse(reason, "'holdfast point show' lists what it holds.");
    }
    if outlook.free < outlook.needed {
        let (free, needed) = (outlook.free, outlook.needed);
        let reason = format!("the datastore has {free} free bytes and the disks take {needed}");
        return refuse(reason, "Free space, or name another datastore (--datastore).");
    }
    if order.in_place() {
        return check_replaced(order, outlook);
    }
    if outlook.name_taken {
        let reason = format!("there is a VM called '{}' already", order.name());
        return refuse(reason, "Give another name (--name), or replace that VM (--replace).");
    }
    Ok(())
}

fn check_replaced(order: &Order, outlook: &Outlook) -> Result<(), RestoreError> {
    let refuse = |reason: String, next_step| Err(RestoreError::Refused { reason, next_step });
    let Some(old) = &outlook.existing else {
        let reason = format!("there is no VM with the instance UUID of '{}'", order.vm.name);
        return refuse(reason, "Restore it as a new VM, without --replace.");
    };
    if order.request.replace.as_deref() != Some(old.name.as_str()) {
        let reason = format!("the VM to be replaced is called '{}', which was not typed", old.name);
        return refuse(reason, "Type the name of the VM that is to be overwritten.");
    }
    if old.name != order.vm.name {
        let reason = format!("'{}' was called '{}' in this point", old.name, order.vm.name);
        return refuse(reason, "Give it its old name back, or restore a new VM.");
    }
    if !old.powered_off {
        let reason = format!("'{}' is not powered off", old.name);
        return refuse(reason, "Power it off; it is removed once its replacement is verified.");
    }
    match &old.in_the_way {
        Some(why) => refuse(
            format!("'{}' is not replaced: {why}", old.name),
            "Clear away what the text names, or restore a new VM.",
        ),
        None => Ok(()),
    }
}
