//! seccomp: which system calls stay possible. A forbidden one ends the process at once: whoever
//! makes it is not the program that was started.
//!
//! The warden's allow-list is what blocking files, an accepted Unix socket and threads need. The
//! daemon is too large for one; its deny-list is what would get at the clock, at mounts, at the
//! kernel or at another process.

use super::{Confinement, SandboxError};
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Calls of the warden that are harmless whatever their arguments.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Files. Which ones: owner, mode and Landlock.
    libc::SYS_openat, libc::SYS_close, libc::SYS_read, libc::SYS_pread64, libc::SYS_readv,
    libc::SYS_preadv, libc::SYS_write, libc::SYS_pwrite64, libc::SYS_writev, libc::SYS_pwritev,
    libc::SYS_lseek, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs,
    libc::SYS_fstatfs, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range,
    libc::SYS_fallocate, libc::SYS_ftruncate, libc::SYS_fadvise64, libc::SYS_flock,
    libc::SYS_fcntl, libc::SYS_getdents64, libc::SYS_mkdirat, libc::SYS_renameat,
    libc::SYS_renameat2, libc::SYS_unlinkat, libc::SYS_fchmod, libc::SYS_fchmodat,
    libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_readlinkat, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_getcwd, libc::SYS_dup, libc::SYS_dup3, libc::SYS_umask,
    // Accepted connections. No socket() and no connect(): there is no network.
    libc::SYS_accept4, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_sendto,
    libc::SYS_sendmsg, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_getsockname,
    libc::SYS_getpeername, libc::SYS_shutdown, libc::SYS_ppoll,
    // Memory, threads, time.
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk, libc::SYS_futex,
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn, libc::SYS_sigaltstack, libc::SYS_restart_syscall, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep, libc::SYS_nanosleep, libc::SYS_gettimeofday, libc::SYS_getrandom,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_uname,
    libc::SYS_sysinfo,
    // Answered with "there is no such call": see `without_clone3`.
    libc::SYS_clone3,
];

/// The same calls by their older names, which the C library still uses on this architecture.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_readlink,
    libc::SYS_access,
    libc::SYS_poll,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// What nobody outside of the operating system's own start has to call.
#[rustfmt::skip]
const DENIED: &[c_long] = &[
    // Time: a lock must not end early.
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    // Mounts and roots: a repository must not be covered or opened elsewhere.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot,
    libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsmount,
    libc::SYS_fsconfig, libc::SYS_fspick, libc::SYS_mount_setattr, libc::SYS_setns,
    libc::SYS_unshare, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_quotactl,
    libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at,
    // The kernel.
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module,
    libc::SYS_kexec_load, libc::SYS_reboot, libc::SYS_bpf, libc::SYS_perf_event_open,
    libc::SYS_userfaultfd, libc::SYS_syslog, libc::SYS_acct, libc::SYS_keyctl,
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_sethostname, libc::SYS_setdomainname,
    // Other processes.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp,
    libc::SYS_pidfd_getfd, libc::SYS_process_madvise,
];

/// Calls of this kind that only this architecture has.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[c_long] = &[];

