//! Commands in flight: each with its own buffer, into which its data is placed as it arrives.

use crate::Time;
use crate::pdu::Header;
use bytes::BytesMut;
use std::ops::Range;

/// A command to send. `context` is the driver's own and comes back with the result.
#[derive(Debug)]
pub struct Command<T> {
    /// Whatever the driver needs to know again.
    pub context: T,
    /// The LUN field, 8 bytes as REPORT LUNS gives it.
    pub lun: [u8; 8],
    /// The command, padded with zeros.
    pub cdb: [u8; 16],
    /// Where the data goes. Its length is the number of bytes asked for; what was in it stays
    /// wherever the target sends nothing, so only `transferred` bytes mean anything. For
    /// [`crate::Connection::submit_out`], where it comes from.
    pub buffer: BytesMut,
    /// Any buffer of the same length will do. The data then goes to the one that was lent last,
    /// which the processor still has in its cache: that halves the cost of large reads.
    pub exchangeable: bool,
    /// Moment after which the command is aborted.
    pub deadline: Time,
}

/// A command that is over.
#[derive(Debug)]
pub struct Finished<T> {
    /// The driver's own.
    pub context: T,
    /// The buffer of the command, or another of the same length if it was exchangeable.
    pub buffer: BytesMut,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device answered.
    Completed(Completion),
    /// Data arrived damaged (data digest). The connection goes on; the read can be repeated.
    Damaged,
    /// No answer by its deadline; it was aborted.
    TimedOut,
    /// The target could not run it: response code of RFC 7143, 11.4.3.
    TargetFailure(u8),
}

/// A device's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// SCSI status byte.
    pub status: u8,
    /// Sense data as it came; empty when there was none.
    pub sense: Vec<u8>,
    /// Bytes placed: the buffer is filled from 0 to here without a gap. Of data that went out, the
    /// bytes that the device took.
    pub transferred: u32,
    /// What the target says of the difference.
    pub residual: Residual,
}

/// The residual of RFC 7143, 11.4.5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// As many bytes as expected.
    None,
    /// So many fewer.
    Under(u32),
    /// So many more than fitted.
    Over(u32),
}

impl Residual {
    /// By the O and U flags, which have the same place in Data-In and SCSI response.
    pub(crate) fn of(header: &Header) -> Self {
        match (header.flags() & 0x04 != 0, header.flags() & 0x02 != 0) {
            (true, _) => Self::Over(header.residual()),
            (_, true) => Self::Under(header.residual()),
            _ => Self::None,
        }
    }
}

/// Invariant: `received <= length`, and bytes `0..received` came from the target, in order.
/// `buffer` is `None` while an exchangeable buffer has not been chosen; then `received == 0`.
/// A task that `sends` has a buffer, which holds what goes out, and a `length` of 0.
#[derive(Debug)]
struct Task<T> {
    context: T,
    buffer: Option<BytesMut>,
    length: usize,
    lun: [u8; 8],
    cmd_sn: u32,
    received: u32,
    next_data_sn: u32,
    damaged: bool,
    deadline: Time,
    aborting: bool,
    sends: Option<Sends>,
}

/// How far the data of a task has gone out.
#[derive(Clone, Copy, Debug)]
struct Sends {
    /// What comes next: both orders were negotiated 'in order'.
    offset: u32,
    next_r2t_sn: u32,
}

impl<T> Task<T> {
    fn transferred(&self, header: &Header) -> u32 {
        let (Some(sends), Some(data)) = (self.sends, &self.buffer) else { return self.received };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match Residual::of(header) {
            Residual::Under(left) => length.saturating_sub(left).min(sends.offset),
            _ => sends.offset,
        }
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u16,
    task: Option<Task<T>>,
}

/// The table. A task tag is `generation << 16 | index`; the index stays below 1024, so no tag is
/// the reserved one, and a tag comes back only after 65536 uses of its slot.
#[derive(Debug)]
pub(crate) struct Tasks<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u16>,
    lent: Lent,
}

/// Buffers of commands that take any, the last one lent on top.
///
/// Invariant: for every length there are as many here as tasks of that length without a buffer.
#[derive(Debug, Default)]
struct Lent(Vec<BytesMut>);

impl Lent {
    fn take(&mut self, length: usize) -> BytesMut {
        let at = self.0.iter().rposition(|buffer| buffer.len() == length);
        self.0.remove(at.expect("each task without a buffer lent one of its length"))
    }
}

