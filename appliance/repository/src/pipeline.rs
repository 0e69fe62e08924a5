//! Who carries the work: threads behind bounded queues, or the caller itself.
//!
//! ```text
//! put -> [tasks] -> workers: hash, look up, compress, append to a buffer
//!                   -> [writes] -> writer: hash the stored bytes, write
//!                                  -> [seals] -> sealer: footer, sync, read back, rename
//! ```
//! Each stage waits only for later ones, so there is no cycle. With `workers: 0` the same
//! functions are called in place, in the same order: what tests cut the power of.

use crate::StoreError;
use crate::buffer::Buffer;
use crate::core::locked;
use crate::disk::Task;
use crate::point::PointState;
use crate::segment::{Closing, SegmentFile};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Chunks that wait for each worker.
const TASKS_PER_WORKER: usize = 2;
/// Buffers that wait for the writer, and that are kept to be used again.
const BUFFERS: usize = 3;

/// What the writer does.
pub(crate) enum WriteJob {
    /// Append to an open segment.
    Data { file: Arc<SegmentFile>, bytes: Buffer },
    /// All records are written: pass it on to the sealer.
    Finish { closing: Closing },
}

enum Message<T> {
    Do(T),
    Stop,
}

type Job<T> = Message<(Arc<PointState>, T)>;

/// Senders into the queues, or none.
pub(crate) struct Carrier {
    queues: Option<Queues>,
    buffers: Mutex<Vec<Buffer>>,
}

struct Queues {
    tasks: Sender<Job<Task>>,
    writes: Sender<Job<WriteJob>>,
    seals: Sender<Job<Closing>>,
}

struct Ends {
    tasks: Receiver<Job<Task>>,
    writes: Receiver<Job<WriteJob>>,
    seals: Receiver<Job<Closing>>,
}

/// The threads; they end when this is dropped.
pub(crate) struct Threads {
    carrier: Arc<crate::core::Core>,
    workers: usize,
    handles: Vec<JoinHandle<()>>,
}

/// What [`Threads::start`] needs of the queues.
pub(crate) struct Idle(Option<Ends>);

impl Carrier {
    pub(crate) fn new(workers: usize) -> (Self, Idle) {
        let buffers = Mutex::new(Vec::new());
        if workers == 0 {
            return (Self { queues: None, buffers }, Idle(None));
        }
        let (tasks, tasks_end) = bounded(workers * TASKS_PER_WORKER);
        let (writes, writes_end) = bounded(BUFFERS);
        let (seals, seals_end) = bounded(1);
        let ends = Ends { tasks: tasks_end, writes: writes_end, seals: seals_end };
        (Self { queues: Some(Queues { tasks, writes, seals }), buffers }, Idle(Some(ends)))
    }

    /// An empty buffer for records.
    pub(crate) fn buffer(&self) -> Buffer {
        locked(&self.buffers).pop().unwrap_or_else(Buffer::new)
    }

    pub(crate) fn give_back(&self, mut buffer: Buffer) {
        buffer.clear();
        let mut buffers = locked(&self.buffers);
        if buffers.len() < BUFFERS {
            buffers.push(buffer);
        }
    }

    /// Hands a chunk to a worker; waits while all are busy.
    pub(crate) fn task(&self, point: &Arc<PointState>, task: Task) -> Result<(), StoreError> {
        match &self.queues {
            Some(queues) => send(&queues.tasks, point, task).inspect_err(|_| drop(point.arrival())),
            None => {
                let core = Arc::clone(&point.core);
                run_task(point, task, &mut locked(&core.sealer));
                point.check()
            }
        }
    }

    /// Hands a job to the writer; waits while it is busy.
    pub(crate) fn write(&self, point: &Arc<PointState>, job: WriteJob) -> Result<(), StoreError> {
        match &self.queues {
            Some(queues) => {
                let finishes = matches!(job, WriteJob::Finish { .. });
                send(&queues.writes, point, job).inspect_err(|_| {
                    if finishes {
                        point.sealing_ends();
                    }
                })
            }
            None => {
                run_write(point, job);
                point.check()
            }
        }
    }

