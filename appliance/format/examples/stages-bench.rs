//! How fast each stage of the write path is, one thread, in MB/s of its input:
//! `cargo run --release -p format --example stages-bench`.
//!
//! What counts is how small they are against zstd: parity, table and the hash of the data see
//! stored bytes, the ids see plain ones.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a measuring tool, not a part of the product

use format::BLOCK;
use format::codec::{Nonces, Sealer};
use format::header::{Keys, RepositoryId};
use format::keys::{DataKey, KeyRing, Secret};
use format::parity::{ParityWriter, ZONE};
use format::record::Kind;
use std::time::Instant;

const CHUNK: usize = 1 << 20;

fn main() {
    let noise = noise(4 * ZONE);
    let text = text(64 * CHUNK);
    let keys = Keys::derive(&Secret::new(&[1; 32]));
    rate("parity 240+2 and table", &noise, |bytes| {
        let mut writer = ParityWriter::new();
        bytes.chunks(4 * CHUNK).for_each(|piece| writer.write(piece));
        writer.finish().unwrap().table.len()
    });
    rate("table alone", &noise, |bytes| {
        bytes.chunks(BLOCK).map(|block| crc32fast::hash(block) as usize).fold(0, |a, b| a ^ b)
    });
    rate("BLAKE3 of the data", &noise, |bytes| {
        let mut hasher = blake3::Hasher::new();
        for piece in bytes.chunks(4 * CHUNK) {
            hasher.update(piece);
        }
        usize::from(hasher.finalize().as_bytes()[0])
    });
    rate("chunk id", &noise, |bytes| {
        bytes.chunks(CHUNK).map(|chunk| usize::from(keys.chunk_id(chunk).0[0])).sum()
    });
    for (what, bytes) in [("noise", &noise), ("text", &text)] {
        for encrypted in [false, true] {
            let mut sealer = sealer(encrypted);
            let how = if encrypted { "zstd 1 and XChaCha20" } else { "zstd 1" };
            rate(&format!("record, {what}, {how}"), bytes, |bytes| {
                let id = model::ChunkId([0; 32]);
                let seal = |chunk| sealer.seal(Kind::Chunk, id, chunk).unwrap().stored.len();
                bytes.chunks(CHUNK).map(seal).sum()
            });
        }
    }
}

fn sealer(encrypted: bool) -> Sealer {
    let mut sealer = Sealer::new(RepositoryId([1; 16]), 1).unwrap();
    if encrypted {
        let mut ring = KeyRing::new();
        ring.insert(1, &DataKey::new(&[2; 32]));
        let mut count = 0u64;
        let nonces: Nonces = Box::new(move || {
            count += 1;
            let mut nonce = [0; 24];
            nonce[..8].copy_from_slice(&count.to_le_bytes());
            Ok(nonce)
        });
        sealer.encrypt(&ring, 1, nonces).unwrap();
    }
    sealer
}

/// The best of five runs: the machine may be busy with other things.
fn rate(what: &str, bytes: &[u8], mut work: impl FnMut(&[u8]) -> usize) {
    let seconds = (0..5).map(|_| {
        let begun = Instant::now();
        std::hint::black_box(work(std::hint::black_box(bytes)));
        begun.elapsed().as_secs_f64()
    });
    let best = seconds.fold(f64::INFINITY, f64::min);
    #[allow(clippy::cast_precision_loss)]
    let megabytes = bytes.len() as f64 / 1e6;
    println!("{what:<42} {:>8.0} MB/s", megabytes / best);
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that zstd halves or better: words of a small vocabulary in an order without a pattern.
fn text(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    let mut state = 1u64;
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let word = (state >> 33) % 4000;
        bytes.extend_from_slice(format!("w{:x} ", word * word * 7919).as_bytes());
    }
    bytes.truncate(length);
    bytes
}
