//! A LUN that is read without an end, while something happens to its paths.

use san::Lun;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long reading may stand still.
const SOON: Duration = Duration::from_secs(20);

/// Reads all the time, and compares every byte.
pub struct Reading {
    stop: Arc<AtomicBool>,
    pieces: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Reading {
    const PIECE: usize = 300_001;

    pub fn start(lun: &Lun, content: &[u8]) -> Self {
        let (lun, content) = (lun.clone(), content.to_vec());
        let (stop, pieces) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (end, count) = (Arc::clone(&stop), Arc::clone(&pieces));
        let task = tokio::spawn(async move {
            let mut at = 0;
            while !end.load(Relaxed) {
                let read = lun.read(at as u64, Self::PIECE).await.unwrap();
                let wanted = &content[at..at + Self::PIECE];
                assert_eq!(lab::noise::difference(&read, wanted), None, "at {at}");
                count.fetch_add(1, Relaxed);
                at = (at + Self::PIECE) % (content.len() - Self::PIECE);
            }
        });
        Self { stop, pieces, task }
    }

    /// Waits until some more has been read.
    pub async fn goes_on(&self) {
        let (limit, wanted) = (Instant::now() + SOON, self.pieces.load(Relaxed) + 5);
        while self.pieces.load(Relaxed) < wanted {
            assert!(!self.task.is_finished(), "reading has failed");
            assert!(Instant::now() < limit, "reading stands still");
            tokio::time::sleep(Duration::from_millis(10)).await; // polls the reader
        }
    }

    pub async fn end(self) {
        self.stop.store(true, Relaxed);
        self.task.await.unwrap();
    }
}
