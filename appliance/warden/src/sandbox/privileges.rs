//! User, groups, capabilities, and that none of them comes back.

use super::{Account, Confinement, SandboxError, kernel};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::thread::{Gid, Uid};
use rustix::{io::Errno, process::geteuid};

/// Becomes `user` and keeps at most `keep` of the capabilities.
///
/// Without `CAP_SETPCAP` (not started by root) the bounding set stays as it is; without
/// `CAP_SETUID` the user does. Both are told.
pub(super) fn reduce(
    user: Option<&Account>,
    groups: &[u32],
    keep: CapabilitySet,
    state: &mut Confinement,
) -> Result<(), SandboxError> {
    let now = capabilities(None).map_err(kernel("read the capabilities"))?.permitted;
    let keep = keep & now;
    if now.contains(CapabilitySet::SETPCAP) {
        bound(keep)?;
        state.holds("the bounding set of capabilities is cut down to those kept");
    } else {
        state.lacks("the bounding set of capabilities is untouched: not started by root");
    }
    become_user(user, groups, now, state)?;
    clear_ambient_capability_set().map_err(kernel("clear the ambient capabilities"))?;
    let sets =
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(kernel("give up capabilities"))?;
    state.holds(format!("capabilities kept: {}", names(keep)));
    Ok(())
}

/// Every capability number that the kernel knows leaves the bounding set, unless kept. The kernel
/// answers `EINVAL` to the first one it does not know.
fn bound(keep: CapabilitySet) -> Result<(), SandboxError> {
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(error) => return Err(kernel("cut down the bounding set of capabilities")(error)),
        }
    }
    Ok(())
}

fn become_user(
    user: Option<&Account>,
    groups: &[u32],
    now: CapabilitySet,
    state: &mut Confinement,
) -> Result<(), SandboxError> {
    let me = geteuid();
    let Some(user) = user else {
        if me.is_root() {
            state.lacks("it runs as root: no user of its own was given");
        }
        return Ok(());
    };
    let wanted = Uid::from_raw(user.user);
    if !now.contains(CapabilitySet::SETUID.union(CapabilitySet::SETGID)) {
        if me != wanted {
            state.lacks(format!(
                "it runs as user {} instead of {}: only root can change the user",
                me.as_raw(),
                user.user
            ));
        }
        return Ok(());
    }
    let group = Gid::from_raw(user.group);
    let others: Vec<Gid> = groups.iter().map(|&group| Gid::from_raw(group)).collect();
    set_keep_capabilities(true).map_err(kernel("keep capabilities over the change of user"))?;
    set_thread_groups(&others).map_err(kernel("set the groups"))?;
    set_thread_res_gid(group, group, group).map_err(kernel("set the group"))?;
    set_thread_res_uid(wanted, wanted, wanted).map_err(kernel("set the user"))?;
    set_keep_capabilities(false).map_err(kernel("end keeping capabilities"))?;
    state.holds(format!("it runs as user {}", user.user));
    Ok(())
}

/// Nothing that is executed gains rights, nobody of the same user looks into the memory, and the
/// memory is never written to a core file.
pub(super) fn no_way_back(state: &mut Confinement) -> Result<(), SandboxError> {
    set_no_new_privs(true).map_err(kernel("set no_new_privs"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(kernel("forbid core dumps"))?;
    state.holds("no new privileges, no core dump, no tracing by the same user");
    Ok(())
}

fn names(set: CapabilitySet) -> String {
    if set.is_empty() {
        return "none".into();
    }
    set.iter_names().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join(", ")
}
