//! Each trial: a role, an attack, and how it has to end.

use crate::probe::{Role, USER, start};
use libtest_mimic::{Failed, Trial};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use tempfile::TempDir;

/// How an attack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Done,
    Denied,
    Killed,
}

/// Attacks on files, and their ends for the warden and the daemon. `outside` is writable to
/// everyone by its mode: what refuses is the sandbox.
const FILES: &[(&str, Ends, Ends)] = &[
    ("read", Ends::Denied, Ends::Done),
    ("write", Ends::Denied, Ends::Denied),
    ("truncate", Ends::Denied, Ends::Denied),
    ("create", Ends::Denied, Ends::Denied),
    ("remove", Ends::Denied, Ends::Denied),
    ("move-in", Ends::Denied, Ends::Denied),
    ("move-over", Ends::Denied, Ends::Denied),
    ("link-in", Ends::Killed, Ends::Denied),
    ("symlink-in", Ends::Killed, Ends::Done),
    ("write-inside", Ends::Done, Ends::Done),
    ("execute", Ends::Killed, Ends::Killed),
    ("thread", Ends::Done, Ends::Done),
];

/// Calls that end either process.
const CALLS: &[(&str, i64)] = &[
    ("settimeofday", libc::SYS_settimeofday),
    ("clock_settime", libc::SYS_clock_settime),
    ("adjtimex", libc::SYS_adjtimex),
    ("clock_adjtime", libc::SYS_clock_adjtime),
    ("mount", libc::SYS_mount),
    ("umount2", libc::SYS_umount2),
    ("move_mount", libc::SYS_move_mount),
    ("fsopen", libc::SYS_fsopen),
    ("pivot_root", libc::SYS_pivot_root),
    ("chroot", libc::SYS_chroot),
    ("unshare", libc::SYS_unshare),
    ("setns", libc::SYS_setns),
    ("swapon", libc::SYS_swapon),
    ("init_module", libc::SYS_init_module),
    ("finit_module", libc::SYS_finit_module),
    ("delete_module", libc::SYS_delete_module),
    ("kexec_load", libc::SYS_kexec_load),
    ("reboot", libc::SYS_reboot),
    ("bpf", libc::SYS_bpf),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("keyctl", libc::SYS_keyctl),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    #[cfg(target_arch = "x86_64")]
    ("iopl", libc::SYS_iopl),
    #[cfg(target_arch = "x86_64")]
    ("kexec_file_load", libc::SYS_kexec_file_load),
];

/// Calls that end the warden only.
const WARDEN_CALLS: &[(&str, i64)] = &[
    ("socket", libc::SYS_socket),
    ("connect", libc::SYS_connect),
    ("bind", libc::SYS_bind),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("memfd_create", libc::SYS_memfd_create),
    ("kill", libc::SYS_kill),
    ("setuid", libc::SYS_setuid),
    ("setresuid", libc::SYS_setresuid),
    ("capset", libc::SYS_capset),
    ("seccomp", libc::SYS_seccomp),
    ("mknodat", libc::SYS_mknodat),
    ("linkat", libc::SYS_linkat),
    ("symlinkat", libc::SYS_symlinkat),
    ("setxattr", libc::SYS_setxattr),
    ("clone", libc::SYS_clone),
    ("prctl", libc::SYS_prctl),
    ("ioctl", libc::SYS_ioctl),
    ("quotactl", libc::SYS_quotactl),
    #[cfg(target_arch = "x86_64")]
    ("fork", libc::SYS_fork),
    #[cfg(target_arch = "x86_64")]
    ("vfork", libc::SYS_vfork),
];

