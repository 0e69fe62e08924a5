//! The repository grows by a disk, and loses it.

use crate::full_disk::Small;
use crate::site::{VM, ended_well};
use crate::two_users::{Two, start_with};
use api::{Status, Volume, VolumeState, Volumes};
use std::process::Command;

fn volumes(two: &Two) -> Vec<Volume> {
    let cli = two.site.daemon.cli().unwrap();
    let volumes: Volumes = cli.json(&["repository", "volume", "list"]).unwrap();
    volumes.volumes
}

#[test]
fn a_disk_is_added_used_and_its_loss_takes_its_own_points_only() {
    // The own disk of the repository has less room than the one that is added.
    let mut own = None;
    let two = start_with("volumes", |directory, config| {
        own = Small::mount(&directory.join("own"), 400);
        config.repository.segment_mib = 16;
        config.repository.path = directory.join("own").join("repository");
        own.is_some()
    });
    let Some(mut two) = two else { return };
    let cli = two.site.daemon.cli().unwrap();
    let refused = cli.output(&["repository", "volume", "add", "1"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("mount the disk"), "{said}");

    let path = two.site.daemon.config.repository.path.join("volumes").join("1");
    let Some(disk) = Small::mount(&path, 800) else { return };
    // As the repository's own directory is: the daemon's group reads, and nobody else.
    for program in ["chown", "chmod"] {
        let like = format!("--reference={}", two.site.daemon.config.repository.path.display());
        assert!(Command::new(program).arg(like).arg(&path).status().unwrap().success());
    }
    let added: Volumes = cli.json(&["repository", "volume", "add", "1"]).unwrap();
    let states: Vec<_> = added.volumes.iter().map(|volume| volume.state).collect();
    assert_eq!(states, [VolumeState::Present, VolumeState::Added]);
    two.site.daemon.stop().unwrap();
    two.site.daemon.start_again().unwrap();
    let run = two.site.backup_and_compare("on the new disk");
    let [zero, one] = volumes(&two)[..] else { panic!("two volumes") };
    assert_eq!((zero.points, one.points, one.state), (0, 1, VolumeState::Present));
    assert!(one.segments > 0 && one.used_bytes > 0 && one.free_bytes.is_some(), "{one:?}");

    // The disk is pulled out.
    two.site.daemon.stop().unwrap();
    two.warden.kill().unwrap();
    lab::place::release(&path);
    drop(disk);
    two.warden.start_again().unwrap();
    two.site.daemon.start_again().unwrap();
    let [zero, one] = volumes(&two)[..] else { panic!("two volumes") };
    assert_eq!((zero.state, one.state), (VolumeState::Present, VolumeState::Missing));
    assert_eq!(one.points, 1, "the point is known, and that it is on the lost disk");
    let status: Status = two.site.daemon.cli().unwrap().json(&["status"]).unwrap();
    let told = status.reasons.iter().any(|reason| reason.text.contains("Volume 1"));
    assert!(told, "{:?}", status.reasons);
    let cli = two.site.daemon.cli().unwrap();
    let point = run.point.unwrap().to_string();
    let read = cli.output(&["point", "verify", &point]).unwrap();
    assert!(!read.status.success(), "what is gone is not called whole");
    let again = two.site.backup();
    assert!(ended_well(&again), "{VM} has its next point on the disk that is left: {again:#?}");
    assert_eq!(volumes(&two)[0].points, 1);
}
