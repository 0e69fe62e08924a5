//! Time: what is overdue, and when to look again.

use super::{Connection, Phase, tag};
use crate::{IscsiError, Time, pdu};

impl<T> Connection<T> {
    /// When [`Self::handle_timeout`] wants to be called; `None` when nothing is waited for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Login { deadline, .. } | Phase::LoggingOut { deadline } => Some(*deadline),
            Phase::Full => {
                let text = self.text.as_ref().map(|text| text.deadline);
                let leaving = self.ending.map(|ending| ending.latest);
                let ping = Some(self.ping_time());
                [ping, self.tasks.deadline(), text, leaving].into_iter().flatten().min()
            }
        }
    }

    /// When to ask 'are you there', or when to stop waiting for the answer.
    fn ping_time(&self) -> Time {
        let timers = &self.config.timers;
        match self.pinged {
            Some(sent) => sent.saturating_add(timers.ping_answer),
            None => self.last_heard.saturating_add(timers.ping_interval),
        }
    }

    /// Acts on everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        let overdue = match &self.phase {
            Phase::Closed => return,
            Phase::Login { deadline, .. } => (*deadline <= now).then_some("the login"),
            Phase::LoggingOut { deadline } => (*deadline <= now).then_some("the logout"),
            Phase::Full => match &self.text {
                Some(text) if text.deadline <= now => Some("a text request"),
                _ => self.keep_alive(now).or_else(|| self.abort_overdue(now)),
            },
        };
        match overdue {
            Some(waited_for) => self.close(IscsiError::TimedOut { waited_for }),
            None => self.leave_if_asked(now),
        }
    }

    /// Pings a silent target; any byte that comes counts as its answer.
    fn keep_alive(&mut self, now: Time) -> Option<&'static str> {
        if self.ping_time() > now {
            return None;
        }
        if self.pinged.is_some() {
            return Some("a keep-alive ping");
        }
        self.pinged = Some(now);
        let header = pdu::ping(tag::PING, self.window.next(), self.exp_stat_sn);
        self.outbox.push(header, &[]);
        None
    }

    fn abort_overdue(&mut self, now: Time) -> Option<&'static str> {
        while let Some(overdue) = self.tasks.overdue(now, self.config.timers.abort) {
            let Ok(task) = overdue else { return Some("ABORT TASK") };
            let tag = task.tag | tag::ABORT;
            let referenced = (task.tag, task.cmd_sn);
            let cmd_sn = self.window.next();
            let header = pdu::abort_task(task.lun, tag, referenced, cmd_sn, self.exp_stat_sn);
            self.outbox.push(header, &[]);
        }
        None
    }
}