pub(crate) fn all() -> Vec<Trial> {
    let mut trials = Vec::new();
    for &(attack, warden, daemon) in FILES {
        trials.push(trial(Role::Warden, attack, attack.into(), warden));
        trials.push(trial(Role::Daemon, attack, attack.into(), daemon));
    }
    for &(name, number) in CALLS {
        for role in [Role::Warden, Role::Daemon] {
            trials.push(trial(role, name, format!("call {number}"), Ends::Killed));
        }
    }
    for &(name, number) in WARDEN_CALLS {
        trials.push(trial(Role::Warden, name, format!("call {number}"), Ends::Killed));
    }
    for (role, asks) in [(Role::Daemon, Ends::Denied), (Role::Asking, Ends::Done)] {
        trials.push(trial(role, "a device is asked", "ask-device".into(), asks));
        trials.push(trial(role, "a device is written to", "write-device".into(), Ends::Denied));
    }
    trials.push(trial(Role::Warden, "its daily work", "work".into(), Ends::Done));
    trials.push(Trial::test("daemon: immutable attribute", || as_root(Role::Daemon, Ends::Denied)));
    trials.push(Trial::test("warden: immutable attribute", || as_root(Role::Warden, Ends::Done)));
    trials.push(Trial::test("warden: the kernel's own view", || kernels_view(Role::Warden)));
    trials.push(Trial::test("daemon: the kernel's own view", || kernels_view(Role::Daemon)));
    trials.push(Trial::test("the report says what is missing", report));
    trials
}

fn trial(role: Role, name: &str, attack: String, ends: Ends) -> Trial {
    Trial::test(format!("{role:?}: {name}").to_lowercase(), move || {
        let place = place()?;
        expect(role, &attack, place.path(), ends)
    })
}

fn expect(role: Role, attack: &str, place: &Path, ends: Ends) -> Result<(), Failed> {
    let output = start(role, attack, place);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let really = match (output.status.signal(), told.as_str()) {
        (Some(libc::SIGSYS), _) => Ends::Killed,
        (None, "done") => Ends::Done,
        (None, "errno 1" | "errno 13" | "errno 18") => Ends::Denied, // EPERM, EACCES, EXDEV
        (signal, _) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{told:?}, signal {signal:?}, {errors}").into());
        }
    };
    let kept = std::fs::read(place.join("outside/file")).is_ok_and(|bytes| bytes == b"locked");
    if really == ends && kept {
        Ok(())
    } else {
        Err(format!("{attack}: {really:?} instead of {ends:?}; file untouched: {kept}").into())
    }
}

/// `inside/` and `outside/`, each with a file, open to every user.
fn place() -> Result<TempDir, Failed> {
    let place =
        tempfile::Builder::new().prefix("sandbox").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let open =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    open(place.path(), 0o755)?;
    for name in ["inside", "outside"] {
        let folder = place.path().join(name);
        std::fs::create_dir(&folder)?;
        open(&folder, 0o777)?;
        let file = folder.join("file");
        std::fs::write(&file, b"locked")?;
        open(&file, 0o666)?;
        if rustix::process::geteuid().is_root() {
            chown(&file, Some(USER.user), Some(USER.group))?;
        }
    }
    Ok(place)
}

#[allow(clippy::print_stdout)] // to be seen by whoever runs the tests
fn skipped(test: &str, why: &str) -> Result<(), Failed> {
    println!("SKIPPED: {test}: {why}");
    Ok(())
}

/// The attribute is the kernel's to give: as a plain user nobody sets it, so only root can compare.
fn as_root(role: Role, ends: Ends) -> Result<(), Failed> {
    if !rustix::process::geteuid().is_root() {
        return skipped("immutable attribute", "only root can hand on the capability");
    }
    let place = place()?;
    expect(role, "immutable", place.path(), ends)
}

/// `/proc/<pid>/status` as the kernel writes it.
fn kernels_view(role: Role) -> Result<(), Failed> {
    let place = place()?;
    let output = match role {
        // The warden cannot read /proc any more; what it keeps is seen at its process (attacks).
        Role::Warden => return expect(role, "status", place.path(), Ends::Denied),
        Role::Daemon | Role::Asking => start(role, "status", place.path()),
    };
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("missing").trim().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!(field("CapBnd:"), "0000000000000000");
        assert_eq!(field("Uid:").split_whitespace().next(), Some("61001"));
        assert_eq!(field("Groups:"), "");
    } else {
        return skipped("bounding set", "only root can cut it down");
    }
    Ok(())
}

fn report() -> Result<(), Failed> {
    let place = place()?;
    let output = start(Role::Warden, "report", place.path());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("enforced: system calls: an allow-list"), "{told}");
    let root = rustix::process::geteuid().is_root();
    let said = told.contains("NOT enforced: the bounding set");
    assert_eq!(said, !root, "{told}");
    Ok(())
}
