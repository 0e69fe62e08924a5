//! Previews and expiry by keep rules. That a preview is what a deletion then does is also shown on
//! random histories, in `compact`.

use super::support::{Image, Rig, backup, options};
use crate::{Deleted, Kept, Preview};
use fakes::disk::Random;
use model::{RecoveryPointId, VmIdentity};
use policy::calendar::Calendar;
use policy::gfs::KeepRules;
use std::ops::ControlFlow;

const DAY: i64 = 24 * 3600;

fn three_days(vm: &VmIdentity) -> KeepRules {
    match &*vm.name {
        "vm 3" => KeepRules::default(),
        _ => KeepRules { daily: 3, ..KeepRules::default() },
    }
}

#[test]
fn a_preview_says_why_each_point_stays_and_what_the_others_free() {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    let point = |number: u8, lock| {
        let image: Image = (0..9).map(|cell| u64::from(number) * 100 + cell).collect();
        backup(&repository, number, &image, None, lock).unwrap().0.id
    };
    let (free, locked, held, read) = (point(1, 0), point(2, 1000), point(3, 0), point(4, 0));
    repository.hold(held, "case 1").unwrap();
    let reader = repository.open_disk(read, 0).unwrap();
    let unknown = RecoveryPointId([9; 16]);
    let size = repository.ledger_head().0;
    let found = repository.preview(&[free, locked, held, read, unknown, free]).unwrap();
    assert_eq!(repository.ledger_head().0, size, "a question leaves nothing on record");
    assert_eq!(found.go, [free]);
    let [a, b, c, d] = &*found.kept else { panic!("{found:?}") };
    assert!(matches!(a, (id, Kept::Locked { .. }) if *id == locked), "{a:?}");
    assert_eq!(*b, (held, Kept::Held { matters: vec!["case 1".into()] }));
    assert_eq!((c, d), (&(read, Kept::InUse), &(unknown, Kept::Unknown)));
    let freed = repository.delete(&[free]).unwrap();
    assert_eq!(freed, Deleted { segments: found.segments, bytes: found.bytes });
    drop(reader);
    assert_eq!(repository.preview(&[read]).unwrap().go, [read]);
    let none = repository.preview(&[locked]).unwrap();
    assert_eq!((none.segments, none.bytes), (0, 0), "nothing goes, so nothing is freed");
}

#[test]
fn expiry_deletes_what_the_rules_let_go_of_and_no_lock_keeps() {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    let (mut points, mut random) = (Vec::new(), Random(5));
    for day in 0..6 {
        for vm in 1..4u8 {
            let image: Image = (0..8).map(|_| random.next() % 40).collect();
            // The first of vm 1 is locked for long.
            let lock = if (day, vm) == (0, 1) { 100 * DAY } else { 0 };
            let (point, _) =
                backup(&repository, vm, &image, None, u64::try_from(lock).unwrap()).unwrap();
            points.push((day, vm, point.id));
        }
        rig.clock.pass(DAY);
        repository.tick().unwrap();
    }
    let of = |day, vm| points.iter().find(|p| (p.0, p.1) == (day, vm)).unwrap().2;
    repository.hold(of(1, 2), "case").unwrap();
    let calendar = Calendar::default();
    let preview = repository.preview_expiry(&three_days, calendar).unwrap();
    let expired = repository.expire(&three_days, calendar).unwrap();
    let Preview { go, kept, segments, bytes } = preview;
    assert_eq!((&expired.deleted, &expired.kept), (&go, &kept));
    assert_eq!(expired.freed, Deleted { segments, bytes });
    let mut wanted = vec![of(1, 1), of(2, 1), of(0, 2), of(2, 2)];
    wanted.sort_unstable();
    let mut deleted = expired.deleted.clone();
    deleted.sort_unstable();
    assert_eq!(deleted, wanted);
    let reasons: Vec<_> = expired.kept.iter().map(|(id, _)| *id).collect();
    assert_eq!(reasons, [of(0, 1), of(1, 2)], "{:?}", expired.kept);
    assert_eq!(expired.wanted, 3 + 3 + 6, "vm 3 has no rules");
    let again = repository.expire(&three_days, calendar).unwrap();
    assert!(again.deleted.is_empty() && again.kept == expired.kept);
}

#[test]
fn a_damaged_point_stays_until_there_is_a_sound_one() {
    let rig = Rig::new(&options(1));
    let repository = rig.open(&options(1));
    let image: Image = (1..12).collect();
    let (damaged, _) = backup(&repository, 1, &image, None, 0).unwrap();
    let path = "segments/00000001.segment";
    rig.disk.remove_below(path);
    let report = repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.quarantined.len(), 1);
    rig.clock.pass(10 * DAY);
    repository.tick().unwrap();
    let calendar = Calendar::default();
    let expired = repository.expire(&three_days, calendar).unwrap();
    assert_eq!((expired.deleted.len(), &*expired.kept), (0, &[(damaged.id, Kept::Damaged)][..]));
    let (sound, _) = backup(&repository, 1, &image, None, 0).unwrap();
    let expired = repository.expire(&three_days, calendar).unwrap();
    assert_eq!((&*expired.deleted, expired.wanted), (&[damaged.id][..], 1));
    assert_eq!(repository.points()[0].id, sound.id);
}
