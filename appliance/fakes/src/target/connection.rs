//! One connection: requests in, answers out, unless a rule says otherwise.

use super::login::{self, Declared};
use super::rule::choose;
use super::{Exchange, NAME, Pdu, Shared, Then, device};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Notify};

/// The numbers and agreements of a session.
#[derive(Debug)]
struct Session {
    stat_sn: u32,
    expected_cmd_sn: u32,
    declared: Declared,
    full: bool,
}

/// What the tasks of a connection share.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    number: usize,
    session: Mutex<Session>,
    writer: AsyncMutex<OwnedWriteHalf>,
    ended: Notify,
    closed: AtomicBool,
}

/// Whether the connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    On,
    Over,
}

impl Connection {
    pub(super) fn serve(stream: TcpStream, shared: Arc<Shared>, number: usize) {
        let (reader, writer) = stream.into_split();
        let session = Session {
            stat_sn: shared.spec.first_stat_sn,
            expected_cmd_sn: 0,
            declared: Declared::default(),
            full: false,
        };
        let connection = Arc::new(Self {
            shared: Arc::clone(&shared),
            number,
            session: Mutex::new(session),
            writer: AsyncMutex::new(writer),
            ended: Notify::new(),
            closed: AtomicBool::new(false),
        });
        shared.lock().open.push(Arc::clone(&connection));
        tokio::spawn(async move {
            tokio::select! {
                () = connection.requests(reader) => {}
                () = connection.ended.notified() => {}
            }
            connection.close().await;
        });
    }

    pub(super) fn stop(&self) {
        self.closed.store(true, SeqCst);
        self.ended.notify_one();
    }

