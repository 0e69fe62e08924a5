//! An iSCSI target on loopback that does what a test tells it to, however wrong that is.
//!
//! Without orders it behaves well: it lets everybody in and serves disks from memory. A [`Rule`]
//! says when it does something else, and how often. Whatever arrives is kept, so that a test can
//! look at what an initiator really sent. It shares no code with the initiator under test, and
//! runs on the test's own tokio runtime, so that time may stand still there.
//!
//! ```text
//!   PDU in --> seen --> first rule that fits? --yes--> what the rule says
//!                                  +-----------no----> session, device: as the standard says
//! ```

mod connection;
mod device;
mod login;
mod pdu;
mod rule;

pub use device::{Disk, sense};
pub use pdu::Pdu;
pub use rule::{Exchange, Rule, Then, When};

use connection::Connection;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The iSCSI name of every fake target.
pub const NAME: &str = "iqn.2026-01.test.fake:target";

/// What a target is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its disks. REPORT LUNS works on LUN 0 whether or not there is one.
    pub disks: Vec<Disk>,
    /// Commands that the initiator may have sent beyond the last one that was taken.
    pub window: u32,
    /// StatSN of the first answer.
    pub first_stat_sn: u32,
    /// Bytes of data in one PDU at most; less if the initiator takes less.
    pub segment: usize,
    /// Whether header and data digests are chosen when they are on offer.
    pub digests: (bool, bool),
    /// Added to the answer in the operational stage.
    pub keys: Vec<(String, String)>,
    /// Target port groups: number and state (a nibble of SPC-4). The target's own is the first.
    pub groups: Vec<(u16, u8)>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            disks: vec![Disk::new(1, 1 << 20)],
            window: 64,
            first_stat_sn: 0,
            segment: 256 * 1024,
            digests: (false, false),
            keys: vec![("DefaultTime2Wait".into(), "0".into())],
            groups: Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    /// Per connection, in the order of their coming: when it came, and its PDUs.
    seen: Vec<(Instant, Vec<Pdu>)>,
    open: Vec<Arc<Connection>>,
    disks: Vec<Disk>,
    states: Vec<(u16, u8)>,
    window: u32,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    spec: Spec,
    address: SocketAddr,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running target. Dropping it closes everything.
#[derive(Debug)]
pub struct FakeTarget {
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

impl FakeTarget {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(spec: Spec) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (disks, states, window) = (spec.disks.clone(), spec.groups.clone(), spec.window);
        let state = State { disks, states, window, ..State::default() };
        let shared = Arc::new(Shared { spec, address, state: Mutex::new(state) });
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, acceptor })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Adds a rule behind those that are there.
    pub fn rule(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn behave(&self) {
        self.shared.lock().rules.clear();
    }

    /// Rules that have something left to do.
    #[must_use]
    pub fn rules_left(&self) -> usize {
        self.shared.lock().rules.iter().filter(|rule| rule.times > 0).count()
    }

    /// Sends PDUs that nobody asked for on every open connection.
    pub async fn announce(&self, make: impl Fn(&Exchange) -> Vec<Pdu>) {
        let open = self.shared.lock().open.clone();
        for connection in open {
            connection.announce(&make).await;
        }
    }

    /// Changes the window that the next PDU tells; 0 closes it.
    pub fn set_window(&self, window: u32) {
        self.shared.lock().window = window;
    }

    /// Changes its disks. Nobody is told: a rule may.
    pub fn set_disks(&self, disks: Vec<Disk>) {
        self.shared.lock().disks = disks;
    }

    /// Changes the state of a target port group.
    pub fn set_state(&self, group: u16, state: u8) {
        for entry in &mut self.shared.lock().states {
            if entry.0 == group {
                entry.1 = state;
            }
        }
    }

    /// When each connection came.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Instant> {
        self.shared.lock().seen.iter().map(|(at, _)| *at).collect()
    }

    /// Everything that arrived, per connection.
    #[must_use]
    pub fn seen(&self) -> Vec<Vec<Pdu>> {
        self.shared.lock().seen.iter().map(|(_, pdus)| pdus.clone()).collect()
    }

    /// The CDB of every SCSI command that arrived, over all connections.
    #[must_use]
    pub fn cdbs(&self) -> Vec<[u8; 16]> {
        let seen = self.seen();
        let commands = seen.iter().flatten().filter(|pdu| pdu.opcode() == 0x01);
        commands.map(|pdu| pdu.cdb()).collect()
    }

    /// How many commands with that operation code arrived.
    #[must_use]
    pub fn count(&self, opcode: u8) -> usize {
        self.cdbs().iter().filter(|cdb| cdb[0] == opcode).count()
    }
}

impl Drop for FakeTarget {
    fn drop(&mut self) {
        self.acceptor.abort();
        for connection in self.shared.lock().open.drain(..) {
            connection.stop();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut state = shared.lock();
            state.seen.push((Instant::now(), Vec::new()));
            state.seen.len() - 1
        };
        Connection::serve(stream, Arc::clone(&shared), number);
    }
}
