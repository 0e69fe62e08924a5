//! The host's end of the port on which a guest is told what to do; `guest/agent.sh` is the other.

use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What a script said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit status.
    pub status: i32,
    /// Its output and its error output, as they came.
    pub text: String,
}

/// Both directions. After an error they no longer fit together: the guest is of no more use.
#[derive(Debug)]
pub(super) struct Channel {
    to: ChildStdin,
    /// Lines as they come; a thread reads them, because a pipe knows no time limit.
    from: Receiver<String>,
}

impl Channel {
    pub(super) fn new(to: ChildStdin, from: ChildStdout) -> Self {
        let (lines, inbox) = channel();
        std::thread::spawn(move || {
            // It ends when the guest or the asker does.
            for line in BufReader::new(from).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Self { to, from: inbox }
    }

    /// Sends a script and waits for its end.
    pub(super) fn ask(&mut self, verb: &str, script: &str, patience: Duration) -> Result<Said> {
        let order = format!("{verb} {}\n{script}", script.len());
        self.to.write_all(order.as_bytes()).context("the guest takes no more orders")?;
        self.to.flush()?;
        self.answer(patience)
    }

    /// Waits for the end of what was asked for; the first one comes unasked, when it is up.
    pub(super) fn answer(&mut self, patience: Duration) -> Result<Said> {
        let limit = Instant::now() + patience;
        let mut text = String::new();
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let line = match self.from.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the guest did not answer within {patience:?}; so far it said:\n{text}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the guest is gone; before that it said:\n{text}")
                }
            };
            if let Some(status) = line.strip_prefix('=') {
                let status = status.trim().parse().context("an exit status is a number")?;
                return Ok(Said { status, text });
            }
            if let Some(said) = line.strip_prefix(' ') {
                text.push_str(said);
                text.push('\n');
            }
        }
    }
}
