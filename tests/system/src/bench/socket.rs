//! What the kernel alone takes to receive bytes from a socket: below it no initiator over TCP can
//! come, however little it does with them.

use super::Measurement;
use super::goal::Sides;
use super::median;
use super::rounds::ROUNDS;
use super::san::sequential_sides;
use anyhow::{Result, ensure};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

const GIB: u64 = 4;
/// As much as one READ of ours; it stays in the processor's cache.
const BUFFER: usize = 128 << 10;

/// `san.seq_read.cpu_limit_vs_libiscsi`
///
/// # Errors
/// As `san.seq_read.cpu_vs_libiscsi`, which it stands beside.
pub fn limit() -> Result<Measurement> {
    let (_, theirs, about) = sequential_sides()?;
    let rounds = (0..ROUNDS).map(|_| receiving()).collect::<Result<Vec<f64>>>()?;
    let (ours, theirs) = (median(rounds), theirs.cpu_s_per_gib);
    let note = "a thread that only receives, 128 KiB a call, from another one on loopback".into();
    let sides = Some(Sides { ours, theirs, unit: "s/GiB" });
    Ok(Measurement { value: ours / theirs, sides, note, ..about })
}

/// Processor seconds for each GiB that a thread receives.
fn receiving() -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let sending = thread::spawn(move || {
        let piece = vec![0x5a; BUFFER];
        (0..(GIB << 30) / BUFFER as u64).try_for_each(|_| sender.write_all(&piece))
    });
    let (mut buffer, mut got) = (vec![0; BUFFER], 0_u64);
    let begun = thread_time();
    while got < GIB << 30 {
        let count = receiver.read(&mut buffer)?;
        ensure!(count > 0, "the sender ended after {got} bytes");
        got += count as u64;
    }
    let seconds = thread_time() - begun;
    sending.join().expect("the sender does not panic")?;
    Ok(seconds / GIB as f64)
}

/// Processor seconds of this thread, in user and kernel mode together.
fn thread_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
