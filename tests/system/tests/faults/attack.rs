//! What root on the box can do to a sealed segment through the file system: nothing by mistake.
//! (What he can do on purpose stands in `appliance/format/FORMAT.md`, section 11.)

use crate::site::{Site, ended_well};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lets the test remove what it made.
struct Release(PathBuf);

impl Drop for Release {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-i"]).arg(&self.0).status();
    }
}

#[test]
fn a_sealed_segment_cannot_be_removed_written_or_renamed_by_root() {
    let site = Site::with(|config| config.repository.immutable = true);
    let repository = site.daemon.config.repository.path.clone();
    let _release = Release(repository.clone());
    let run = site.backup();
    assert!(ended_well(&run), "{run:#?}");

    let segments = sealed(&repository.join("segments"));
    assert!(!segments.is_empty());
    for segment in segments {
        let flags = Command::new("lsattr").arg(&segment).output().unwrap();
        let flags = String::from_utf8_lossy(&flags.stdout).into_owned();
        if !flags.split(' ').next().unwrap_or_default().contains('i') {
            println!("SKIPPED: attack: this file system or user has no immutable attribute");
            return;
        }
        assert!(std::fs::remove_file(&segment).is_err(), "removed");
        assert!(std::fs::rename(&segment, segment.with_extension("gone")).is_err(), "renamed");
        assert!(std::fs::File::options().write(true).open(&segment).is_err(), "opened to write");
    }
    site.backup_and_compare("after the attack");
}

fn sealed(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "segment")).collect()
}
