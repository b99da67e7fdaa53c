//! The processes of a demo (I/O): started with their output in log files, watched, and stopped. None
//! outlives whoever started it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, kill_process, pidfd_open, set_parent_process_death_signal,
};

/// First argument of `ocf-demo` when it stands between the demo and one of its processes.
pub const CHILD: &str = "child";

/// How long a process may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(20);
/// Lines of a log that are shown when its process has died.
const LAST_LINES: usize = 12;
/// Bytes of a log that are looked at for those.
const TAIL_BYTES: u64 = 8 * 1024;

/// What is to be started.
pub struct Program {
    /// Its name in messages.
    pub name: &'static str,
    /// The binary.
    pub binary: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where its output goes, behind what is there already.
    pub log: PathBuf,
    /// Socket on which it says that it is ready (sd_notify(3)).
    pub notify: Option<PathBuf>,
    /// Standard error stays on the terminal.
    pub on_terminal: bool,
}

/// A process that has ended though nobody has stopped it, or not as it should have.
#[derive(Debug)]
pub struct Death {
    /// Whose.
    pub name: &'static str,
    /// How.
    pub status: ExitStatus,
    /// The last lines of its log.
    pub last_words: String,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "{} has ended with exit code {code}", self.name)?,
            (None, Some(signal)) => write!(f, "{} was ended by signal {signal}", self.name)?,
            (None, None) => write!(f, "{} has ended", self.name)?,
        }
        if self.last_words.is_empty() {
            write!(f, ", without a word")
        } else {
            write!(f, ". The end of its log:\n{}", self.last_words)
        }
    }
}

/// Running processes, in the order in which they were started.
pub struct Processes {
    /// The binary of `ocf-demo`, which sees to it that nothing outlives us.
    launcher: PathBuf,
    running: Vec<Running>,
}

struct Running {
    name: &'static str,
    child: Child,
    /// Readable once it has ended.
    ended: OwnedFd,
    log: PathBuf,
}

impl Processes {
    /// Nothing yet. `launcher` is the binary of `ocf-demo`.
    pub fn new(launcher: PathBuf) -> Self {
        Self { launcher, running: Vec::new() }
    }

    /// Starts a program and returns its process id.
    ///
    /// It is killed when the calling *thread* ends, so start from one that lasts.
    ///
    /// # Errors
    /// If the binary or the log file cannot be opened.
    pub fn start(&mut self, program: Program) -> Result<u32> {
        let Program { name, binary, arguments, log, notify, on_terminal } = program;
        if !binary.is_file() {
            bail!("{name} cannot be started: there is no {}", binary.display());
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(&log);
        let file = file.with_context(|| format!("cannot write the log {}", log.display()))?;
        let mut command = Command::new(&self.launcher);
        command
            .arg(CHILD)
            .arg(std::process::id().to_string())
            .arg(&binary)
            .args(arguments)
            // Logs are read in files.
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            // Ctrl-C is for us; we tell them in order.
            .process_group(0);
        match notify {
            Some(socket) => command.env("NOTIFY_SOCKET", socket),
            None => command.env_remove("NOTIFY_SOCKET"),
        };
        if !on_terminal {
            command.stderr(file);
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name} by {}", self.launcher.display()))?;
        let pid = pid(&child);
        let ended = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch a process")?;
        let id = child.id();
        self.running.push(Running { name, child, ended, log });
        Ok(id)
    }

    /// Waits until one of them ends, at most this long.
    ///
    /// # Errors
    /// If the system does not let us wait.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Death>> {
        let mut ended: Vec<_> =
            self.running.iter().map(|running| PollFd::new(&running.ended, PollFlags::IN)).collect();
        let timeout = Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut ended, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for processes"),
        }
        for at in 0..self.running.len() {
            if let Some(status) = self.running[at].child.try_wait()? {
                let Running { name, log, .. } = self.running.remove(at);
                return Ok(Some(Death { name, status, last_words: last_lines(&log) }));
            }
        }
        Ok(None)
    }

    /// Kills a process, as a power cut would, and waits for its end.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let mut running = self.remove(name)?;
        running.child.kill()?;
        running.child.wait()?;
        Ok(())
    }

    /// Stops a process and waits for its end.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn stop(&mut self, name: &str) -> Result<ExitStatus> {
        self.remove(name)?.stop()
    }

    fn remove(&mut self, name: &str) -> Result<Running> {
        let at = self.running.iter().position(|running| running.name == name);
        Ok(self.running.remove(at.with_context(|| format!("{name} is not running"))?))
    }

    /// Stops a process if it runs. Returns how it has ended, if that was not well.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn end(&mut self, name: &str) -> Result<Option<Death>> {
        let Ok(running) = self.remove(name) else { return Ok(None) };
        let (name, log) = (running.name, running.log.clone());
        let status = running.stop()?;
        let death = || Death { name, status, last_words: last_lines(&log) };
        Ok((!status.success()).then(death))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for mut running in self.running.drain(..).rev() {
            // Nobody is left to be told.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Running {
    fn stop(mut self) -> Result<ExitStatus> {
        if self.child.try_wait()?.is_none() {
            // It may end at any moment by itself.
            let _ = kill_process(pid(&self.child), Signal::TERM);
        }
        let late = Instant::now() + GRACE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            let left = late.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.child.kill()?;
                return Ok(self.child.wait()?);
            }
            let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
            let mut ended = [PollFd::new(&self.ended, PollFlags::IN)];
            match poll(&mut ended, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for a process"),
            }
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// The last lines of a log.
fn last_lines(log: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().rev().take(LAST_LINES).collect();
    lines.into_iter().rev().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Becomes the program that the demo wants to run, to be killed when the demo ends, however it ends.
/// `arguments` are those behind [`CHILD`]. Returns only if that fails.
pub fn become_child(arguments: &[OsString]) -> anyhow::Error {
    let [parent, binary, arguments @ ..] = arguments else {
        return anyhow::anyhow!("{CHILD} is for the demo's own use");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return anyhow::Error::new(error).context("cannot ask to be ended with the demo");
    }
    // The demo may have ended before we asked.
    let is_parent = getppid()
        .is_some_and(|pid| pid.as_raw_nonzero().to_string().as_str() == parent.to_string_lossy());
    if !is_parent {
        return anyhow::anyhow!("the demo has ended");
    }
    let error = Command::new(binary).args(arguments).exec();
    anyhow::Error::new(error).context(format!("cannot run {}", Path::new(binary).display()))
}