    fn seal(&self, point: &Arc<PointState>, closing: Closing) {
        match &self.queues {
            Some(queues) => {
                if let Err(error) = send(&queues.seals, point, closing) {
                    point.fail(error);
                    point.sealing_ends();
                }
            }
            None => run_seal(point, closing),
        }
    }
}

fn send<T>(queue: &Sender<Job<T>>, point: &Arc<PointState>, job: T) -> Result<(), StoreError> {
    queue.send(Message::Do((Arc::clone(point), job))).map_err(|_| StoreError::Failed {
        reason: "the repository's threads have ended".into(),
        kind: model::ErrorKind::Retryable,
    })
}

fn run_task(point: &Arc<PointState>, task: Task, sealer: &mut format::codec::Sealer) {
    let _arrived = point.arrival();
    if !point.has_failed()
        && let Err(error) = task.run(point, sealer)
    {
        point.fail(error);
    }
}

fn run_write(point: &Arc<PointState>, job: WriteJob) {
    match job {
        WriteJob::Data { file, bytes } => {
            if !point.has_failed()
                && let Err(error) = file.write(&point.core, &bytes)
            {
                point.fail(error);
            }
            point.core.carrier.give_back(bytes);
        }
        WriteJob::Finish { closing } => point.core.carrier.seal(point, closing),
    }
}

fn run_seal(point: &Arc<PointState>, closing: Closing) {
    if !point.has_failed() {
        match closing.seal(&point.core) {
            Ok(done) => point.sealed(done),
            Err(error) => point.fail(error),
        }
    }
    point.sealing_ends();
}

impl Threads {
    pub(crate) fn start(core: &Arc<crate::core::Core>, idle: Idle) -> Result<Self, StoreError> {
        let workers = core.options.workers;
        let mut threads = Self { carrier: Arc::clone(core), workers, handles: Vec::new() };
        let Some(ends) = idle.0 else { return Ok(threads) };
        for number in 0..workers {
            let tasks = ends.tasks.clone();
            let (mut epoch, mut sealer) = (core.epoch(), core.new_sealer()?);
            threads.spawn(format!("repo-worker-{number}"), move || {
                each(&tasks, |point, task| {
                    let newest = point.core.epoch();
                    if newest != epoch {
                        match point.core.new_sealer() {
                            Ok(new) => (epoch, sealer) = (newest, new),
                            Err(error) => point.fail(error),
                        }
                    }
                    run_task(&point, task, &mut sealer);
                });
            })?;
        }
        let writes = ends.writes;
        threads.spawn("repo-writer".into(), move || {
            each(&writes, |point, job| run_write(&point, job));
        })?;
        let seals = ends.seals;
        threads.spawn("repo-sealer".into(), move || {
            each(&seals, |point, closing| run_seal(&point, closing));
        })?;
        Ok(threads)
    }

    fn spawn(
        &mut self,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), StoreError> {
        let spawned = std::thread::Builder::new().name(name).spawn(work);
        self.handles.push(spawned.map_err(StoreError::io("starting a thread for", ""))?);
        Ok(())
    }
}

fn each<T>(queue: &Receiver<Job<T>>, mut work: impl FnMut(Arc<PointState>, T)) {
    while let Ok(Message::Do((point, job))) = queue.recv() {
        work(point, job);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some(queues) = &self.carrier.carrier.queues else { return };
        // Points keep this alive until their work is done, so the queues are empty.
        for _ in 0..self.workers {
            let _ = queues.tasks.send(Message::Stop); // fails only when nobody listens any more
        }
        let _ = queues.writes.send(Message::Stop);
        let _ = queues.seals.send(Message::Stop);
        for handle in self.handles.drain(..) {
            if handle.join().is_err() {
                tracing::error!("a thread of the repository had panicked");
            }
        }
    }
}
