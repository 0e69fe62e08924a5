//! A TCP relay on loopback that cuts, stalls and damages on command.
//!
//! Positions count the bytes that went *to the client* since the order was given, over all
//! connections, so that a test can say 'in the middle of the next read'. What the client sent
//! is kept, so that a test can look at what a target really saw.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes kept of each connection's requests; later ones are relayed but not kept.
const RECORD_MAX: usize = 64 << 20;
const BUFFER: usize = 64 * 1024;

/// What is to be done to the stream towards the client.
#[derive(Debug, Default)]
struct Orders {
    /// Bytes left until the connection is cut.
    cut_in: Option<u64>,
    /// The same for each connection that is still to come.
    cut_each_in: Option<u64>,
    /// Bytes left until one byte is damaged.
    flip_in: Option<u64>,
    stalled: bool,
    refusing: bool,
    closing: bool,
}

#[derive(Debug, Default)]
struct State {
    orders: Orders,
    relayed: u64,
    accepted: u64,
    /// Both ends of every connection, to be cut.
    open: Vec<(TcpStream, TcpStream)>,
    requests: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The relay. Dropping it closes everything and ends its threads.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and relays every connection to `upstream`.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, upstream, &for_thread));
        Ok(Self { shared, address, acceptor: Some(acceptor) })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the connection once `bytes` more have gone to the client. Happens once.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.order(|orders| orders.cut_in = Some(bytes));
    }

    /// Cuts every connection that comes from now on after so many bytes, or none any more.
    pub fn cut_each_after(&self, bytes: Option<u64>) {
        self.shared.order(|orders| orders.cut_each_in = bytes);
    }

    /// Inverts the lowest bit of the byte that comes after `bytes` more. Happens once.
    pub fn flip_at(&self, bytes: u64) {
        self.shared.order(|orders| orders.flip_in = Some(bytes));
    }

    /// Holds back everything towards the client, or lets it go again.
    pub fn stall(&self, stalled: bool) {
        self.shared.order(|orders| orders.stalled = stalled);
    }

    /// Closes new connections at once, or relays them again. Open ones are not touched.
    pub fn refuse(&self, refusing: bool) {
        self.shared.order(|orders| orders.refusing = refusing);
    }

    /// Cuts every open connection now.
    pub fn cut(&self) {
        self.shared.lock().cut_all();
    }

    /// Bytes that went to clients.
    #[must_use]
    pub fn relayed(&self) -> u64 {
        self.shared.lock().relayed
    }

    /// Connections that were accepted, refused ones included.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// What clients sent, per connection in the order of their coming.
    #[must_use]
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.shared.lock().requests.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.order(|orders| orders.closing = true);
        self.shared.lock().cut_all();
        // Wakes the acceptor; if that fails it is gone already.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join(); // a panic in it has been printed
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock().orders);
        self.changed.notify_all();
    }

    /// Waits while stalled; then applies the orders to `bytes`. Returns how many of them are to
    /// be relayed and whether the connection ends there.
    fn treat(&self, bytes: &mut [u8]) -> (usize, bool) {
        let mut state = self.lock();
        while state.orders.stalled && !state.orders.closing {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (keep, cut) = match state.orders.cut_in {
            Some(left) if left <= bytes.len() as u64 => {
                state.orders.cut_in = None;
                (usize::try_from(left).unwrap_or(usize::MAX), true)
            }
            Some(left) => {
                state.orders.cut_in = Some(left - bytes.len() as u64);
                (bytes.len(), false)
            }
            None => (bytes.len(), false),
        };
        if let Some(left) = state.orders.flip_in {
            let at = usize::try_from(left).unwrap_or(usize::MAX);
            match bytes[..keep].get_mut(at) {
                Some(byte) => {
                    *byte ^= 1;
                    state.orders.flip_in = None;
                }
                None => state.orders.flip_in = Some(left - keep as u64),
            }
        }
        state.relayed += keep as u64;
        (keep, cut || state.orders.closing)
    }
}

impl State {
    fn cut_all(&mut self) {
        for (client, server) in self.open.drain(..) {
            close(&client);
            close(&server);
        }
    }
}

