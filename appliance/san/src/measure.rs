//! How a LUN reads: latency, sequential and random throughput. It only reads, within the depth
//! that the LUN allows, for a bounded time.

use crate::{Lun, SanError};
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes of a random read.
const SMALL: usize = 4096;
/// Bytes of a sequential read.
const LARGE: usize = 1 << 20;
/// Readers at a time, for random and for sequential reads.
const READERS: (usize, usize) = (32, 8);
/// Latencies that are kept: enough for the hundredth part, few enough to be small.
const KEPT_MAX: usize = 100_000;

/// How a LUN read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Median time of one random read of 4 KiB, one at a time.
    pub latency_p50: Duration,
    /// 99 of 100 of these were quicker.
    pub latency_p99: Duration,
    /// Reads that the latency is taken from.
    pub latency_reads: u64,
    /// Bytes in a second, by reads of 1 MiB, 8 at a time, from the beginning on.
    pub sequential_bytes_per_second: u64,
    /// Reads of 4 KiB in a second, 32 at a time.
    pub random_reads_per_second: u64,
}

/// Measures for `time` in all. The LUN proves its identity before and after. `seed` chooses the
/// places that are read.
pub async fn measure(lun: &Lun, time: Duration, seed: u64) -> Result<Measured, SanError> {
    lun.verify().await?;
    let part = time / 3;
    let mut latencies = one_by_one(lun, part, seed).await?;
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(index).copied().unwrap_or_default()
    };
    let sequential = many(lun, part, Pattern::Sequential).await?;
    let random = many(lun, part, Pattern::Random(seed)).await?;
    lun.verify().await?;
    Ok(Measured {
        latency_p50: at(50),
        latency_p99: at(99),
        latency_reads: latencies.len() as u64,
        sequential_bytes_per_second: sequential,
        random_reads_per_second: random / SMALL as u64,
    })
}

async fn one_by_one(lun: &Lun, time: Duration, seed: u64) -> Result<Vec<Duration>, SanError> {
    let end = Instant::now() + time;
    let mut latencies = Vec::new();
    let mut buffer = BytesMut::new();
    let mut turn = 0;
    while Instant::now() < end && latencies.len() < KEPT_MAX {
        let (offset, length) = Pattern::Random(seed).place(lun, turn);
        let begun = Instant::now();
        buffer = lun.read_into(offset, length, buffer).await?;
        latencies.push(begun.elapsed());
        turn += 1;
    }
    Ok(latencies)
}

/// Bytes in a second by several readers, who take turns at the next place.
async fn many(lun: &Lun, time: Duration, pattern: Pattern) -> Result<u64, SanError> {
    let (next, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut readers = JoinSet::new(); // ends with us
    for _ in 0..pattern.readers() {
        let (lun, next) = (lun.clone(), Arc::clone(&next));
        readers.spawn(async move {
            let (mut buffer, mut bytes) = (BytesMut::new(), 0);
            while begun.elapsed() < time {
                let (offset, length) = pattern.place(&lun, next.fetch_add(1, Relaxed));
                buffer = lun.read_into(offset, length, buffer).await?;
                bytes += length as u64;
            }
            Ok::<u64, SanError>(bytes)
        });
    }
    let mut bytes = 0;
    while let Some(ended) = readers.join_next().await {
        match ended {
            Ok(read) => bytes += read?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    let micros = begun.elapsed().as_micros().max(1);
    Ok(u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX))
}

#[derive(Clone, Copy)]
enum Pattern {
    Sequential,
    Random(u64),
}

impl Pattern {
    fn readers(self) -> usize {
        match self {
            Self::Random(_) => READERS.0,
            Self::Sequential => READERS.1,
        }
    }

    /// Where the read with this number lies. A LUN smaller than one read is read as a whole.
    fn place(self, lun: &Lun, turn: u64) -> (u64, usize) {
        let capacity = lun.info().capacity;
        let (length, turn) = match self {
            Self::Sequential => (LARGE, turn),
            Self::Random(seed) => (SMALL, mixed(seed.wrapping_add(turn))),
        };
        let count = capacity / length as u64;
        let all = usize::try_from(capacity).unwrap_or(length);
        match turn.checked_rem(count) {
            Some(place) => (place * length as u64, length),
            None => (0, length.min(all)),
        }
    }
}

/// splitmix64: numbers that follow each other lie far apart.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
