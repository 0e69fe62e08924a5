//! What a target does other than it should, and when.

use super::Pdu;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What must arrive for a rule to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A login request in that stage: 0 security, 1 operational.
    Login(u8),
    /// A SCSI command with that operation code.
    Command(u8),
    /// Any SCSI command.
    AnyCommand,
    /// A NOP-Out that wants an answer.
    Ping,
    /// A text request.
    Text,
    /// A task management request.
    Abort,
    /// A logout request.
    Logout,
}

impl When {
    pub(super) fn fits(self, pdu: &Pdu) -> bool {
        match self {
            Self::Login(stage) => pdu.opcode() == 0x03 && pdu.header[1] >> 2 & 3 == stage,
            Self::Command(opcode) => pdu.opcode() == 0x01 && pdu.cdb()[0] == opcode,
            Self::AnyCommand => pdu.opcode() == 0x01,
            Self::Ping => pdu.opcode() == 0x00 && pdu.word(16) != u32::MAX,
            Self::Text => pdu.opcode() == 0x04,
            Self::Abort => pdu.opcode() == 0x02,
            Self::Logout => pdu.opcode() == 0x06,
        }
    }
}

/// Makes the PDUs of an answer.
type Make = Arc<dyn Fn(&Exchange) -> Vec<Pdu> + Send + Sync>;

/// What happens then.
#[derive(Clone)]
pub enum Then {
    /// Nothing comes back.
    Silence,
    /// The connection is closed.
    Close,
    /// The usual answer, so much later; other requests are answered meanwhile.
    Later(Duration),
    /// A SCSI status and sense data.
    Status(u8, Vec<u8>),
    /// A login status (class and detail) and a text.
    LoginStatus(u8, u8, String),
    /// These PDUs instead of the usual answer.
    Instead(Make),
    /// These PDUs, then the usual answer.
    Before(Make),
    /// These PDUs, then the connection is closed.
    LastWords(Make),
}

impl Then {
    /// [`Then::Instead`] of a closure.
    pub fn instead(make: impl Fn(&Exchange) -> Vec<Pdu> + Send + Sync + 'static) -> Self {
        Self::Instead(Arc::new(make))
    }

    /// [`Then::Before`] of a closure.
    pub fn before(make: impl Fn(&Exchange) -> Vec<Pdu> + Send + Sync + 'static) -> Self {
        Self::Before(Arc::new(make))
    }

    /// [`Then::LastWords`] of a closure.
    pub fn last_words(make: impl Fn(&Exchange) -> Vec<Pdu> + Send + Sync + 'static) -> Self {
        Self::LastWords(Arc::new(make))
    }
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence => "Silence",
            Self::Close => "Close",
            Self::Later(_) => "Later",
            Self::Status(..) => "Status",
            Self::LoginStatus(..) => "LoginStatus",
            Self::Instead(_) => "Instead",
            Self::Before(_) => "Before",
            Self::LastWords(_) => "LastWords",
        })
    }
}

/// One order to a target.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it waits for.
    pub when: When,
    /// Requests that it lets pass first.
    pub after: u32,
    /// How often it acts.
    pub times: u32,
    /// What it does.
    pub then: Then,
}

impl Rule {
    /// Acts at the next request that fits, once.
    #[must_use]
    pub fn once(when: When, then: Then) -> Self {
        Self::times(1, when, then)
    }

    /// Acts that often.
    #[must_use]
    pub fn times(times: u32, when: When, then: Then) -> Self {
        Self { when, after: 0, times, then }
    }

    /// Acts always.
    #[must_use]
    pub fn always(when: When, then: Then) -> Self {
        Self::times(u32::MAX, when, then)
    }

    /// Lets so many requests that fit pass first.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }
}

/// The first rule that has something to do with `pdu`.
pub(super) fn choose(rules: &mut [Rule], pdu: &Pdu) -> Option<Then> {
    for rule in rules.iter_mut().filter(|rule| rule.times > 0 && rule.when.fits(pdu)) {
        if rule.after > 0 {
            rule.after -= 1;
            continue;
        }
        if rule.times < u32::MAX {
            rule.times -= 1;
        }
        return Some(rule.then.clone());
    }
    None
}

/// A request and what an answer to it has to carry.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What arrived; all zero for an announcement.
    pub request: Pdu,
    /// What the device would send.
    pub data: Vec<u8>,
    /// StatSN, ExpCmdSN and MaxCmdSN that the next PDU should carry.
    pub numbers: [u32; 3],
}

impl Exchange {
    /// A PDU that carries the request's task tag and the right numbers.
    #[must_use]
    pub fn answer(&self, opcode: u8, flags: u8) -> Pdu {
        let [stat_sn, expected, max] = self.numbers;
        Pdu::new(opcode, flags)
            .with(16, self.request.word(16))
            .with(24, stat_sn)
            .with(28, expected)
            .with(32, max)
    }

    /// A PDU that belongs to no request.
    #[must_use]
    pub fn unasked(&self, opcode: u8, flags: u8) -> Pdu {
        self.answer(opcode, flags).with(16, u32::MAX)
    }

    /// Data-In of the bytes `range` of the device's data; with status GOOD when it is the `last`.
    #[must_use]
    pub fn data_in(&self, sn: u32, range: std::ops::Range<usize>, last: bool) -> Pdu {
        let offset = u32::try_from(range.start).expect("tests are smaller than 4 GiB");
        self.answer(0x25, if last { 0x81 } else { 0x80 })
            .with(20, u32::MAX)
            .with(36, sn)
            .with(40, offset)
            .data(&self.data[range])
    }

    /// An asynchronous message (11.9).
    #[must_use]
    pub fn asynchronous(&self, event: u8, parameters: [u16; 3]) -> Pdu {
        let [one, two, three] = parameters.map(u32::from);
        self.unasked(0x32, 0x80).with(36, u32::from(event) << 24 | one).with(40, two << 16 | three)
    }

    /// A ping of the target's (11.19).
    #[must_use]
    pub fn ping(&self, transfer_tag: u32) -> Pdu {
        self.unasked(0x20, 0x80).with(20, transfer_tag)
    }
}
