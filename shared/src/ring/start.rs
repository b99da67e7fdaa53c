//! What a ring needs to start, what this kernel offers, and what to mend if it refuses.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode};
use rustix::process::{Resource, getrlimit};

use super::buffers::Buffers;
use super::kernel::KernelRing;
use super::sockets::Capabilities;
use super::trials::{closes_promptly, sets_socket_options};

/// Most slots the kernel allows in one table of direct descriptors.
const SLOTS_MAX: u32 = 1 << 20;

/// More rings than this mean a descriptor limit that nobody chose.
const RINGS_MAX: u32 = 1024;

/// When the kernel runs the work behind a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TaskRun {
    /// Whenever the thread enters the kernel, for all its rings at once (`COOP_TASKRUN`).
    #[default]
    Cooperative,
    /// Only when that ring is entered for its completions (`DEFER_TASKRUN`).
    Deferred,
}

/// The size of a [`DeviceRing`](super::DeviceRing).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Sockets at the same time, with the accepts in flight and the slots reserved for descriptors
    /// from other rings. More costs eight bytes each, at once.
    pub sockets: u32,
    /// Sockets on one kernel ring; `None` for as many as the process' limit of descriptors allows.
    /// Each further ring with something to send costs a system call of its own.
    pub sockets_per_ring: Option<u32>,
    /// Requests queued per ring before the kernel has to be entered. More costs 64 bytes each.
    pub submission_entries: u32,
    /// Completions per ring that fit between two looks; beyond it the kernel allocates. More costs
    /// 16 bytes each.
    pub completion_entries: u32,
    /// Buffers for receiving, per ring; a power of two up to 32 768. They are shared by all sockets
    /// of the ring, and out only from completion to the next event: as many as receive in one turn.
    pub buffers_per_ring: u16,
    /// Size of each. More means fewer receives for long messages.
    pub buffer_bytes: u32,
    /// When the kernel runs the work behind a completion.
    pub task_run: TaskRun,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sockets: 10_000,
            sockets_per_ring: None,
            submission_entries: 512,
            completion_entries: 4096,
            buffers_per_ring: 256,
            buffer_bytes: 4096,
            task_run: TaskRun::default(),
        }
    }
}

/// Why a ring could not start. The text says what to mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something this module needs is not in the kernel.
    #[error("Linux 6.1 or newer is needed: this one ({release}) lacks {missing}")]
    KernelTooOld {
        /// What `uname` says.
        release: String,
        /// What is missing.
        missing: &'static str,
    },
    /// The system call is forbidden.
    #[error(
        "io_uring is refused ({cause}). In a container: allow io_uring_setup, io_uring_enter and \
         io_uring_register in the seccomp profile (Docker: --security-opt seccomp=<profile>, or \
         =unconfined; Kubernetes: securityContext.seccompProfile). On the host: sysctl \
         kernel.io_uring_disabled must be 0, or 1 with this process in kernel.io_uring_group"
    )]
    Forbidden {
        /// EPERM, EACCES or ENOSYS.
        cause: io::Error,
    },
    /// Locked memory ran out.
    #[error(
        "no memory for {what}: the limit of locked memory is {limit} bytes; raise it (systemd: \
         LimitMEMLOCK=, shell: ulimit -l), or ask for fewer or smaller buffers"
    )]
    LockedMemory {
        /// What was asked for.
        what: &'static str,
        /// RLIMIT_MEMLOCK.
        limit: u64,
    },
    /// Too many descriptors.
    #[error(
        "{wanted} descriptors in one table, but the limit of the process is {limit}; raise it \
         (systemd: LimitNOFILE=, shell: ulimit -n), or ask for fewer sockets per ring"
    )]
    Descriptors {
        /// What was asked for.
        wanted: u32,
        /// RLIMIT_NOFILE.
        limit: u64,
    },
    /// The process has no descriptor left.
    #[error(
        "no descriptor left for {what}: the limit of the process is {limit}; raise it (systemd: \
         LimitNOFILE=, shell: ulimit -n)"
    )]
    NoDescriptor {
        /// What was asked for.
        what: &'static str,
        /// RLIMIT_NOFILE.
        limit: u64,
    },
    /// A value that makes no sense.
    #[error("{key}: {problem}")]
    Config {
        /// The field of [`Config`].
        key: &'static str,
        /// What would be right.
        problem: &'static str,
    },
    /// Anything else.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

/// How many rings of how many slots a configuration asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    pub(super) rings: u32,
    pub(super) slots_per_ring: u32,
}

impl Shape {
    pub(super) fn of(config: &Config, descriptor_limit: u64) -> Result<Self, StartError> {
        let invalid = |key, problem| Err(StartError::Config { key, problem });
        if config.sockets == 0 {
            return invalid("sockets", "at least 1");
        }
        if !config.buffers_per_ring.is_power_of_two() || config.buffers_per_ring > 1 << 15 {
            return invalid("buffers_per_ring", "a power of two up to 32768");
        }
        if !(64..=1 << 20).contains(&config.buffer_bytes) {
            return invalid("buffer_bytes", "between 64 and 1048576");
        }
        if config.submission_entries < 8 || config.completion_entries < config.submission_entries {
            return invalid(
                "completion_entries",
                "at least submission_entries, which is at least 8",
            );
        }
        let limit = u32::try_from(descriptor_limit).unwrap_or(u32::MAX).min(SLOTS_MAX);
        let most = config.sockets_per_ring.unwrap_or(limit);
        if most == 0 {
            return invalid("sockets_per_ring", "at least 1");
        }
        if most > limit {
            return Err(StartError::Descriptors { wanted: most, limit: descriptor_limit });
        }
        let rings = config.sockets.div_ceil(most);
        if rings > RINGS_MAX {
            return Err(StartError::Descriptors {
                wanted: config.sockets,
                limit: descriptor_limit,
            });
        }
        Ok(Self { rings, slots_per_ring: config.sockets.div_ceil(rings) })
    }
}

