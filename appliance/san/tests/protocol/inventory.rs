//! Finding targets and LUNs: many of them, oddly numbered, behind address translation.

use super::{assert_reads, config, login, spec, start, until};
use fakes::target::{Disk, NAME, Rule, Spec, Then, When, sense};
use san::{Addresses, San, TargetPortal, discover_all};

/// 700 LUNs by peripheral and flat addressing; LUN 0 is none of them.
#[tokio::test]
async fn more_than_256_luns_are_found_without_lun_0() {
    let disks: Vec<Disk> =
        (0..700).map(|number| Disk::new(number * 23 % 16_000 + 1, 4096)).collect();
    let target = start(Spec { disks: disks.clone(), ..Spec::default() }).await;
    let san = San::login(vec![config(target.address())]).await.unwrap();
    assert_eq!((san.luns().len(), san.skipped().len()), (700, 0));
    let last = &disks[600];
    let lun = san.find(&last.name().parse().unwrap()).unwrap();
    assert!(lun.info().lun.number().unwrap() > 255, "flat addressing");
    assert_eq!(lun.read(0, 4096).await.unwrap()[..], last.content[..]);
    assert!(san.luns().iter().all(|lun| lun.info().lun.number() != Some(0)));
    san.logout().await;
}

#[tokio::test]
async fn a_target_without_luns_is_no_error() {
    let target = start(Spec { disks: Vec::new(), ..Spec::default() }).await;
    let san = San::login(vec![config(target.address())]).await.unwrap();
    assert!(san.luns().is_empty());
    san.logout().await;
}

#[tokio::test]
async fn every_portal_is_asked_and_one_that_fails_is_named() {
    let (one, two) = (start(spec().0).await, start(spec().0).await);
    let dead = "127.0.0.1:1".to_owned();
    let portals = [one.address().to_string(), dead.clone(), two.address().to_string()];
    let found = discover_all(&portals, "iqn.2026-01.test:a", None, Addresses::AsTold).await;
    let place = |portal: &String, group| TargetPortal {
        target: NAME.into(),
        portal: portal.clone(),
        group,
    };
    assert_eq!(found.portals, [place(&portals[0], Some(1)), place(&portals[2], Some(1))]);
    assert_eq!(found.failed.len(), 1);
    assert_eq!(found.failed[0].0, dead);
}

/// A target behind address translation names an address that cannot be reached from here.
#[tokio::test]
async fn a_portal_can_be_kept_against_what_the_target_names() {
    let target = start(spec().0).await;
    let text = "TargetName=iqn.2026-01.test.fake:target\0TargetAddress=10.0.2.15:3260,1\0\
        TargetAddress=[fd00::15]:3260,2\0";
    let answer = move |exchange: &fakes::target::Exchange| {
        vec![exchange.answer(0x24, 0x80).with(20, u32::MAX).data(text.as_bytes())]
    };
    target.rule(Rule::always(When::Text, Then::instead(answer)));
    let portals = [target.address().to_string()];
    let told = discover_all(&portals, "iqn.2026-01.test:a", None, Addresses::AsTold).await;
    let told: Vec<_> = told.portals.iter().map(|place| place.portal.as_str()).collect();
    assert_eq!(told, ["10.0.2.15:3260", "[fd00::15]:3260"]);
    let asked = discover_all(&portals, "iqn.2026-01.test:a", None, Addresses::AsAsked).await;
    assert_eq!(asked.portals.len(), 1);
    let place = asked.portals[0].clone();
    assert_eq!(place.portal, portals[0]);
    let config = san::PortalConfig { portal: place.portal, ..config(target.address()) };
    San::login(vec![config]).await.unwrap().logout().await;
}

/// A long answer comes in several texts, each of which is asked for.
#[tokio::test]
async fn a_list_of_targets_may_come_in_parts() {
    let target = start(spec().0).await;
    let part = |flags: u8, transfer: u32, text: &'static str| {
        Then::instead(move |e| vec![e.answer(0x24, flags).with(20, transfer).data(text.as_bytes())])
    };
    target.rule(Rule::once(When::Text, part(0x40, 5, "TargetName=iqn.a:1\0TargetAddr")));
    target.rule(Rule::once(When::Text, part(0x00, 6, "ess=10.0.0.1\0TargetName=iqn.a:2\0")));
    target.rule(Rule::once(When::Text, part(0x80, u32::MAX, "TargetAddress=array.example:3261\0")));
    let portal = target.address().to_string();
    let targets = san::discover(&portal, "iqn.2026-01.test:a", None).await.unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!(targets[0].addresses[0].portal, "10.0.0.1:3260");
    assert_eq!(targets[1].addresses[0].portal, "array.example:3261");
    let seen = target.seen();
    let tags: Vec<_> = seen[0].iter().filter(|pdu| pdu.opcode() == 4).map(|p| p.word(20)).collect();
    assert_eq!(tags, [u32::MAX, 5, 6]);
}

/// "Reported LUNs data has changed" comes with a command to a LUN that is not concerned.
#[tokio::test]
async fn luns_that_come_and_go_are_seen_when_the_target_says_so() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    let more = Disk::new(300, 1 << 20);
    let changed = || Rule::once(When::Command(0x88), Then::Status(2, sense(6, 0x3f, 0x0e)));

    target.set_disks(vec![disk.clone(), more.clone()]);
    assert_reads(&lun, &target, &disk).await;
    assert_eq!(san.luns().len(), 1, "nobody has said so");
    target.rule(changed());
    assert_reads(&lun, &target, &disk).await;
    until("the new LUN is there", || san.luns().len() == 2).await;
    let found = san.find(&more.name().parse().unwrap()).unwrap();
    assert_reads(&found, &target, &more).await;

    target.set_disks(vec![disk.clone()]);
    target.rule(changed());
    assert_reads(&lun, &target, &disk).await;
    until("the LUN is gone", || san.luns().len() == 1).await;
    assert!(san.find(&more.name().parse().unwrap()).is_err());
    found.read(0, 4096).await.unwrap_err();
    san.logout().await;
}

#[tokio::test]
async fn another_presentation_is_seen_with_the_next_inventory() {
    let (spec, disk) = spec();
    let target = start(spec).await;
    let (san, lun) = login(&target).await;
    assert_eq!(lun.write_protected(), Some(true));
    for write_protected in [false, true] {
        target.set_disks(vec![Disk { write_protected, ..disk.clone() }]);
        san.rescan().await;
        assert_eq!(lun.write_protected(), Some(write_protected));
    }
    assert_reads(&lun, &target, &disk).await;
    san.logout().await;
}
