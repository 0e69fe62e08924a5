//! A guest comes up, does what it is told, and cannot touch the host.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::print_stdout, reason = "a skipped test says so loudly")]

use lab::machine::{Machine, MachineSpec};
use lab::place::fresh_directory;
use std::time::Duration;

#[test]
fn a_guest_obeys_says_why_it_cannot_and_writes_nothing_here() {
    if let Some(why) = Machine::impossible() {
        println!("SKIPPED: a_guest_obeys_says_why_it_cannot_and_writes_nothing_here: {why}");
        return;
    }
    let directory = fresh_directory().unwrap();
    let guest = Machine::start(directory.path(), &MachineSpec::default()).unwrap();

    let mark = directory.path().join("mark");
    let place = mark.display();
    let script =
        format!("echo one >'{place}'\ncat '{place}'; id -u; grep -c ' / overlay' /proc/mounts");
    assert_eq!(guest.tell(&script).unwrap(), "one\n0\n1\n");
    assert!(!mark.exists(), "what a guest writes stays in it");
    let refused = guest.tell("mount -t 9p -o trans=virtio,rw host /mnt && touch /mnt/etc/x");
    assert!(refused.is_err(), "not by another door either");

    // The kernel finds modprobe by itself; functions stay, what a script sets does not.
    guest.tell("mkdir -p /run/lab/c; mount -t configfs none /run/lab/c").unwrap();
    guest.learn("greet() { echo \"hello $1\"; }").unwrap();
    assert_eq!(guest.tell("X=1; greet you").unwrap(), "hello you\n");
    assert_eq!(
        guest.tell("echo ${X-unset}; printf 'no end of line'").unwrap().trim_end(),
        "unset\nno end of line"
    );

    let error = guest.tell("echo before; cat /no/such/file; echo after").unwrap_err().to_string();
    assert!(error.contains("before") && error.contains("No such file"), "{error}");
    assert!(!error.contains("after\n"), "the first failure ends a script: {error}");
    assert_eq!(guest.run("exit 7", Duration::from_secs(5)).unwrap().status, 7);

    let error = guest.run("sleep 100", Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("sleep 100"), "{error}");
    assert!(guest.tell("true").is_err(), "a guest that kept somebody waiting is switched off");
}
