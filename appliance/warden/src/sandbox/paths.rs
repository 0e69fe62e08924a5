//! Landlock: which paths stay reachable.
//!
//! Rights are asked for as of ABI 5 (Linux 6.10: devices' ioctls) and signals as of ABI 6
//! (Linux 6.12); an older kernel enforces what it knows, which is told as partly.

use super::{Confinement, DaemonPlan, SandboxError};
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, PathFd, PathFdError, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use std::path::{Path, PathBuf};

const RULES: ABI = ABI::V5;
/// Where the nodes of devices are.
const DEVICES: &str = "/dev";

/// A path, and what may be done to it and below it.
type Kept<'a> = (&'a Path, BitFlags<AccessFs>);

/// Nothing but `directories` can be opened, and in them files and directories only: no devices,
/// pipes, sockets or links are made, nothing is executed.
pub(super) fn only(directories: &[PathBuf], state: &mut Confinement) -> Result<(), SandboxError> {
    let all = AccessFs::from_all(RULES);
    let kept = AccessFs::from_read(RULES) & !AccessFs::Execute
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let kept: Vec<Kept<'_>> = directories.iter().map(|path| (path.as_path(), kept)).collect();
    apply(all, &kept, true, "only the repository and the state can be opened", state)
}

/// Everything can be read as before, but written only below the plan's writable paths. Devices and
/// sockets that are open already, and the network, are not concerned.
pub(super) fn write_only_below(
    plan: &DaemonPlan,
    state: &mut Confinement,
) -> Result<(), SandboxError> {
    let mut handled = AccessFs::from_write(RULES);
    if !plan.execute {
        handled |= AccessFs::Execute;
    }
    let written = AccessFs::from_write(RULES)
        & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let mut kept: Vec<Kept<'_>> =
        plan.writable.iter().map(|path| (path.as_path(), written)).collect();
    if plan.devices {
        kept.push((Path::new(DEVICES), AccessFs::IoctlDev.into()));
    }
    apply(handled, &kept, !plan.execute, "files are written below the named paths only", state)
}

fn apply(
    handled: BitFlags<AccessFs>,
    kept: &[Kept<'_>],
    keep_signals_in: bool,
    what: &str,
    state: &mut Confinement,
) -> Result<(), SandboxError> {
    let mut rules = Ruleset::default().handle_access(handled).map_err(wrong)?;
    if keep_signals_in {
        rules = rules.scope(Scope::Signal).map_err(wrong)?;
    }
    let mut rules = rules.create().map_err(wrong)?;
    for &(path, kept) in kept {
        rules = beneath(rules, path, kept)?;
    }
    let status = rules.restrict_self().map_err(wrong)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => state.holds(format!("paths (Landlock): {what}")),
        RulesetStatus::PartiallyEnforced => {
            state.holds(format!("paths (Landlock), as far as this kernel can: {what}"));
            state.lacks("part of the restriction of paths: the kernel's Landlock is too old");
        }
        RulesetStatus::NotEnforced => {
            state.lacks(format!("paths: this kernel has no Landlock; not true that {what}"));
        }
    }
    Ok(())
}

fn beneath(
    rules: RulesetCreated,
    path: &Path,
    kept: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SandboxError> {
    let opened = PathFd::new(path).map_err(|error| match error {
        PathFdError::OpenCall { source, .. } => {
            SandboxError::Path { path: path.to_owned(), source }
        }
        other => SandboxError::Rules { step: "open a path", reason: other.to_string() },
    })?;
    // What concerns directories alone cannot be given for a file.
    let kept = if path.is_dir() { kept } else { kept & AccessFs::from_file(RULES) };
    rules.add_rule(PathBeneath::new(opened, kept)).map_err(wrong)
}

fn wrong(error: RulesetError) -> SandboxError {
    SandboxError::Rules { step: "restrict paths", reason: error.to_string() }
}
