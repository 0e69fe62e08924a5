use super::*;
use proptest::prelude::*;

fn id(number: u64) -> ChunkId {
    ChunkId([number.to_le_bytes(); 4].concat().try_into().unwrap())
}

fn hashed(number: u64) -> ChunkId {
    ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn place(segment: u32) -> Place {
    Place::new(segment, 1, 1).unwrap()
}

#[test]
fn a_chunk_costs_at_most_48_bytes_at_every_size() {
    let mut index = Index::default();
    for number in 0..200_000u64 {
        assert!(index.insert(0, &hashed(number), place(1)));
        if number > 1000 && number % 100 == 0 {
            let (memory, chunks) = (index.memory(), index.chunks());
            assert!(memory <= 48 * chunks, "{memory} bytes for {chunks}");
        }
    }
    assert!((0..200_000).all(|number| index.find(0, &hashed(number)).is_some()));
    assert!((200_000..210_000).all(|number| index.find(0, &hashed(number)).is_none()));
}

#[test]
fn forgotten_segments_are_not_found_and_pins_are_counted() {
    let mut index = Index::default();
    for segment in 1..=3 {
        index.insert(0, &hashed(segment.into()), place(segment));
    }
    index.forget(&BTreeSet::from([1]));
    assert_eq!(index.find(0, &hashed(1)), None);
    assert_eq!(index.find(0, &hashed(2)), Some(place(2)));
    assert_eq!(index.chunks(), 2);
    index.pin(2);
    index.pin(2);
    index.unpin(&BTreeSet::from([2]));
    assert_eq!(index.pinned().collect::<Vec<_>>(), [2]);
    index.unpin(&BTreeSet::from([2]));
    assert_eq!(index.pinned().count(), 0);
}

#[test]
fn nobody_finds_a_chunk_in_a_hidden_segment_whoever_adds_it() {
    let mut index = Index::default();
    let add = |index: &mut Index| index.insert(0, &hashed(1), place(7));
    assert!(add(&mut index));
    index.hide(&BTreeSet::from([7, 8]));
    assert!(!add(&mut index) && index.find(0, &hashed(1)).is_none());
    index.reveal(&[8]);
    assert!(!add(&mut index) && index.hidden().eq([7]));
    index.reveal(&[7]);
    assert!(add(&mut index) && index.find(0, &hashed(1)) == Some(place(7)));
}

#[test]
fn all_others_are_found_after_some_were_forgotten_in_full_tables() {
    let mut index = Index::default();
    let segment = |number: u64| u32::try_from(number % 97).unwrap() + 1;
    for number in 0..60_000 {
        index.insert(0, &hashed(number), place(segment(number)));
    }
    let memory = index.memory();
    index.forget(&(1..40).collect());
    assert_eq!(index.memory(), memory, "nothing was built anew");
    for number in 0..60_000 {
        let right = Some(place(segment(number))).filter(|place| place.segment() >= 40);
        assert_eq!(index.find(0, &hashed(number)), right);
    }
}

#[test]
fn a_chunk_is_found_on_its_own_volume_and_in_the_younger_segment() {
    let mut index = Index::default();
    assert!(index.insert(0, &hashed(1), place(5)));
    assert!(index.insert(7, &hashed(1), place(6)));
    assert!(!index.insert(0, &hashed(1), place(4)));
    assert_eq!(index.find(0, &hashed(1)), Some(place(5)));
    assert!(!index.insert(0, &hashed(1), place(8)));
    assert_eq!(index.find(0, &hashed(1)), Some(place(8)));
    assert_eq!(index.find(7, &hashed(1)), Some(place(6)));
    assert_eq!(index.find(1, &hashed(1)), None);
}

proptest! {
    #[test]
    fn it_behaves_as_a_map(
        operations in prop::collection::vec((0u64..60, 1u32..5, 0..8), 0..300),
    ) {
        // Ids that collide in the shard and nearly everywhere else.
        let mut index = Index::default();
        let mut map: HashMap<u64, u32> = HashMap::new();
        for (number, segment, kind) in operations {
            if kind == 0 {
                index.forget(&BTreeSet::from([segment]));
                map.retain(|_, value| *value != segment);
            } else if kind == 1 {
                index.removed(&BTreeSet::from([segment]));
                map.retain(|_, value| *value != segment);
            } else {
                let absent = index.insert(0, &id(number << 56), place(segment));
                prop_assert_eq!(absent, !map.contains_key(&number));
                let place = map.entry(number).or_insert(segment);
                *place = segment.max(*place);
            }
            for number in 0..60 {
                let found = index.find(0, &id(number << 56)).map(Place::segment);
                prop_assert_eq!(found, map.get(&number).copied());
            }
        }
    }
}
