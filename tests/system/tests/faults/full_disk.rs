//! The repository's file system is full.

use crate::site::{Site, VM, ended_well};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own; unmounted when dropped.
pub struct Small(pub PathBuf);

impl Small {
    pub fn mount(path: &Path, mib: u64) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={mib}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "holdfast-test"])
            .arg(path)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(path.into())),
            other => {
                println!("SKIPPED: full_disk: mounting a tmpfs needs root: {other:?}");
                None
            }
        }
    }

    fn resize(&self, mib: u64) {
        let size = format!("remount,size={mib}m");
        let status = Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_repository_stops_ingest_keeps_what_is_there_and_says_so() {
    let place = lab::place::fresh_directory().unwrap();
    // Room for three segments that are written at a time, and not for the noise below.
    let Some(small) = Small::mount(&place.path().join("small"), 56) else { return };
    let path = small.0.join("repository");
    let site = Site::with(|config| {
        config.repository.path = path;
        config.repository.segment_mib = 16;
        config.repository.reserve_mib = Some(4);
    });
    let truth = site.lab.keep_truth(VM, 0, "first").unwrap();
    let first = site.backup();
    assert!(ended_well(&first), "{first:#?}");

    // Bytes that neither compress nor repeat, more than there is room for.
    let noise = lab::noise::bytes(1, 40 << 20);
    site.lab.write(VM, 0, 50 << 20, &noise).unwrap();
    let full = site.backup();
    site.failed_cleanly(&full, &["full"]);
    assert_eq!(full.error.as_ref().unwrap().kind, Some(model::ErrorKind::Full));
    assert_eq!(site.points().len(), 1, "nothing was deleted, nothing was half kept");
    site.restore_and_compare(&first, &truth);

    small.resize(400);
    site.backup_and_compare("after room was made");
    drop(site);
}
