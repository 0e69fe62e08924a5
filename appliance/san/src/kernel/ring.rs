//! Direct reads through `io_uring`: one thread that owns the ring and everything in flight.
//!
//! The thread, not the reader, owns the memory that the kernel fills: a buffer is given away with
//! the read and comes back with its end. So a reader that goes away, a time that runs out or a
//! handle that is dropped never leaves the kernel writing into memory that is in use for something
//! else. The thread ends when no handle is left *and* nothing is in flight.
//!
//! ```text
//! Ring::read -- channel --> thread: push, submit, wait --> completion --> finish(ticket, ...)
//!       \---- eventfd, only when it sleeps ----^
//! ```

use bytes::BytesMut;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};

/// Entries of the submission queue: reads that one system call can begin.
const BATCH: u32 = 64;
/// Reads in flight at most; further ones wait in the channel. The completion queue holds them all.
const FLYING_MAX: usize = 1024;
/// `user_data` of the wake-up call; a read's is its place in the table.
const WAKE: u64 = u64::MAX;
const POLL_IN: u32 = 1;

/// One read to be done. `T` comes back with its end.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) file: Arc<OwnedFd>,
    pub(super) offset: u64,
    /// As long as what is to be read.
    pub(super) buffer: BytesMut,
    pub(super) ticket: T,
}

/// What is done with the end of a read, on the ring's thread: the buffer, and how many of its
/// bytes were read. An error may come with another, empty buffer.
pub(super) type Finish<T> = fn(T, BytesMut, io::Result<usize>);

/// Handle of a ring. The last one to be dropped lets its thread end.
#[derive(Debug)]
pub(super) struct Ring<T>(Arc<Handle<T>>);

impl<T> Clone for Ring<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Handle<T> {
    /// `None` only while it is dropped.
    orders: Option<mpsc::Sender<Read<T>>>,
    bell: Arc<Bell>,
}

/// Wakes the thread. Rung after an order was sent, so it finds the order.
#[derive(Debug)]
struct Bell {
    event: OwnedFd,
    sleeping: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if self.sleeping.swap(false, SeqCst) {
            // It can only fail when the counter is full, and then the thread is awake anyway.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}

impl<T: Send + 'static> Ring<T> {
    /// Sets up a ring and its thread. Fails where the kernel has no `io_uring` (ENOSYS) or does not
    /// permit it (EPERM).
    pub(super) fn start(finish: Finish<T>) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let bell = Arc::new(Bell { event, sleeping: AtomicBool::new(false) });
        let (orders, incoming) = mpsc::channel();
        let (ready, begun) = mpsc::channel();
        let theirs = Arc::clone(&bell);
        std::thread::Builder::new().name("san-ring".into()).spawn(move || {
            // The ring belongs to the thread that sets it up.
            match set_up() {
                Ok(ring) => {
                    let _ = ready.send(Ok(())); // `start` waits for it
                    Driver::new(ring, incoming, theirs, finish).run();
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
        begun.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Self(Arc::new(Handle { orders: Some(orders), bell })))
    }

    /// Sends a read on its way; it comes back when the ring is gone.
    pub(super) fn read(&self, read: Read<T>) -> Result<(), Read<T>> {
        let Some(orders) = &self.0.orders else { return Err(read) };
        orders.send(read).map_err(|mpsc::SendError(read)| read)?;
        self.0.bell.ring();
        Ok(())
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.orders = None;
        self.bell.ring();
    }
}

/// With the flags of Linux 6.1 where there are some: completions are worked on when we wait, not in
/// the middle of something else.
fn set_up() -> io::Result<IoUring> {
    let entries = u32::try_from(FLYING_MAX).expect("a small number") + BATCH;
    let mut builder = IoUring::builder();
    builder.dontfork().setup_cqsize(entries);
    let plain = builder.clone();
    match builder.setup_single_issuer().setup_defer_taskrun().build(BATCH) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            plain.build(BATCH)
        }
        result => result,
    }
}

/// A read that the kernel has. Its memory is the kernel's until its completion was seen.
struct Flying<T> {
    /// Kept open.
    file: Arc<OwnedFd>,
    buffer: BytesMut,
    ticket: T,
}

/// Invariants: `flying[i]` is full exactly while a read with `user_data` i is in the submission
/// queue or with the kernel; `free` holds the other places, each once.
struct Driver<T> {
    ring: IoUring,
    orders: mpsc::Receiver<Read<T>>,
    bell: Arc<Bell>,
    finish: Finish<T>,
    flying: Vec<Option<Flying<T>>>,
    free: Vec<usize>,
    /// The ring watches the bell.
    watching: bool,
    /// No handle is left.
    closed: bool,
    done: Vec<(u64, i32)>,
}

impl<T> Driver<T> {
    fn new(
        ring: IoUring,
        orders: mpsc::Receiver<Read<T>>,
        bell: Arc<Bell>,
        finish: Finish<T>,
    ) -> Self {
        let (flying, free, done) = (Vec::new(), Vec::new(), Vec::new());
        Self { ring, orders, bell, finish, flying, free, watching: false, closed: false, done }
    }

