//! Another host of the same LUN, with a PDU codec of its own: it can reserve what ours only reads.

use fakes::target::Pdu;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const NO_DIGESTS: (bool, bool) = (false, false);

/// A session without digests, one command at a time.
pub(crate) struct Host {
    stream: TcpStream,
    cmd_sn: u32,
    exp_stat_sn: u32,
}

impl Host {
    /// Logs in as `iqn.2026-01.test.host:NAME`.
    pub(crate) async fn login(portal: SocketAddr, target: &str, name: &str) -> Self {
        let stream = TcpStream::connect(portal).await.unwrap();
        let mut host = Self { stream, cmd_sn: 1, exp_stat_sn: 0 };
        let us = format!("iqn.2026-01.test.host:{name}");
        let first = [
            ("InitiatorName", us.as_str()),
            ("SessionType", "Normal"),
            ("TargetName", target),
            ("AuthMethod", "None"),
        ];
        host.stage(0x81, &first).await;
        host.stage(0x87, &[("ImmediateData", "Yes"), ("InitialR2T", "No")]).await;
        host
    }

    async fn stage(&mut self, flags: u8, pairs: &[(&str, &str)]) {
        let isid = 0x8000_0000 | u32::from(self.stream.local_addr().unwrap().port());
        let mut request = Pdu::new(0x43, flags).with(8, isid).text(pairs);
        loop {
            let answer = self.exchange(request).await;
            assert_eq!(answer.header[36], 0, "login status");
            if answer.header[1] & 0x83 == flags & 0x83 {
                return;
            }
            // It had questions of its own; whatever it asked for is all right.
            request = Pdu::new(0x43, flags).with(8, isid);
        }
    }

    async fn exchange(&mut self, request: Pdu) -> Pdu {
        let request = request.with(24, self.cmd_sn).with(28, self.exp_stat_sn);
        self.stream.write_all(&request.encode(NO_DIGESTS)).await.unwrap();
        loop {
            let answer = Pdu::read(&mut self.stream, NO_DIGESTS).await.unwrap().unwrap();
            if answer.opcode() == 0x20 {
                continue; // a ping; nobody waits long enough to miss its answer
            }
            self.exp_stat_sn = answer.word(24).wrapping_add(1);
            return answer;
        }
    }

    /// A command that sends `data` along with it (immediate data); returns its SCSI status.
    pub(crate) async fn command(&mut self, cdb: &[u8], data: &[u8]) -> u8 {
        let mut request = Pdu::new(0x01, if data.is_empty() { 0x81 } else { 0xa1 })
            .byte(9, 1) // LUN 1
            .with(16, self.cmd_sn)
            .with(20, u32::try_from(data.len()).unwrap())
            .data(data);
        request.header[32..32 + cdb.len()].copy_from_slice(cdb);
        let answer = self.exchange(request).await;
        self.cmd_sn += 1;
        assert_eq!(answer.opcode(), 0x21);
        answer.header[3]
    }

    /// As `command`, again while unit attentions are told.
    pub(crate) async fn sure(&mut self, cdb: &[u8], data: &[u8]) {
        for _ in 0..8 {
            if self.command(cdb, data).await == 0 {
                return;
            }
        }
        panic!("{cdb:02x?} never worked");
    }

    /// RESERVE(6).
    pub(crate) async fn reserve(&mut self) {
        self.sure(&[0x16, 0, 0, 0, 0, 0], &[]).await;
    }

    /// RELEASE(6).
    pub(crate) async fn release(&mut self) {
        self.sure(&[0x17, 0, 0, 0, 0, 0], &[]).await;
    }

    /// PERSISTENT RESERVE OUT with a service action, a type, and the keys of its parameter list.
    pub(crate) async fn persistent(&mut self, action: u8, kind: u8, key: u64, new_key: u64) {
        let list = [&key.to_be_bytes()[..], &new_key.to_be_bytes(), &[0; 8]].concat();
        self.sure(&[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], &list).await;
    }
}