    async fn close(&self) {
        self.closed.store(true, SeqCst);
        // A peer that is gone needs no farewell.
        let _ = self.writer.lock().await.shutdown().await;
        self.shared.lock().open.retain(|open| open.number != self.number);
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Digests in use now: none before the full feature phase.
    fn digests(&self) -> (bool, bool) {
        let session = self.session();
        if session.full { session.declared.digests } else { (false, false) }
    }

    async fn requests(self: &Arc<Self>, mut reader: OwnedReadHalf) {
        while let Ok(Some(request)) = Pdu::read(&mut reader, self.digests()).await {
            let then = {
                let mut state = self.shared.lock();
                state.seen[self.number].1.push(request.clone());
                choose(&mut state.rules, &request)
            };
            self.count(&request);
            if self.act(request, then).await == Next::Over {
                return;
            }
        }
    }

    /// A request that is not immediate uses its CmdSN up; a login sets where they begin.
    fn count(&self, request: &Pdu) {
        let mut session = self.session();
        if request.opcode() == 0x03 {
            session.expected_cmd_sn = request.word(24);
        } else if !request.is_immediate() && request.opcode() != 0x05 {
            session.expected_cmd_sn = request.word(24).wrapping_add(1);
        }
    }

    async fn act(self: &Arc<Self>, request: Pdu, then: Option<Then>) -> Next {
        match then {
            None => return self.usual(request).await,
            Some(Then::Silence) => {}
            Some(Then::Close) => return Next::Over,
            Some(Then::Later(delay)) => {
                let connection = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    if !connection.closed.load(SeqCst)
                        && connection.usual(request).await == Next::Over
                    {
                        connection.stop();
                    }
                });
            }
            Some(Then::Status(status, sense)) => self.status(request, status, &sense).await,
            Some(Then::LoginStatus(class, detail, text)) => {
                let exchange = self.exchange(request, Vec::new());
                let answer = exchange.answer(0x23, 0).byte(36, class).byte(37, detail);
                self.send(vec![answer.data(text.into_bytes())]).await;
            }
            Some(Then::Instead(make)) => {
                let pdus = make(&self.prepared(request));
                self.send(pdus).await;
            }
            Some(Then::Before(make)) => {
                let pdus = make(&self.prepared(request.clone()));
                self.send(pdus).await;
                return self.usual(request).await;
            }
            Some(Then::LastWords(make)) => {
                let pdus = make(&self.prepared(request));
                self.send(pdus).await;
                return Next::Over;
            }
        }
        Next::On
    }

    fn exchange(&self, request: Pdu, data: Vec<u8>) -> Exchange {
        let window = self.shared.lock().window;
        let session = self.session();
        let max = session.expected_cmd_sn.wrapping_add(window).wrapping_sub(1);
        Exchange { request, data, numbers: [session.stat_sn, session.expected_cmd_sn, max] }
    }

    /// With the data that the device would send.
    fn prepared(&self, request: Pdu) -> Exchange {
        let data = if request.opcode() == 0x01 { self.device(&request).ok() } else { None };
        self.exchange(request, data.unwrap_or_default())
    }

    fn device(&self, request: &Pdu) -> device::Reply {
        let state = self.shared.lock();
        device::run(&state.disks, &state.states, request.lun(), request.cdb())
    }

    pub(super) async fn announce(&self, make: &impl Fn(&Exchange) -> Vec<Pdu>) {
        let pdus = make(&self.exchange(Pdu::new(0, 0), Vec::new()));
        self.send(pdus).await;
    }

    /// Sends, and counts the statuses among them on.
    async fn send(&self, pdus: Vec<Pdu>) {
        let digests = self.digests();
        let mut bytes = Vec::new();
        for pdu in &pdus {
            bytes.extend(pdu.encode(digests));
            let carries_none = match pdu.opcode() {
                0x25 => pdu.header[1] & 1 == 0,
                0x20 => pdu.word(16) == u32::MAX,
                0x31 => true,
                _ => false,
            };
            if !carries_none {
                let mut session = self.session();
                session.stat_sn = session.stat_sn.wrapping_add(1);
            }
        }
        // An initiator that hangs up is noticed by the reading side.
        let _ = self.writer.lock().await.write_all(&bytes).await;
    }

    async fn status(&self, request: Pdu, status: u8, sense: &[u8]) {
        let answer = self.exchange(request, Vec::new()).answer(0x21, 0x80).byte(3, status);
        let length = u16::try_from(sense.len()).expect("sense is short").to_be_bytes();
        let data = if sense.is_empty() { Vec::new() } else { [&length[..], sense].concat() };
        self.send(vec![answer.data(data)]).await;
    }

    /// What the standard says.
    async fn usual(&self, request: Pdu) -> Next {
        match request.opcode() {
            0x00 if request.word(16) != u32::MAX => {
                let pong = self.exchange(request, Vec::new()).answer(0x20, 0x80);
                self.send(vec![pong.with(20, u32::MAX)]).await;
            }
            0x01 => self.command(request).await,
            0x02 => {
                let answer = self.exchange(request, Vec::new()).answer(0x22, 0x80);
                self.send(vec![answer]).await;
            }
            0x03 => self.login(request).await,
            0x04 => {
                let address = format!("{},1", self.shared.address);
                let answer = self.exchange(request, Vec::new()).answer(0x24, 0x80);
                let answer = answer.with(20, u32::MAX);
                let list = [("TargetName", NAME), ("TargetAddress", address.as_str())];
                self.send(vec![answer.text(&list)]).await;
            }
            0x06 => {
                let answer = self.exchange(request, Vec::new()).answer(0x26, 0x80);
                self.send(vec![answer]).await;
                return Next::Over;
            }
            _ => {}
        }
        Next::On
    }

    async fn login(&self, request: Pdu) {
        let exchange = self.exchange(request, Vec::new());
        let (answer, full) = {
            let mut session = self.session();
            login::answer(&self.shared.spec, &exchange, &mut session.declared)
        };
        self.send(vec![answer]).await;
        self.session().full |= full;
    }

    async fn command(&self, request: Pdu) {
        let data = match self.device(&request) {
            Ok(data) => data,
            Err((status, sense)) => return self.status(request, status, &sense).await,
        };
        let expected = usize::try_from(request.word(20)).unwrap_or(usize::MAX);
        let allocated = allocation(&request.cdb()).unwrap_or(expected).min(expected);
        let exchange = self.exchange(request, data);
        let length = exchange.data.len().min(allocated);
        let segment = self.session().declared.segment.unwrap_or(8192).min(self.shared.spec.segment);
        let mut pdus = Vec::new();
        let mut at = 0;
        for sn in 0.. {
            if at >= length {
                break;
            }
            let end = (at + segment).min(length);
            pdus.push(exchange.data_in(sn, at..end, false));
            at = end;
        }
        let missing = u32::try_from(expected - length).unwrap_or(u32::MAX);
        let flags = if missing > 0 { 0x82 } else { 0x80 };
        pdus.push(exchange.answer(0x21, flags).with(44, missing));
        self.send(pdus).await;
    }
}

/// Bytes that a command has room for, where its CDB says so; a READ has a count of blocks.
fn allocation(cdb: &[u8; 16]) -> Option<usize> {
    let field = |range: std::ops::Range<usize>| {
        cdb[range].iter().fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
    };
    match cdb[0] {
        0x03 | 0x1a => Some(field(4..5)),
        0x12 => Some(field(3..5)),
        0x5a | 0x5e => Some(field(7..9)),
        0x9e => Some(field(10..14)),
        0xa0 | 0xa3 => Some(field(6..10)),
        _ => None,
    }
}
