//! What each PDU of the target means.

use super::receive::Received;
use super::{Connection, Ending, Event, Phase, tag};
use crate::login::Next;
use crate::pdu::{self, Header, NO_TAG, Opcode};
use crate::serial::before;
use crate::{IscsiError, Time, discovery};

/// Answers to SendTargets longer than this are not a list of targets.
const TARGETS_MAX: usize = 4 << 20;

impl<T> Connection<T> {
    pub(super) fn dispatch(&mut self, received: &Received) -> Result<(), IscsiError> {
        let header = &received.header;
        let opcode = header.opcode();
        if matches!(self.phase, Phase::Login { .. }) != (opcode == Opcode::LoginResponse) {
            return Err(IscsiError::misbehaved(format!("{opcode:?} came out of its phase")));
        }
        if received.damaged && opcode != Opcode::DataIn {
            return Err(IscsiError::DataDigest);
        }
        self.window.update(header.exp_cmd_sn(), header.max_cmd_sn());
        self.acknowledge(header);
        match opcode {
            Opcode::LoginResponse => self.login_response(header),
            Opcode::DataIn => self.data_in(received),
            Opcode::ScsiResponse => self.scsi_response(header),
            Opcode::NopIn => self.nop_in(header),
            Opcode::TextResponse => self.text_response(header),
            Opcode::TaskResponse => self.task_response(header),
            Opcode::LogoutResponse => self.logout_response(header),
            Opcode::AsyncMessage => self.async_message(header),
            Opcode::Reject => Err(self.rejected(header)),
            Opcode::ReadyToTransfer => self.ready_to_transfer(header),
            Opcode::Unknown(code) => Err(IscsiError::misbehaved(format!("opcode {code:02x}h"))),
        }
    }

    /// ExpStatSN acknowledges statuses (4.2.2.2). Three sorts of PDU carry none: Data-In without
    /// the S bit, an R2T, and a NOP-In that is not an answer (there StatSN is the next one's).
    fn acknowledge(&mut self, header: &Header) {
        let carries = match header.opcode() {
            Opcode::DataIn => header.flags() & 1 != 0,
            Opcode::NopIn => header.task_tag() != NO_TAG,
            Opcode::ReadyToTransfer => false,
            _ => true,
        };
        let next = header.stat_sn().wrapping_add(1);
        let counting = matches!(self.phase, Phase::Login { .. }); // its first answer sets it
        if carries && (counting || before(self.exp_stat_sn, next)) {
            self.exp_stat_sn = next;
        }
    }

    /// A rejected PDU comes back as data. At error recovery level 0 nothing can be repaired.
    fn rejected(&self, header: &Header) -> IscsiError {
        let opcode = self.receiver.body().first().map(|opcode| opcode & 0x3f);
        IscsiError::Rejected { reason: header.response(), opcode }
    }

    fn login_response(&mut self, header: &Header) -> Result<(), IscsiError> {
        let Phase::Login { login, .. } = &mut self.phase else {
            return Err(IscsiError::misbehaved("a login response after the login"));
        };
        if header.task_tag() != tag::LOGIN {
            return Err(IscsiError::misbehaved("an answer to a login that is not ours"));
        }
        let next = login.answer(header, self.receiver.body());
        if let Some(challenge) = login.challenge() {
            self.challenge = Some(challenge.to_vec());
        }
        match next? {
            Next::Send(request) => self.send_login(&request),
            Next::Done(agreed) => {
                self.time_to_wait = Time::from_secs(agreed.time_to_wait.into());
                (self.bursts, self.max_send_data) = (agreed.bursts, agreed.max_send_data);
                self.receiver.header_digest = agreed.header_digest;
                self.receiver.data_digest = agreed.data_digest;
                self.outbox.header_digest = agreed.header_digest;
                self.outbox.data_digest = agreed.data_digest;
                self.phase = Phase::Full;
                self.events.push_back(Event::LoggedIn(agreed));
            }
        }
        Ok(())
    }

    fn data_in(&mut self, received: &Received) -> Result<(), IscsiError> {
        let header = &received.header;
        let place = received.place.expect("the receiver places every Data-In");
        self.tasks.placed(place, header.data_length(), received.damaged);
        if header.flags() & 1 == 0 {
            return Ok(());
        }
        let finished = self.tasks.finish(header, Ok(header.status()), &[]);
        self.events.extend(finished.map(Event::Finished));
        Ok(())
    }

