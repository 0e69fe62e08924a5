//! The state machine on a socket, without the driver: for what the driver does not ask or set.

use bytes::BytesMut;
use iscsi::{Command, Completion, Config, Connection, Event, Outcome, Time};
use scsi::Cdb;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One session; commands one after another.
pub(crate) struct Raw {
    stream: TcpStream,
    pub(crate) connection: Connection<()>,
}

pub(crate) fn config(target: &str) -> Config {
    Config {
        initiator: "iqn.2026-01.test.holdfast:raw".into(),
        target: Some(target.into()),
        isid: Config::random_isid([0, 1, 2, 3, 4, 5]),
        first_cmd_sn: 1,
        chap: None,
        header_digest: false,
        data_digest: false,
        max_recv_data: 65_536,
        max_outstanding: 8,
        timers: iscsi::Timers::default(),
    }
}

impl Raw {
    pub(crate) async fn login(portal: SocketAddr, config: Config) -> Self {
        let stream = TcpStream::connect(portal).await.unwrap();
        let connection = Connection::new(config, Time::ZERO).unwrap();
        let mut raw = Self { stream, connection };
        match raw.event().await {
            Event::LoggedIn(_) => raw,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn event(&mut self) -> Event<()> {
        loop {
            if let Some(event) = self.connection.poll_event() {
                return event;
            }
            let bytes = self.connection.transmit().to_vec();
            self.stream.write_all(&bytes).await.unwrap();
            self.connection.transmitted(bytes.len());
            let [direct, staging] = self.connection.receive_buffers();
            let buffer = if direct.is_empty() { staging } else { direct };
            let count = self.stream.read(buffer).await.unwrap();
            self.connection.received(count, Time::ZERO);
        }
    }

    pub(crate) fn submit(&mut self, lun: u8, cdb: &Cdb) {
        let command = Command {
            context: (),
            lun: [0, lun, 0, 0, 0, 0, 0, 0],
            cdb: cdb.padded(),
            buffer: BytesMut::zeroed(usize::try_from(cdb.data_in()).unwrap()),
            exchangeable: false,
            deadline: Time::from_secs(30),
        };
        assert!(self.connection.submit(command).is_ok(), "the window is open");
    }

    /// A command with data that goes out: only a test, to a LUN of its own, ever sends one.
    pub(crate) fn submit_out(&mut self, lun: u8, cdb: &[u8], data: &[u8]) {
        let mut padded = [0; 16];
        padded[..cdb.len()].copy_from_slice(cdb);
        let command = Command {
            context: (),
            lun: [0, lun, 0, 0, 0, 0, 0, 0],
            cdb: padded,
            buffer: BytesMut::from(data),
            exchangeable: false,
            deadline: Time::from_secs(30),
        };
        assert!(self.connection.submit_out(command).is_ok(), "the window is open");
    }

    pub(crate) async fn finished(&mut self) -> (Completion, Vec<u8>) {
        match self.event().await {
            Event::Finished(finished) => {
                let Outcome::Completed(completion) = finished.outcome else {
                    panic!("{:?}", finished.outcome)
                };
                let length = usize::try_from(completion.transferred).unwrap();
                (completion, finished.buffer[..length].to_vec())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Runs a command, again while unit attentions are told; the status and what came.
    pub(crate) async fn run(&mut self, lun: u8, cdb: &Cdb) -> (Completion, Vec<u8>) {
        loop {
            self.submit(lun, cdb);
            let (completion, data) = self.finished().await;
            let attention = scsi::Sense::decode(&completion.sense)
                .is_ok_and(|sense| sense.key == scsi::SenseKey::UnitAttention);
            if !attention {
                return (completion, data);
            }
        }
    }
}