/// Place of the bytes of a Data-In PDU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    index: usize,
    offset: usize,
}

/// What ABORT TASK has to say about a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overdue {
    pub(crate) tag: u32,
    pub(crate) lun: [u8; 8],
    pub(crate) cmd_sn: u32,
}

impl<T> Tasks<T> {
    pub(crate) fn new(capacity: u16) -> Self {
        let slots = (0..capacity).map(|_| Slot { generation: 0, task: None }).collect();
        Self { slots, free: (0..capacity).rev().collect(), lent: Lent::default() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a command in and returns its tag, or gives it back when the table is full.
    pub(crate) fn insert(&mut self, command: Command<T>, cmd_sn: u32) -> Result<u32, Command<T>> {
        let Some(index) = self.free.pop() else { return Err(command) };
        let slot = &mut self.slots[usize::from(index)];
        slot.generation = slot.generation.wrapping_add(1);
        let length = command.buffer.len();
        let buffer = if command.exchangeable {
            self.lent.0.push(command.buffer);
            None
        } else {
            Some(command.buffer)
        };
        slot.task = Some(Task {
            context: command.context,
            buffer,
            length,
            lun: command.lun,
            cmd_sn,
            received: 0,
            next_data_sn: 0,
            damaged: false,
            deadline: command.deadline,
            aborting: false,
            sends: None,
        });
        Ok(u32::from(slot.generation) << 16 | u32::from(index))
    }

    /// As [`Self::insert`], of a command whose data goes out; `unasked` bytes of it at once.
    pub(crate) fn insert_out(
        &mut self,
        command: Command<T>,
        cmd_sn: u32,
        unasked: u32,
    ) -> Result<u32, Command<T>> {
        let command = Command { exchangeable: false, ..command };
        let tag = self.insert(command, cmd_sn)?;
        let index = self.index(tag).expect("it was put there just now");
        let task = self.task(Place { index, offset: 0 });
        (task.length, task.sends) = (0, Some(Sends { offset: unasked, next_r2t_sn: 0 }));
        Ok(tag)
    }

    /// The part of the data that an R2T asks for, or what is wrong with it.
    pub(crate) fn asked(&mut self, header: &Header, most: u32) -> Result<Range<u32>, &'static str> {
        let index = self.index(header.task_tag()).ok_or("R2T for a command that does not exist")?;
        let task = self.task(Place { index, offset: 0 });
        let length = task.buffer.as_ref().map_or(0, BytesMut::len);
        let sends = task.sends.as_mut().ok_or("it asks a command for data that sends none")?;
        if header.data_sn() != sends.next_r2t_sn {
            return Err("an R2T is missing or repeated (R2TSN)");
        }
        if header.buffer_offset() != sends.offset {
            return Err("an R2T that does not continue where the data ended (BufferOffset)");
        }
        let wanted = header.desired_length();
        if wanted == 0 || wanted > most {
            return Err("an R2T for no data, or for more than a burst");
        }
        let end = sends.offset.checked_add(wanted).filter(|end| *end as usize <= length);
        let end = end.ok_or("an R2T for more data than there is")?;
        let range = sends.offset..end;
        (sends.offset, sends.next_r2t_sn) = (end, sends.next_r2t_sn.wrapping_add(1));
        Ok(range)
    }

    /// LUN and data of a task that sends.
    pub(crate) fn outgoing(&self, tag: u32) -> Option<([u8; 8], &[u8])> {
        let task = self.slots[self.index(tag)?].task.as_ref()?;
        Some((task.lun, task.buffer.as_deref()?))
    }

    fn index(&self, tag: u32) -> Option<usize> {
        let index = usize::try_from(tag & 0xffff).ok()?;
        let slot = self.slots.get(index)?;
        (slot.task.is_some() && u32::from(slot.generation) == tag >> 16).then_some(index)
    }

    fn task(&mut self, place: Place) -> &mut Task<T> {
        self.slots[place.index].task.as_mut().expect("a place is used before its task ends")
    }

    /// Where the data of a Data-In PDU goes, or what is wrong with the PDU. Both orders were
    /// negotiated 'in order', so the data continues exactly where the last one ended.
    pub(crate) fn place(&mut self, header: &Header) -> Result<Place, &'static str> {
        let index =
            self.index(header.task_tag()).ok_or("data for a command that does not exist")?;
        let place = Place { index, offset: 0 };
        let task = self.task(place);
        if header.data_sn() != task.next_data_sn {
            return Err("a Data-In PDU is missing or repeated (DataSN)");
        }
        if header.buffer_offset() != task.received {
            return Err("data that does not continue where the last ended (BufferOffset)");
        }
        let end = u64::from(task.received) + u64::from(header.data_length());
        if end > task.length as u64 {
            return Err("more data than was asked for");
        }
        let offset = usize::try_from(task.received).map_err(|_| "more data than fits memory")?;
        let (length, chosen) = (task.length, task.buffer.is_some());
        if !chosen {
            let buffer = self.lent.take(length);
            self.task(place).buffer = Some(buffer);
        }
        Ok(Place { index, offset })
    }

