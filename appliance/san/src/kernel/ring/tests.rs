use super::*;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

type End = (u64, BytesMut, io::Result<usize>);
type Ticket = (u64, mpsc::Sender<End>);

fn finish((number, sender): Ticket, buffer: BytesMut, result: io::Result<usize>) {
    let _ = sender.send((number, buffer, result)); // a test may look away
}

fn ring(test: &str) -> Option<Ring<Ticket>> {
    match Ring::start(finish) {
        Ok(ring) => Some(ring),
        Err(error) => {
            println!("SKIPPED: {test}: no io_uring here: {error}");
            None
        }
    }
}

/// A file of which every byte depends on its place.
fn content(length: usize) -> (Arc<OwnedFd>, Vec<u8>) {
    let mut next = 1_u32;
    let mut random = || {
        next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        next.to_be_bytes()[0]
    };
    let bytes: Vec<u8> = (0..length).map(|_| random()).collect();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    (Arc::new(OwnedFd::from(file)), bytes)
}

fn read(
    ring: &Ring<Ticket>,
    file: &Arc<OwnedFd>,
    offset: u64,
    length: usize,
    to: &mpsc::Sender<End>,
) {
    let (file, buffer) = (Arc::clone(file), BytesMut::zeroed(length));
    ring.read(Read { file, offset, buffer, ticket: (offset, to.clone()) }).unwrap();
}

#[test]
fn far_more_reads_than_places_all_come_back_with_their_own_bytes() {
    let Some(ring) = ring("far_more_reads_than_places") else { return };
    let (file, bytes) = content(1 << 20);
    let (to, ends) = mpsc::channel();
    let offsets = (0..5000_u64).map(|number| number.wrapping_mul(7919) % (1 << 20));
    let mut wanted = 0;
    for offset in offsets {
        read(&ring, &file, offset, 700, &to);
        wanted += 1;
    }
    drop(to);
    drop(ring);
    let mut seen = 0;
    for (offset, buffer, result) in ends {
        let begin = usize::try_from(offset).unwrap();
        let length = result.unwrap();
        assert_eq!(length, 700.min(bytes.len() - begin), "less only at the end");
        assert!(buffer[..length] == bytes[begin..begin + length], "bytes at {offset}");
        seen += 1;
    }
    assert_eq!(seen, wanted);
}

#[test]
fn one_after_the_other_wakes_a_sleeping_ring_each_time() {
    let Some(ring) = ring("one_after_the_other") else { return };
    let (file, bytes) = content(4096);
    let (to, ends) = mpsc::channel();
    for offset in 0..200 {
        read(&ring, &file, offset, 8, &to);
        let (_, buffer, result) = ends.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(result.unwrap(), 8);
        let begin = usize::try_from(offset).unwrap();
        assert_eq!(buffer, bytes[begin..begin + 8]);
    }
}

#[test]
fn the_kernels_error_comes_back() {
    let Some(ring) = ring("the_kernels_error_comes_back") else { return };
    let folder = Arc::new(OwnedFd::from(File::open("/").unwrap()));
    let (to, ends) = mpsc::channel();
    read(&ring, &folder, 0, 512, &to);
    let (_, buffer, result) = ends.recv().unwrap();
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(buffer.len(), 512, "the buffer comes back as well");
}

/// A pipe that nobody writes to stands for a device that does not answer.
#[test]
fn nobody_left_does_not_free_what_the_kernel_still_has() {
    let Some(ring) = ring("nobody_left") else { return };
    let (reading, writing) = rustix::pipe::pipe().unwrap();
    let reading = Arc::new(reading);
    let (to, ends) = mpsc::channel();
    read(&ring, &reading, 0, 4, &to);
    drop((ring, to));
    let waiting = ends.recv_timeout(Duration::from_millis(100));
    assert_eq!(waiting.unwrap_err(), mpsc::RecvTimeoutError::Timeout, "it is still in flight");
    assert_eq!(Arc::strong_count(&reading), 2, "the ring holds the descriptor");
    rustix::io::write(&writing, b"late").unwrap();
    let (_, buffer, result) = ends.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!((result.unwrap(), &buffer[..]), (4, &b"late"[..]));
    assert!(ends.recv().is_err(), "then the thread ends");
}

#[test]
fn a_panic_in_the_end_of_a_read_frees_nothing_that_flies() {
    fn refuse((): (), _: BytesMut, _: io::Result<usize>) {
        panic!("on purpose");
    }
    let Ok(ring) = Ring::start(refuse) else { return };
    let (reading, _writing) = rustix::pipe::pipe().unwrap();
    let reading = Arc::new(reading);
    let (file, _) = content(512);
    let order = |file: &Arc<OwnedFd>| {
        let (file, buffer) = (Arc::clone(file), BytesMut::zeroed(16));
        ring.read(Read { file, offset: 0, buffer, ticket: () })
    };
    order(&reading).unwrap();
    order(&file).unwrap();
    // The thread ends, and from then on orders come back.
    for _ in 0..1000 {
        if order(&file).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(order(&file).is_err());
    assert_eq!(Arc::strong_count(&reading), 2, "what was in flight is kept for ever");
}
