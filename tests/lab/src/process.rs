//! A program of the outside world that runs beside a test, and leaves with it.
//!
//! Every child is started with a parent-death signal (`setpriv --pdeathsig`), so that even a test
//! that is killed leaves no process. The kernel sends that signal when the *thread* that started
//! the child ends; therefore one thread of its own, which lives as long as this process, starts
//! them all. Each child leads a process group of its own: a Ctrl-C on the terminal reaches only
//! us, and we stop the others in order.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long a peer may take to come up or to leave.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A child process with its output in a log file; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `arguments` (program first); both output streams go to the end of `log`, except
    /// that standard output is a pipe when `piped` says so. Standard input is always a pipe that
    /// stays open until the process is stopped.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not be started.
    pub fn start(
        name: &str,
        arguments: &[String],
        environment: &[(&str, &Path)],
        log: &Path,
        piped: bool,
    ) -> Result<Self> {
        let file = File::options()
            .append(true)
            .create(true)
            .open(log)
            .with_context(|| format!("opening the log {}", log.display()))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(arguments)
            .envs(environment.iter().copied())
            .process_group(0)
            .stdin(Stdio::piped())
            .stderr(file.try_clone()?)
            .stdout(if piped { Stdio::piped() } else { Stdio::from(file) });
        let child = spawn(command).with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The process id; it keeps naming this process until it was stopped through this value.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, once, when it was started `piped`.
    pub fn take_output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard input, once. Its end is then the holder's to say.
    pub fn take_input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Closes its standard input: for some peers the order to leave.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// The exit status when it has ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("asking for the state of {}", self.name))
    }

    /// Calls `ready` until it returns a value; an end of the process is an error at once, and so
    /// is a wait of more than [`PATIENCE`]. Both errors show the end of the log.
    ///
    /// # Errors
    /// See above.
    pub fn wait_until<T>(&mut self, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended early ({status}):\n{}", self.name, self.log_end());
            }
            if Instant::now() > limit {
                bail!("{} did not become ready in {PATIENCE:?}:\n{}", self.name, self.log_end());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM and waits; SIGKILL when it has not left in [`PATIENCE`].
    ///
    /// # Errors
    /// When it had to be killed: a peer that does not stop when asked is a fault.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        self.wait_for_end(PATIENCE)
    }

    /// Waits for it to end by itself; kills it after `patience`.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let limit = Instant::now() + patience;
        while Instant::now() < limit {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()?;
        bail!("{} did not stop in {patience:?} and was killed:\n{}", self.name, self.log_end())
    }

    /// SIGKILL, as a power cut would be for this process, and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }

    /// Sends any signal, such as STOP and CONT.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process id is positive")?, signal)
            .with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is the usual case, and there is nobody left to tell of anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends what it started when its standard input ends, which happens with whoever holds the other
/// end. `exec` keeps the process id.
const LEASH: &str = "exec 3<&0; (cat <&3 >/dev/null 2>&1; kill -KILL $$ 2>/dev/null) & \
                     exec \"$@\" </dev/null 3<&-";

/// `arguments` for a process that changes its user: the kernel then forgets that it was to end
/// with its parent, so it gets a leash.
#[must_use]
pub fn leashed(arguments: Vec<String>) -> Vec<String> {
    ["sh", "-c", LEASH, "leash"].map(str::to_owned).into_iter().chain(arguments).collect()
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts a child from the thread that outlives every test.
fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = inbox.recv() {
                // The asker waits below; were it gone, the child is dropped with the answer.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, result) = channel();
    spawner.send((command, answer)).expect("the spawner thread never ends");
    result.recv().expect("the spawner answers every order")
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0; the error shows what it said.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {name}; is it installed?"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &Path) -> Process {
        let arguments = ["sh", "-c", script].map(str::to_owned);
        Process::start("shell", &arguments, &[], &directory.join("log"), false).unwrap()
    }

    #[test]
    fn an_early_end_is_reported_with_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell("echo no such disk; exit 3", directory.path());
        let error = process.wait_until(|| None::<()>).unwrap_err().to_string();
        assert!(error.contains("ended early") && error.contains("no such disk"), "{error}");
    }

    #[test]
    fn a_leashed_process_ends_with_its_input_and_keeps_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let arguments = leashed(["sh", "-c", "echo $$; sleep 1000"].map(str::to_owned).into());
        let mut process = Process::start("leashed", &arguments, &[], &log, false).unwrap();
        let pid = process.pid().to_string();
        process
            .wait_until(|| std::fs::read_to_string(&log).ok().filter(|said| said.trim() == pid))
            .unwrap();
        process.close_input();
        assert!(!process.wait_for_end(PATIENCE).unwrap().success());
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let mut process =
            std::thread::spawn(move || shell("cat >/dev/null", &path)).join().unwrap();
        // A parent-death signal of the ended thread would arrive at once.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(process.ended().unwrap(), None);
        process.close_input();
        assert!(process.wait_for_end(PATIENCE).unwrap().success());
    }
}