/// Closing a socket that is closed already is no error.
fn close(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

fn accept(listener: &TcpListener, upstream: SocketAddr, shared: &Arc<Shared>) {
    let mut pumps = Vec::new();
    for client in listener.incoming() {
        let mut state = shared.lock();
        if state.orders.closing {
            break;
        }
        let Ok(client) = client else { continue };
        state.accepted += 1;
        state.orders.cut_in = state.orders.cut_each_in.or(state.orders.cut_in);
        let refusing = state.orders.refusing;
        drop(state);
        if refusing {
            continue; // dropped, and so closed
        }
        let Ok(server) = TcpStream::connect(upstream) else { continue };
        match pump_both(&client, &server, shared) {
            Ok(threads) => pumps.extend(threads),
            Err(_) => close(&client),
        }
    }
    for pump in pumps {
        let _ = pump.join(); // a panic in it has been printed
    }
}

fn pump_both(
    client: &TcpStream,
    server: &TcpStream,
    shared: &Arc<Shared>,
) -> io::Result<[JoinHandle<()>; 2]> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (to_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
    let number = {
        let mut state = shared.lock();
        state.open.push((client.try_clone()?, server.try_clone()?));
        state.requests.push(Vec::new());
        state.requests.len() - 1
    };
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    Ok([
        thread::spawn(move || requests(from_client, to_server, &up, number)),
        thread::spawn(move || replies(from_server, to_client, &down)),
    ])
}

fn requests(mut from: TcpStream, mut to: TcpStream, shared: &Shared, number: usize) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let kept = &mut shared.lock().requests[number];
        let room = RECORD_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    close(&from);
    close(&to);
}

fn replies(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let (keep, cut) = shared.treat(&mut buffer[..count]);
        if to.write_all(&buffer[..keep]).is_err() || cut {
            break;
        }
    }
    close(&from);
    close(&to);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends 0..=255 over and over until the client goes away.
    fn counting() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let bytes: Vec<u8> = (0..=255).collect();
                thread::spawn(move || while client.write_all(&bytes).is_ok() {});
            }
        });
        address
    }

    #[test]
    fn cuts_where_it_was_told() {
        let proxy = Proxy::start(counting()).unwrap();
        proxy.cut_after(100_001);
        let mut got = Vec::new();
        // The cut may show as an end or as a reset.
        let _ = TcpStream::connect(proxy.address()).unwrap().read_to_end(&mut got);
        assert_eq!(got.len(), 100_001);
        assert_eq!(proxy.relayed(), 100_001);
        let mut again = [0; 4];
        TcpStream::connect(proxy.address()).unwrap().read_exact(&mut again).unwrap();
        assert_eq!(again, [0, 1, 2, 3]);
    }

    #[test]
    fn damages_one_bit_of_one_byte() {
        let proxy = Proxy::start(counting()).unwrap();
        proxy.flip_at(70_000);
        let mut got = vec![0; 100_000];
        TcpStream::connect(proxy.address()).unwrap().read_exact(&mut got).unwrap();
        let wrong: Vec<_> = (0..got.len()).filter(|&at| usize::from(got[at]) != at % 256).collect();
        assert_eq!(wrong, [70_000]);
        assert_eq!(usize::from(got[70_000]), (70_000 % 256) ^ 1);
    }

    #[test]
    fn stalls_refuses_and_records() {
        let proxy = Proxy::start(counting()).unwrap();
        proxy.stall(true);
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        assert!(client.read(&mut [0]).is_err());
        proxy.stall(false);
        client.set_read_timeout(None).unwrap();
        client.read_exact(&mut [0]).unwrap();
        client.write_all(b"hello").unwrap();
        let late = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while proxy.requests() != [b"hello"] {
            assert!(std::time::Instant::now() < late, "the request was not relayed");
            thread::yield_now();
        }
        proxy.refuse(true);
        let mut refused = TcpStream::connect(proxy.address()).unwrap();
        assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)));
        assert_eq!(proxy.accepted(), 2);
        proxy.cut();
        while client.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
    }
}
