//! Compactions of which not everything is known: answers of the warden that are lost, footers that
//! cannot be read, segments that go while somebody reads. Nothing that a point needs goes with it.

use super::compact::{RULES, half_dead};
use super::support::{Image, Rig, backup, draft, lock, options, restores, write_disk};
use crate::{Repair, Repository};
use model::{ErrorKind, RecoveryPointId};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use warden::wire::{Reply, Request};
use warden::{Local, Warden, WardenError};

/// Carries out a request and dies before the answer, so often; then it is away, so often.
#[derive(Clone, Default)]
struct Fate {
    lose: Arc<AtomicU32>,
    away: Arc<AtomicU32>,
}

struct Dying(Local, Fate);

fn one_less(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Warden for Dying {
    fn call(&self, request: Request) -> Result<Reply, WardenError> {
        let Self(warden, Fate { lose, away }) = self;
        let dead = || Err(WardenError::Unavailable { source: io::ErrorKind::BrokenPipe.into() });
        let compacts = matches!(request, Request::Compact { .. });
        if lose.load(Ordering::SeqCst) == 0 && one_less(away) {
            return dead();
        }
        let answer = warden.call(request);
        if compacts && one_less(lose) { dead() } else { answer }
    }
}

/// A repository in which a compaction went on record, without an answer; its point.
fn unanswered(rig: &Rig, away: u32) -> (Repository, RecoveryPointId, Image) {
    let (repository, point, image) = half_dead(rig, 0);
    drop(repository);
    let fate = Fate::default();
    let repository = rig.open_behind(&options(0), |warden| Dying(warden, fate.clone()));
    fate.lose.store(1, Ordering::SeqCst);
    fate.away.store(away, Ordering::SeqCst);
    assert_eq!(repository.compact(&RULES).unwrap_err().kind(), ErrorKind::Retryable);
    (repository, point, image)
}

#[test]
fn a_later_point_keeps_its_chunks_though_the_answer_to_a_compaction_was_lost() {
    for away in [0, 1] {
        let rig = Rig::new(&options(0));
        let (repository, point, image) = unanswered(&rig, away);
        // Its chunks are dead ones, which were not copied. They lie where the compaction was.
        let dead: Image = (1..30).collect();
        let (locked, stats) = backup(&repository, 2, &dead, None, 1000).unwrap();
        repository.reclaim().unwrap();
        for (id, image) in [(point, &image), (locked.id, &dead)] {
            assert!(restores(&repository, id, image), "away {away}");
            assert!(repository.verify(id, &mut |_| ()).unwrap().is_whole(), "away {away}");
        }
        assert!(stats.new_chunks > 10, "{stats:?}");
        // An incremental on a point whose chunks were moved meanwhile.
        let mut next = image.clone();
        next[5] = 7777;
        let (third, _) = backup(&repository, 1, &next, Some((&image, point)), 1000).unwrap();
        repository.delete(&[point]).unwrap();
        assert!(repository.compact(&RULES).is_ok());
        repository.reclaim().unwrap();
        assert!(restores(&repository, third.id, &next));
        assert!(restores(&repository, locked.id, &dead));
    }
}

#[test]
fn what_was_not_moved_is_found_again_once_the_warden_answers() {
    let rig = Rig::new(&options(0));
    let (repository, _, image) = unanswered(&rig, 1);
    let hidden = |repository: &Repository| {
        let catalog = repository.inner.core.catalog.lock().unwrap();
        let index = repository.inner.core.index.lock().unwrap();
        index.hidden().filter(|serial| !catalog.moves.has(*serial)).count()
    };
    assert!(hidden(&repository) > 0, "nobody knows what has moved");
    repository.compact(&RULES).unwrap();
    assert_eq!(hidden(&repository), 0);
    let (_, stats) = backup(&repository, 2, &image, None, 0).unwrap();
    assert_eq!(stats.new_chunks, 0, "{stats:?}");
}

#[test]
fn a_run_that_refers_to_an_emptied_segment_is_not_committed() {
    let rig = Rig::new(&options(0));
    let (repository, ..) = half_dead(&rig, 0);
    let mut run = repository.begin(draft(5)).unwrap();
    write_disk(&mut run, &vec![7000, 7001], None).unwrap();
    repository.compact(&RULES).unwrap();
    let core = &repository.inner.core;
    let emptied = core.catalog.lock().unwrap().moves.emptied_since(0);
    run.state.opened(0, *emptied.first().unwrap());
    let error = run.commit(lock(1000), model::WallTime(0)).unwrap_err();
    assert!(error.to_string().contains("was compacted"), "{error}");
}

#[test]
fn a_repaired_segment_that_was_emptied_stays_out_of_the_index() {
    let rig = Rig::new(&options(0));
    let (repository, ..) = half_dead(&rig, 0);
    repository.compact(&RULES).unwrap();
    let emptied = {
        let catalog = repository.inner.core.catalog.lock().unwrap();
        catalog.moves.emptied_since(0)
    };
    for serial in emptied {
        rig.disk.flip(&format!("segments/{serial:08x}.segment"), 9000, 1);
        assert!(matches!(repository.repair(serial).unwrap(), Repair::Repaired { .. }));
    }
    let dead: Image = (1..30).filter(|number| number % 3 != 0).collect();
    let (locked, stats) = backup(&repository, 2, &dead, None, 1000).unwrap();
    assert_eq!(stats.deduplicated, 0, "{stats:?}");
    repository.reclaim().unwrap();
    assert!(restores(&repository, locked.id, &dead));
}

#[test]
fn a_verification_tells_of_a_chunk_that_is_only_where_it_was_moved_from() {
    let rig = Rig::new(&options(0));
    let (repository, point, image) = half_dead(&rig, 0);
    repository.compact(&RULES).unwrap();
    let filled: BTreeSet<u32> = {
        let catalog = repository.inner.core.catalog.lock().unwrap();
        catalog.state.compactions().iter().flat_map(|(_, to)| to.serials()).collect()
    };
    repository.inner.core.index.lock().unwrap().forget(&filled);
    let serial = *filled.first().unwrap();
    let footer = repository.inner.core.footer(serial).unwrap().data_length;
    *repository.inner.core.footers.lock().unwrap() = crate::moves::Footers::default();
    let at = usize::try_from(footer).unwrap() + 130;
    rig.disk.flip(&format!("segments/{serial:08x}.segment"), at, 1);
    assert!(restores(&repository, point, &image), "what is left of it is read");
    assert!(!repository.verify(point, &mut |_| ()).unwrap().is_whole(), "but not for long");
}

/// A point whose chunks were moved once, in segments that are half dead again.
fn moved_and_half_dead(rig: &Rig) -> (Repository, RecoveryPointId, Image) {
    let (repository, old, image) = half_dead(rig, 0);
    repository.compact(&RULES).unwrap();
    repository.reclaim().unwrap();
    let changed = |at: u64| at % 6 < 3;
    let next: Image = (0..).zip(&image).map(|(at, n)| n + 5000 * u64::from(changed(at))).collect();
    let (point, _) = backup(&repository, 1, &next, Some((&image, old)), 0).unwrap();
    repository.delete(&[old]).unwrap();
    (repository, point.id, next)
}

#[test]
fn a_segment_whose_footer_cannot_be_read_does_not_lose_what_was_moved_into_it() {
    let tried = {
        let rig = Rig::new(&options(0));
        let (repository, ..) = moved_and_half_dead(&rig);
        let catalog = repository.inner.core.catalog.lock().unwrap();
        catalog.state.compactions().iter().flat_map(|(_, to)| to.serials()).collect::<Vec<u32>>()
    };
    assert!(tried.len() > 1, "several in one group: {tried:?}");
    for serial in tried {
        let rig = Rig::new(&options(0));
        let (repository, point, image) = moved_and_half_dead(&rig);
        let file = format!("segments/{serial:08x}.segment");
        let footer = repository.inner.core.footer(serial).unwrap().data_length;
        *repository.inner.core.footers.lock().unwrap() = crate::moves::Footers::default();
        let at = usize::try_from(footer).unwrap() + 130;
        rig.disk.flip(&file, at, 1);
        let done = repository.compact(&RULES).unwrap();
        assert!(done.from > 0, "others move: {done:?}");
        repository.reclaim().unwrap();
        assert!(rig.disk.paths().contains(&file), "{file} was emptied unseen");
        rig.disk.flip(&file, at, 1);
        assert!(restores(&repository, point, &image), "{file}");
    }
}