/// Starting other programs.
const EXECUTING: &[c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// On x86-64 a kernel may offer every call a second time, with this bit set (x32).
const OTHER_ENTRANCE: c_long = 0x4000_0000;

/// ioctl requests of the warden (`linux/fs.h`, `linux/fsverity.h`): read and set the attributes,
/// measure and enable verity.
const IOCTLS: &[u64] = &[0x8008_6601, 0x4008_6602, 0xc004_6686, 0x4080_6685];
/// `FIONBIO`: std's way to make a socket blocking or not.
const NON_BLOCKING: u64 = 0x5421;

/// `PR_GET_AUXV` (Linux 6.4): a process reads what the kernel told it at its start; rustix does
/// when it first needs it.
const OWN_START: u64 = 0x4155_5856;

/// Installs the warden's filter on this thread and those it starts later.
pub(super) fn allow_list(state: &mut Confinement) -> Result<(), SandboxError> {
    let mut rules = any(ALLOWED.iter().chain(OLDER));
    for (call, conditions) in restricted()? {
        rules.entry(call).or_default().push(rule(conditions)?);
    }
    let allowed = filter(rules, SeccompAction::KillProcess, SeccompAction::Allow)?;
    install(
        &[without_clone3()?, allowed],
        "system calls: an allow-list for files and one socket",
        state,
    )
}

/// Installs the daemon's filter on this thread and those it starts later.
pub(super) fn deny_list(execute: bool, state: &mut Confinement) -> Result<(), SandboxError> {
    let executing = if execute { &[] } else { EXECUTING };
    let mut rules = any(DENIED.iter().chain(DENIED_HERE).chain(executing));
    rules.extend(rules.clone().into_iter().map(|(call, rule)| (call | OTHER_ENTRANCE, rule)));
    let denied = filter(rules, SeccompAction::Allow, SeccompAction::KillProcess)?;
    let what = "system calls: none for clocks, mounts, the kernel or other processes";
    install(&[denied], what, state)
}

/// Calls of the warden of which only some arguments are harmless: (call, conditions).
fn restricted() -> Result<Vec<(c_long, Vec<SeccompCondition>)>, SandboxError> {
    let executable = number(libc::PROT_EXEC);
    let mut calls = vec![
        // No memory becomes code.
        (libc::SYS_mmap, vec![when(2, Length::Dword, Is::MaskedEq(executable), 0)?]),
        (libc::SYS_mprotect, vec![when(2, Length::Dword, Is::MaskedEq(executable), 0)?]),
        // Threads, not processes.
        (
            libc::SYS_clone,
            vec![when(
                0,
                Length::Dword,
                Is::MaskedEq(number(libc::CLONE_THREAD)),
                number(libc::CLONE_THREAD),
            )?],
        ),
        // A thread's name.
        (libc::SYS_prctl, vec![when(0, Length::Dword, Is::Eq, number(libc::PR_SET_NAME))?]),
        // What the kernel told at the start.
        (libc::SYS_prctl, vec![when(0, Length::Dword, Is::Eq, OWN_START)?]),
        // Limits are read (the size of a stack), never set.
        (libc::SYS_prlimit64, vec![when(2, Length::Qword, Is::Eq, 0)?]),
        // A signal goes to this process itself (abort).
        (libc::SYS_tgkill, vec![when(0, Length::Dword, Is::Eq, u64::from(std::process::id()))?]),
    ];
    for &request in IOCTLS.iter().chain([&NON_BLOCKING]) {
        calls.push((libc::SYS_ioctl, vec![when(1, Length::Dword, Is::Eq, request)?]));
    }
    Ok(calls)
}

/// The flags of `clone3` lie in memory, where a filter cannot look. Told that it does not exist,
/// the C library uses `clone`, whose flags are an argument.
fn without_clone3() -> Result<BpfProgram, SandboxError> {
    let absent = SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap_or(38));
    filter(any([&libc::SYS_clone3]), SeccompAction::Allow, absent)
}

fn number(flag: libc::c_int) -> u64 {
    u64::from(flag.unsigned_abs())
}

fn any<'a>(calls: impl IntoIterator<Item = &'a c_long>) -> Rules {
    calls.into_iter().map(|&call| (call, Vec::new())).collect()
}

fn when(
    argument: u8,
    length: Length,
    is: Is,
    value: u64,
) -> Result<SeccompCondition, SandboxError> {
    SeccompCondition::new(argument, length, is, value).map_err(wrong)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, SandboxError> {
    SeccompRule::new(conditions).map_err(wrong)
}

fn filter(
    rules: Rules,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, SandboxError> {
    let here = TargetArch::try_from(std::env::consts::ARCH).map_err(wrong)?;
    let filter = SeccompFilter::new(rules, otherwise, listed, here).map_err(wrong)?;
    BpfProgram::try_from(filter).map_err(wrong)
}

fn install(
    filters: &[BpfProgram],
    what: &str,
    state: &mut Confinement,
) -> Result<(), SandboxError> {
    for filter in filters {
        match apply_filter(filter) {
            Ok(()) => {}
            // libc::EINVAL: a kernel without seccomp filters.
            Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error))
                if error.raw_os_error() == Some(libc::EINVAL) =>
            {
                state.lacks("system calls: this kernel has no seccomp filters");
                return Ok(());
            }
            Err(error) => return Err(wrong(error)),
        }
    }
    state.holds(what);
    Ok(())
}

fn wrong(error: impl std::fmt::Display) -> SandboxError {
    SandboxError::Rules { step: "filter system calls", reason: error.to_string() }
}