    /// The data segment is a 2-byte length and the sense data (11.4.7.2).
    fn scsi_response(&mut self, header: &Header) -> Result<(), IscsiError> {
        let body = self.receiver.body();
        let sense = match body.split_first_chunk::<2>() {
            Some((length, sense)) => {
                let length = usize::from(u16::from_be_bytes(*length));
                &sense[..length.min(sense.len())]
            }
            None => &[],
        };
        let status = match header.response() {
            0 => Ok(header.status()),
            response => Err(response),
        };
        let finished = self
            .tasks
            .finish(header, status, sense)
            .ok_or_else(|| IscsiError::misbehaved("a response to a command that does not exist"))?;
        self.events.push_back(Event::Finished(finished));
        Ok(())
    }

    /// A ping of the target's is answered at once with its tag and LUN (11.18, 11.19). An answer
    /// to ours, or one that only tells new numbers, has done its work by arriving.
    fn nop_in(&mut self, header: &Header) -> Result<(), IscsiError> {
        if header.transfer_tag() != NO_TAG {
            let (lun, transfer_tag) = (header.lun(), header.transfer_tag());
            let answer = pdu::nop_out(lun, transfer_tag, self.window.next(), self.exp_stat_sn);
            self.outbox.push(answer, &[]);
        }
        Ok(())
    }

    fn text_response(&mut self, header: &Header) -> Result<(), IscsiError> {
        let Some(text) = self.text.as_mut().filter(|_| header.task_tag() == tag::TEXT) else {
            return Err(IscsiError::misbehaved("a text that nobody asked for"));
        };
        let body = self.receiver.body();
        if text.gathered.len() + body.len() > TARGETS_MAX {
            return Err(IscsiError::misbehaved("the text never ends"));
        }
        text.gathered.extend_from_slice(body);
        let (last, goes_on) = (header.flags() & 0x80 != 0, header.flags() & 0x40 != 0);
        if last && goes_on {
            return Err(IscsiError::misbehaved("a text that both ends and goes on"));
        }
        if !last {
            if body.is_empty() || header.transfer_tag() == NO_TAG {
                return Err(IscsiError::misbehaved("a text that neither ends nor goes on"));
            }
            self.ask_text(header.transfer_tag(), &[]);
            return Ok(());
        }
        let targets = discovery::targets(&text.gathered)?;
        self.text = None;
        self.events.push_back(Event::Targets(targets));
        Ok(())
    }

    /// 11.6.1: 0 done, 1 no such task (its answer was on the way). Anything else means that the
    /// task may live on in the target, and only the end of the session ends it.
    fn task_response(&mut self, header: &Header) -> Result<(), IscsiError> {
        if header.response() > 1 {
            return Err(IscsiError::misbehaved(format!(
                "ABORT TASK was answered with {}",
                header.response()
            )));
        }
        let finished = self.tasks.aborted(header.task_tag() & !tag::ABORT);
        self.events.extend(finished.map(Event::Finished));
        Ok(())
    }

    fn logout_response(&mut self, header: &Header) -> Result<(), IscsiError> {
        if header.task_tag() != tag::LOGOUT || !matches!(self.phase, Phase::LoggingOut { .. }) {
            return Err(IscsiError::misbehaved("a logout response that nobody asked for"));
        }
        self.time_to_wait = Time::from_secs(header.parameter_2().into());
        self.left();
        Ok(())
    }

    /// 11.9. What each event means here:
    ///
    /// | event | meaning | what we do |
    /// |---|---|---|
    /// | 0 | SCSI event | nothing: a unit attention will say it again |
    /// | 1, 4 | please log out, negotiate again | finish what is in flight, log out in time |
    /// | 2, 3 | this connection, this session will be dropped | leave; come back after Time2Wait |
    /// | 248 to 255 | the vendor's own | nothing |
    /// | others | tasks were aborted, or nobody knows | leave |
    ///
    /// A negotiation in full feature phase would change nothing that a fresh login does not
    /// settle more simply, and a logout is an allowed answer to event 4.
    fn async_message(&mut self, header: &Header) -> Result<(), IscsiError> {
        match header.detail().0 {
            0 | 248..=255 => {}
            event @ (1 | 4) => {
                let patience = Time::from_secs(header.parameter_3().into());
                // Some time is left for the logout itself to arrive.
                let latest = self.last_heard.saturating_add(patience - patience / 4);
                self.ending.get_or_insert(Ending { event, latest });
            }
            event @ (2 | 3) => {
                let wait = Time::from_secs(header.parameter_2().into());
                return Err(IscsiError::EndedByTarget { event, wait });
            }
            event => {
                return Err(IscsiError::EndedByTarget { event, wait: self.time_to_wait });
            }
        }
        Ok(())
    }
}
