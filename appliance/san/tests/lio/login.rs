//! Who may log in, as whom, and what he sees then.

use crate::Test;
use crate::array::{Array, Disk, SIZE, assert_equal, only_lun, run};
use lab::machine::lio::{Account, Client, LioTarget};
use model::ErrorKind;
use san::{Chap, ChapAlgorithm, PortalConfig, San, Secret, discover};

pub const TRIALS: &[(&str, Test)] = &[
    ("chap_with_md5_one_way_and_mutual", |array, name| chap(array, name, ChapAlgorithm::Md5)),
    ("chap_with_sha1_one_way_and_mutual", |array, name| chap(array, name, ChapAlgorithm::Sha1)),
    ("chap_with_sha256_one_way_and_mutual", |array, name| chap(array, name, ChapAlgorithm::Sha256)),
    ("chap_with_sha3_256_one_way_and_mutual", |array, name| {
        chap(array, name, ChapAlgorithm::Sha3_256);
    }),
    ("whoever_cannot_prove_himself_is_refused", whoever_cannot_prove_himself_is_refused),
    ("an_unknown_initiator_is_not_allowed", an_unknown_initiator_is_not_allowed),
    ("a_target_that_insists_on_digests_gets_them", a_target_that_insists_on_digests_gets_them),
    ("portals_that_cannot_be_reached_are_overridden", portals_that_cannot_be_reached),
    ("a_lun_5_without_a_lun_0_is_found", a_lun_5_without_a_lun_0_is_found),
];

/// Lets only our initiator in, which sees the LUN under the number 5.
fn restrict(target: &mut LioTarget, initiator: &str, with_chap: bool) {
    let account = |user: &str| Account { user: user.into(), secret: format!("{user}-secret-01") };
    target.client = Some(Client {
        name: initiator.to_owned(),
        lun: 5,
        write_protected: true,
        account: with_chap.then(|| account("ours")),
        mutual: with_chap.then(|| account("theirs")),
    });
}

fn one_way(algorithms: &[ChapAlgorithm]) -> Chap {
    let secret = Secret::new("ours-secret-01");
    Chap { algorithms: algorithms.to_vec(), ..Chap::new("ours", secret) }
}

fn mutual(algorithms: &[ChapAlgorithm]) -> Chap {
    let theirs = ("theirs".to_owned(), Secret::new("theirs-secret-01"));
    Chap { mutual: Some(theirs), ..one_way(algorithms) }
}

fn with(array: &Array, disk: &Disk, chap: Option<Chap>) -> PortalConfig {
    PortalConfig { chap, ..array.way(disk, 0) }
}

fn chap(array: &Array, name: &str, algorithm: ChapAlgorithm) {
    let disk = array.disk(name, |target, initiator| restrict(target, initiator, true));
    run(async {
        for chap in [one_way(&[algorithm]), mutual(&[algorithm])] {
            let san = San::login(vec![with(array, &disk, Some(chap))]).await.unwrap();
            assert_equal(&only_lun(&san), &disk.content).await;
            san.logout().await;
        }
    });
}

fn whoever_cannot_prove_himself_is_refused(array: &Array, name: &str) {
    let disk = array.disk(name, |target, initiator| restrict(target, initiator, true));
    let all = ChapAlgorithm::STRONGEST_FIRST;
    let wrong = Secret::new("wrongwrongwrong");
    let stranger = Chap { secret: wrong.clone(), ..mutual(&all) };
    let impostor = Chap { mutual: Some(("theirs".into(), wrong)), ..mutual(&all) };
    run(async {
        // Whoever does not even try gets no answer from LIO: it closes the connection.
        let error = San::login(vec![with(array, &disk, None)]).await.unwrap_err();
        let text = model::chain(&error);
        assert!(text.contains(&disk.target.name) && text.contains("may want CHAP"), "{text}");
        for (who, chap) in [("stranger", stranger), ("impostor", impostor)] {
            let error = San::login(vec![with(array, &disk, Some(chap))]).await.unwrap_err();
            let text = format!("{} {error:?}", model::chain(&error));
            assert_eq!(error.kind(), ErrorKind::Refused, "{who}: {text}");
            assert!(text.contains(&disk.target.name), "{text}");
            assert!(!text.contains("secret-01") && !text.contains("wrongwrong"), "{text}");
        }
        let san = San::login(vec![with(array, &disk, Some(mutual(&all)))]).await.unwrap();
        san.logout().await;
    });
}

fn an_unknown_initiator_is_not_allowed(array: &Array, name: &str) {
    let disk = array.disk(name, |target, initiator| restrict(target, initiator, false));
    let stranger = PortalConfig {
        initiator: "iqn.2026-01.test.holdfast:stranger".into(),
        ..array.way(&disk, 0)
    };
    run(async {
        let error = San::login(vec![stranger]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        let san = San::login(vec![array.way(&disk, 0)]).await.unwrap();
        san.logout().await;
    });
}

fn a_target_that_insists_on_digests_gets_them(array: &Array, name: &str) {
    let disk = array.disk(name, |target, _| target.digests = true);
    run(async {
        // Neither is preferred by us.
        let san = San::login(vec![array.way(&disk, 0)]).await.unwrap();
        let agreed = &san.sessions()[0];
        assert!(agreed.header_digest && agreed.data_digest);
        assert_equal(&only_lun(&san), &disk.content).await;
        san.logout().await;
    });
}

/// The array names addresses of its own network: they are told, and any portal can be used
/// instead of them.
fn portals_that_cannot_be_reached(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    run(async {
        for portal in array.lio.portals() {
            let targets = discover(&portal.to_string(), &disk.initiator, None).await.unwrap();
            let ours = targets.iter().find(|target| target.name == disk.target.name).unwrap();
            let told: Vec<_> = ours.addresses.iter().map(|at| at.portal.as_str()).collect();
            assert_eq!(told, array.lio.inner_portals());
        }
        for controller in 0..2 {
            let san = San::login(vec![array.way(&disk, controller)]).await.unwrap();
            assert_equal(&only_lun(&san), &disk.content).await;
            san.logout().await;
        }
    });
}

fn a_lun_5_without_a_lun_0_is_found(array: &Array, name: &str) {
    let disk = array.disk(name, |target, initiator| restrict(target, initiator, false));
    run(async {
        let san = San::login(vec![array.way(&disk, 1)]).await.unwrap();
        let lun = only_lun(&san);
        assert_eq!(lun.info().lun.number(), Some(5));
        assert_eq!(lun.info().capacity, SIZE as u64);
        assert_eq!(lun.info().names[0].as_str(), disk.target.naa());
        assert_equal(&lun, &disk.content).await;
        san.logout().await;
    });
}