    fn run(mut self) {
        loop {
            self.take_orders();
            if self.closed && self.in_flight() == 0 {
                return;
            }
            self.watch_bell();
            // An order that was sent before this store is taken now; one that is sent after it
            // rings the bell.
            self.bell.sleeping.store(true, SeqCst);
            let more = self.take_orders();
            let result = self.ring.submit_and_wait(usize::from(!more));
            self.bell.sleeping.store(false, SeqCst);
            match result {
                Ok(_) => {}
                // The completions have to be taken first, or a signal came.
                Err(error) if is_passing(&error) => {}
                Err(error) => return self.give_up(&error),
            }
            self.reap();
        }
    }

    fn in_flight(&self) -> usize {
        self.flying.len() - self.free.len()
    }

    /// Free entries of the submission queue. The last one is the bell's.
    fn room(&mut self) -> usize {
        let queue = self.ring.submission();
        queue.capacity() - queue.len()
    }

    /// Hands orders to the ring; true when there was one.
    fn take_orders(&mut self) -> bool {
        let mut any = false;
        while self.in_flight() < FLYING_MAX && self.room() > 1 {
            match self.orders.try_recv() {
                Ok(read) => self.push(read),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.closed = true;
                    break;
                }
            }
            any = true;
        }
        any
    }

    fn push(&mut self, read: Read<T>) {
        let Read { file, offset, mut buffer, ticket } = read;
        let Ok(length) = u32::try_from(buffer.len()) else {
            let error = io::ErrorKind::InvalidInput.into();
            return (self.finish)(ticket, buffer, Err(error));
        };
        let (descriptor, memory) = (types::Fd(file.as_raw_fd()), buffer.as_mut_ptr());
        let place = self.free.pop().unwrap_or(self.flying.len());
        let entry = opcode::Read::new(descriptor, memory, length).offset(offset).build();
        let flying = Flying { file, buffer, ticket };
        match self.flying.get_mut(place) {
            Some(free) => *free = Some(flying),
            None => self.flying.push(Some(flying)),
        }
        self.submit(&entry.user_data(place as u64));
    }

    /// Lets the ring tell when the bell was rung.
    fn watch_bell(&mut self) {
        if !self.watching {
            self.watching = true;
            let bell = types::Fd(self.bell.event.as_raw_fd());
            self.submit(&opcode::PollAdd::new(bell, POLL_IN).build().user_data(WAKE));
        }
    }

    fn submit(&mut self, entry: &squeue::Entry) {
        // SAFETY: a read's memory and descriptor are held by `flying` until its completion was
        // taken (`reap`), or for ever (`abandon`); moving a `BytesMut` does not move its memory,
        // and nothing here looks at that memory meanwhile. The bell's descriptor lives as long as
        // `self`, and so does the ring.
        #[expect(unsafe_code, reason = "the ring cannot know who owns the memory")]
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("there was room in the submission queue");
    }

    /// Takes the completions and tells those who wait.
    fn reap(&mut self) {
        let mut done = std::mem::take(&mut self.done);
        done.extend(
            self.ring.completion().map(|entry: cqueue::Entry| (entry.user_data(), entry.result())),
        );
        for (place, result) in done.drain(..) {
            if place == WAKE {
                self.watching = false;
                let mut count = [0; 8];
                // Empty is fine too: it was a hint.
                let _ = rustix::io::read(&self.bell.event, &mut count);
                continue;
            }
            let place = usize::try_from(place).expect("places are usize");
            let Some(flying) = self.flying.get_mut(place).and_then(Option::take) else { continue };
            self.free.push(place);
            let count = usize::try_from(result);
            let count = count.map_err(|_| io::Error::from_raw_os_error(result.saturating_neg()));
            (self.finish)(flying.ticket, flying.buffer, count);
        }
        self.done = done;
    }

    /// The ring does not work any more: everyone is told so.
    fn give_up(&mut self, error: &io::Error) {
        tracing::error!(%error, in_flight = self.in_flight(), "the ring of direct reads broke");
        for ticket in self.abandon() {
            (self.finish)(ticket, BytesMut::new(), Err(io::ErrorKind::Other.into()));
        }
        while let Ok(read) = self.orders.try_recv() {
            (self.finish)(read.ticket, read.buffer, Err(io::ErrorKind::Other.into()));
        }
    }

    /// Whether the kernel still writes to what is in flight is not known, so that memory is never
    /// used again.
    fn abandon(&mut self) -> Vec<T> {
        let abandon = |flying: Flying<T>| {
            std::mem::forget((flying.file, flying.buffer));
            flying.ticket
        };
        self.flying.drain(..).flatten().map(abandon).collect()
    }
}

impl<T> Drop for Driver<T> {
    /// Nothing is in flight at the ordinary end; after a panic there may be.
    fn drop(&mut self) {
        self.abandon();
    }
}

fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::INTR, Errno::BUSY, Errno::AGAIN, Errno::NOMEM, Errno::TIME];
    passing.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests;