/// The soft limit of open files, which also bounds each table of direct descriptors.
pub(super) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// One kernel ring of this shape, signalling to this eventfd.
pub(super) fn open_ring(
    number: u32,
    config: &Config,
    shape: Shape,
    signal: &impl AsRawFd,
) -> Result<KernelRing, StartError> {
    let uring = builder(config.task_run)
        .setup_clamp()
        .setup_submit_all()
        .setup_taskrun_flag()
        .setup_cqsize(config.completion_entries)
        .build(config.submission_entries)
        .map_err(|cause| explain("an io_uring of one thread", cause))?;
    let submitter = uring.submitter();
    submitter
        .register_files_sparse(shape.slots_per_ring)
        .map_err(|cause| explain("a sparse table of direct descriptors", cause))?;
    submitter
        .register_eventfd(signal.as_raw_fd())
        .map_err(|cause| explain("completions that signal an eventfd", cause))?;
    let buffers = Buffers::register(&uring, config.buffers_per_ring, config.buffer_bytes)
        .map_err(|cause| explain("a ring of provided buffers", cause))?;
    let mut ring = KernelRing::new(number, uring, buffers);
    ring.signal(false);
    Ok(ring)
}

/// Tries out what this kernel can.
pub(super) fn probe() -> Result<Capabilities, StartError> {
    // Deferred task runs are the newest thing that every part of this module relies on being there.
    let mut uring = builder(TaskRun::Deferred)
        .build(8)
        .map_err(|cause| explain("an io_uring with deferred task runs", cause))?;
    let mut probe = Probe::new();
    let missing = |missing| StartError::KernelTooOld { release: release(), missing };
    let registered = uring.submitter().register_probe(&mut probe);
    registered.map_err(|_| missing("a probe of its operations"))?;
    for (code, name) in [
        (opcode::Socket::CODE, "IORING_OP_SOCKET"),
        (opcode::MsgRingSendFd::CODE, "IORING_OP_MSG_RING"),
        (opcode::SendZc::CODE, "the operations of Linux 6.0"),
    ] {
        if !probe.is_supported(code) {
            return Err(missing(name));
        }
    }
    let trial = |result: io::Result<bool>| {
        result.map_err(|cause| StartError::Io { what: "trying io_uring out", cause })
    };
    Ok(Capabilities {
        socket_options: trial(sets_socket_options(&mut uring))?,
        bind: probe.is_supported(opcode::Bind::CODE),
        prompt_close: trial(closes_promptly(&mut uring))?,
    })
}

fn builder(task_run: TaskRun) -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer();
    match task_run {
        TaskRun::Cooperative => builder.setup_coop_taskrun(),
        TaskRun::Deferred => builder.setup_defer_taskrun(),
    };
    builder
}

/// What an error while starting means, and what mends it.
fn explain(what: &'static str, cause: io::Error) -> StartError {
    match cause.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => StartError::Forbidden { cause },
        // The flags of the setup call are all that the kernel could find invalid.
        Some(libc::EINVAL) => StartError::KernelTooOld { release: release(), missing: what },
        Some(libc::ENOMEM) => {
            let limit = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
            StartError::LockedMemory { what, limit }
        }
        Some(libc::EMFILE) => StartError::NoDescriptor { what, limit: descriptor_limit() },
        _ => StartError::Io { what, cause },
    }
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sockets: u32, sockets_per_ring: Option<u32>, limit: u64) -> Result<Shape, StartError> {
        Shape::of(&Config { sockets, sockets_per_ring, ..Config::default() }, limit)
    }

    #[test]
    fn there_are_as_many_rings_as_the_descriptor_limit_demands() {
        for (sockets, limit, rings, slots_per_ring) in [
            (1, 1024, 1, 1),
            (1024, 1024, 1, 1024),
            (1025, 1024, 2, 513),
            (500_000, 20_000, 25, 20_000),
        ] {
            let expected = Shape { rings, slots_per_ring };
            assert_eq!(shape(sockets, None, limit).unwrap(), expected);
        }
        assert_eq!(shape(9, Some(3), 1024).unwrap(), Shape { rings: 3, slots_per_ring: 3 });
    }

    #[test]
    fn a_table_never_exceeds_what_the_kernel_allows() {
        let shape = shape(3 << 20, None, u64::MAX).unwrap();
        assert_eq!(shape, Shape { rings: 3, slots_per_ring: 1 << 20 });
    }

    #[test]
    fn a_wish_beyond_the_descriptor_limit_names_both() {
        let error = shape(5000, Some(5000), 1024).unwrap_err();
        assert!(matches!(error, StartError::Descriptors { wanted: 5000, limit: 1024 }));
        assert!(error.to_string().contains("LimitNOFILE"));
        assert!(shape(1 << 20, None, 100).is_err());
    }

    #[test]
    fn errors_of_the_system_say_what_to_mend() {
        for (errno, word) in [
            (libc::EPERM, "seccomp"),
            (libc::ENOSYS, "seccomp"),
            (libc::EINVAL, "Linux 6.1"),
            (libc::ENOMEM, "LimitMEMLOCK"),
            (libc::EMFILE, "LimitNOFILE"),
            (libc::EIO, "a trial"),
        ] {
            let text = explain("a trial", io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
