//! How the answer to a job comes back: by a channel for one answer that goes round, so that a read
//! in steady state allocates nothing.

use crate::job::Answer;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// An answer, and with it the sending end: whoever waited has the whole channel again.
#[derive(Debug)]
struct Parcel {
    answer: Answer,
    sender: mpsc::Sender<Parcel>,
}

type Channel = (mpsc::Sender<Parcel>, mpsc::Receiver<Parcel>);

/// Channels that nobody uses now: at most as many as there were commands in flight at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replies(Arc<Mutex<Vec<Channel>>>);

/// The end that answers. Dropped without an answer, it says that there will be none.
#[derive(Debug)]
pub(crate) struct Reply(mpsc::Sender<Parcel>);

/// The end that waits.
#[derive(Debug)]
pub(crate) struct Awaited {
    receiver: mpsc::Receiver<Parcel>,
    home: Replies,
}

impl Replies {
    /// Both ends of a channel for one answer.
    pub(crate) fn channel(&self) -> (Reply, Awaited) {
        let idle = self.idle().pop();
        let (sender, receiver) = idle.unwrap_or_else(|| mpsc::channel(1));
        (Reply(sender), Awaited { receiver, home: self.clone() })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // whole after each call
    }
}

impl Reply {
    pub(crate) fn send(self, answer: Answer) {
        let sender = self.0.clone();
        // There is room for one. The reader may have gone away; its bytes go with it.
        let _ = self.0.try_send(Parcel { answer, sender });
    }
}

impl Awaited {
    /// `None`: there will be no answer, because the transport has ended.
    pub(crate) async fn answer(mut self) -> Option<Answer> {
        let Parcel { answer, sender } = self.receiver.recv().await?;
        self.home.idle().push((sender, self.receiver));
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Mark;
    use bytes::BytesMut;
    use iscsi::Outcome;

    fn answer(number: u64) -> Answer {
        let mark = Mark { epoch: number, attentions: 0 };
        Answer { buffer: BytesMut::new(), result: Ok(Outcome::TimedOut), mark }
    }

    #[tokio::test]
    async fn a_channel_goes_round_and_an_abandoned_one_does_not() {
        let replies = Replies::default();
        for number in 1..100 {
            let (reply, awaited) = replies.channel();
            assert_eq!(replies.idle().len(), 0, "always the same one");
            reply.send(answer(number));
            assert_eq!(awaited.answer().await.unwrap().mark.epoch, number);
            assert_eq!(replies.idle().len(), 1);
        }
        let (reply, awaited) = replies.channel();
        drop(reply);
        assert!(awaited.answer().await.is_none(), "whoever waits is told");
        let (late, given_up) = replies.channel();
        drop(given_up);
        late.send(answer(0));
        assert_eq!(replies.idle().len(), 0, "no late answer is taken for another one's");
    }
}
