//! Data on its way out: with the command, behind it, and what the target asks for.

use super::Connection;
use crate::IscsiError;
use crate::pdu::{self, Header, NO_TAG};
use crate::tasks::Command;
use std::ops::Range;

impl<T> Connection<T> {
    /// Sends a command and the bytes of its buffer, in the order and the portions that the target
    /// agreed to. Gives it back as [`Self::submit`] does. Nothing that reads a source disk has a
    /// use for it.
    pub fn submit_out(&mut self, command: Command<T>) -> Result<(), Command<T>> {
        let Ok(length) = u32::try_from(command.buffer.len()) else { return Err(command) };
        if !self.can_submit() {
            return Err(command);
        }
        let (lun, cdb) = (command.lun, command.cdb);
        let (immediate, unasked) = self.bursts.unasked(length, self.max_send_data);
        let tag = self.tasks.insert_out(command, self.window.next(), unasked)?;
        let cmd_sn = self.window.take();
        let last = unasked == immediate;
        let header = pdu::scsi_write((lun, cdb), length, last, tag, cmd_sn, self.exp_stat_sn);
        if let Some((_, data)) = self.tasks.outgoing(tag) {
            self.outbox.push_data(header, &data[..index(immediate)]);
        }
        self.send_data((tag, NO_TAG), immediate..unasked);
        Ok(())
    }

    /// 11.8: the target wants a part of a command's data.
    pub(super) fn ready_to_transfer(&mut self, header: &Header) -> Result<(), IscsiError> {
        if header.transfer_tag() == NO_TAG {
            return Err(IscsiError::misbehaved("an R2T without a transfer tag"));
        }
        let range = self.tasks.asked(header, self.bursts.max).map_err(IscsiError::misbehaved)?;
        self.send_data((header.task_tag(), header.transfer_tag()), range);
        Ok(())
    }

    /// One sequence of Data-Out PDUs, none larger than the target takes.
    fn send_data(&mut self, tags: (u32, u32), range: Range<u32>) {
        let Some((lun, data)) = self.tasks.outgoing(tags.0) else { return };
        let mut at = range.start;
        for data_sn in 0.. {
            if at >= range.end {
                break;
            }
            let end = range.end.min(at.saturating_add(self.max_send_data.max(1)));
            let last = end == range.end;
            let header = pdu::data_out(lun, tags, (data_sn, at), last, self.exp_stat_sn);
            self.outbox.push_data(header, &data[index(at)..index(end)]);
            at = end;
        }
    }
}

fn index(at: u32) -> usize {
    usize::try_from(at).expect("32 bits fit a usize")
}