    /// The bytes of a place that are still to come, `done` of `length` being there.
    pub(crate) fn buffer(&mut self, place: Place, done: usize, length: usize) -> &mut [u8] {
        let start = place.offset;
        let buffer = self.task(place).buffer.as_mut();
        &mut buffer.expect("chosen with the place")[start + done..start + length]
    }

    /// A Data-In PDU is complete.
    pub(crate) fn placed(&mut self, place: Place, length: u32, damaged: bool) {
        let task = self.task(place);
        task.next_data_sn = task.next_data_sn.wrapping_add(1);
        task.received += length;
        task.damaged |= damaged;
    }

    /// Ends a task by its status; `None` when there is no such task.
    pub(crate) fn finish(
        &mut self,
        header: &Header,
        status: Result<u8, u8>,
        sense: &[u8],
    ) -> Option<Finished<T>> {
        let task = self.remove(header.task_tag())?;
        let outcome = match status {
            _ if task.damaged => Outcome::Damaged,
            Err(response) => Outcome::TargetFailure(response),
            Ok(status) => Outcome::Completed(Completion {
                status,
                sense: sense.to_vec(),
                transferred: task.transferred(header),
                residual: Residual::of(header),
            }),
        };
        Some(self.finished(task, outcome))
    }

    /// Ends a task that was aborted; `None` when its answer came first.
    pub(crate) fn aborted(&mut self, tag: u32) -> Option<Finished<T>> {
        let task = self.remove(tag)?;
        Some(self.finished(task, Outcome::TimedOut))
    }

    fn finished(&mut self, task: Task<T>, outcome: Outcome) -> Finished<T> {
        let buffer = task.buffer.unwrap_or_else(|| self.lent.take(task.length));
        Finished { context: task.context, buffer, outcome }
    }

    fn remove(&mut self, tag: u32) -> Option<Task<T>> {
        let index = self.index(tag)?;
        self.free.push(u16::try_from(index).expect("at most 1024 slots"));
        self.slots[index].task.take()
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.live().map(|(_, task)| task.deadline).min()
    }

    /// The first overdue task: `Err` when it was aborted already and even that got no answer.
    /// The task is then waited for until `now + patience`.
    pub(crate) fn overdue(&mut self, now: Time, patience: Time) -> Option<Result<Overdue, ()>> {
        for (index, slot) in (0u32..).zip(&mut self.slots) {
            let Some(task) = slot.task.as_mut().filter(|task| task.deadline <= now) else {
                continue;
            };
            if task.aborting {
                return Some(Err(()));
            }
            task.aborting = true;
            task.deadline = now.saturating_add(patience);
            let tag = u32::from(slot.generation) << 16 | index;
            return Some(Ok(Overdue { tag, lun: task.lun, cmd_sn: task.cmd_sn }));
        }
        None
    }

    /// Gives back everything that is in flight, for a connection that is over.
    pub(crate) fn drain(&mut self) -> Vec<(T, BytesMut)> {
        let mut left = Vec::new();
        for (index, slot) in (0u16..).zip(&mut self.slots) {
            if let Some(task) = slot.task.take() {
                self.free.push(index);
                let buffer = task.buffer.unwrap_or_else(|| self.lent.take(task.length));
                left.push((task.context, buffer));
            }
        }
        left
    }

    fn live(&self) -> impl Iterator<Item = (usize, &Task<T>)> {
        let tasks = self.slots.iter().enumerate();
        tasks.filter_map(|(index, slot)| slot.task.as_ref().map(|task| (index, task)))
    }
}
