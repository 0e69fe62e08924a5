//! Changes in any order of answers give what a fresh listing gives.

use super::*;
use crate::wire::parse_fragment;
use proptest::collection::vec;
use proptest::prelude::*;

/// What a random guest of the tests does to its inventory.
#[derive(Clone, Debug)]
enum Edit {
    Put(u8, u8),
    Rename(u8, u8),
    Move(u8, u8),
    Unset(u8),
    Remove(u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let id = 0..12_u8;
    prop_oneof![
        (id.clone(), any::<u8>()).prop_map(|(id, n)| Edit::Put(id, n)),
        (id.clone(), any::<u8>()).prop_map(|(id, n)| Edit::Rename(id, n)),
        (id.clone(), 0..12_u8).prop_map(|(id, to)| Edit::Move(id, to)),
        id.clone().prop_map(Edit::Unset),
        id.prop_map(Edit::Remove),
    ]
}

fn vm(id: u8) -> MoRef {
    MoRef::new("VirtualMachine", &format!("vm-{id}"))
}

/// The inventory itself, and what a server tells of an edit.
type Truth = BTreeMap<MoRef, Properties>;

fn tell(truth: &mut Truth, edit: &Edit) -> Option<Change> {
    let name = |n: u8| ("name", Some(Value::Text(format!("web{n}"))));
    let (object, kind, set) = match edit {
        Edit::Put(id, n) => (vm(*id), ChangeKind::Enter, vec![name(*n)]),
        Edit::Rename(id, n) => (vm(*id), ChangeKind::Modify, vec![name(*n)]),
        Edit::Move(id, to) => {
            (vm(*id), ChangeKind::Modify, vec![("parent", Some(Value::Reference(vm(*to))))])
        }
        Edit::Unset(id) => (vm(*id), ChangeKind::Modify, vec![("parent", None)]),
        Edit::Remove(id) => (vm(*id), ChangeKind::Leave, Vec::new()),
    };
    match kind {
        ChangeKind::Leave => drop(truth.remove(&object)?),
        ChangeKind::Enter => drop(truth.insert(object.clone(), Properties::new())),
        ChangeKind::Modify => drop(truth.get(&object)?),
    }
    for (path, value) in &set {
        let properties = truth.get_mut(&object)?;
        match value {
            Some(value) => properties.insert(path, value.clone()),
            None => properties.remove(path),
        };
    }
    Some(Change { object, kind, set })
}

fn listing(truth: &Truth) -> Vec<Change> {
    let entered = truth.iter().map(|(object, properties)| Change {
        object: object.clone(),
        kind: ChangeKind::Enter,
        set: properties.iter().map(|(path, value)| (*path, Some(value.clone()))).collect(),
    });
    entered.collect()
}

fn update(fresh: bool, truncated: bool, changes: &[Change]) -> Update {
    Update { fresh, truncated, changes: changes.to_vec() }
}

proptest! {
    #[test]
    fn updates_in_any_split_equal_a_fresh_listing(
        edits in vec(edit(), 0..60),
        cuts in vec(1..8_usize, 60),
        restart_at in 0..60_usize,
    ) {
        let mut truth = Truth::new();
        let mut replica = Replica::default();
        prop_assert!(replica.take(update(true, false, &[])).unwrap());
        let (before, after) = edits.split_at(restart_at.min(edits.len()));
        let mut cuts = cuts.into_iter();
        for part in [before, after] {
            let told: Vec<Change> = part.iter().filter_map(|one| tell(&mut truth, one)).collect();
            let mut rest = &told[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap_or(9).min(rest.len()));
                let truncated = !later.is_empty();
                prop_assert_eq!(replica.take(update(false, truncated, now)).unwrap(), !truncated);
                rest = later;
            }
            let mut fresh = Tree::default();
            fresh.apply(listing(&truth)).unwrap();
            prop_assert_eq!(replica.tree().unwrap(), &fresh);

            // The session is lost: the old tree is shown until the new one is whole.
            let all = listing(&truth);
            let (first, rest) = all.split_at(all.len() / 2);
            prop_assert!(!replica.take(update(true, true, first)).unwrap());
            prop_assert_eq!(replica.tree().unwrap(), &fresh);
            prop_assert!(replica.take(update(false, false, rest)).unwrap());
            prop_assert_eq!(replica.tree().unwrap(), &fresh);
        }
    }
}

#[test]
fn nothing_is_shown_before_all_of_it_is_known() {
    let change = |id| Change { object: vm(id), kind: ChangeKind::Enter, set: Vec::new() };
    let mut replica = Replica::default();
    assert!(replica.tree().is_none());
    assert!(!replica.take(update(true, true, &[change(1)])).unwrap());
    assert!(replica.tree().is_none());
    assert!(replica.take(update(false, false, &[change(2)])).unwrap());
    assert_eq!(replica.tree().unwrap().len(), 2);
}

#[test]
fn an_inventory_that_outgrows_the_memory_is_an_error() {
    let big = |n: usize| Change {
        object: MoRef::new("VirtualMachine", &n.to_string()),
        kind: ChangeKind::Enter,
        set: vec![("name", Some(Value::Text("x".repeat(32 << 20))))],
    };
    let mut replica = Replica::default();
    let error = replica.take(update(true, false, &(0..9).map(big).collect::<Vec<_>>()));
    assert!(matches!(error, Err(WireError::TooMuch { .. })));
    assert!(replica.tree().is_none());
    // Bytes that are taken back do not count.
    let mut tree = Tree::default();
    for _ in 0..20 {
        tree.apply([big(1)]).unwrap();
    }
}

const SET: &str = "<set xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
    <version>7</version><truncated>true</truncated><filterSet>\
    <filter type=\"PropertyFilter\">f</filter>\
    <objectSet><kind>enter</kind><obj type=\"VirtualMachine\">vm-1</obj>\
    <changeSet><name>name</name><op>assign</op><val>web%2f01</val></changeSet>\
    <changeSet><name>parent</name><op>assign</op><val type=\"Folder\">f-1</val></changeSet>\
    <changeSet><name>config.template</name><op>assign</op><val>maybe</val></changeSet>\
    <changeSet><name>snapshot</name><op>assign</op><val><rootSnapshotList>\
    <snapshot type=\"VirtualMachineSnapshot\">s-1</snapshot><name>old</name>\
    <createTime>2026-01-02T03:04:05Z</createTime></rootSnapshotList></val></changeSet>\
    <missingSet><path>runtime.host</path><fault><fault xsi:type=\"NoPermission\"/></fault>\
    </missingSet></objectSet>\
    <objectSet><kind>modify</kind><obj type=\"VirtualMachine\">vm-2</obj>\
    <changeSet><name>runtime</name><op>assign</op><val/></changeSet>\
    <changeSet><name>snapshot.rootSnapshotList[\"s\"]</name><op>add</op></changeSet>\
    <changeSet><name>snapshot</name><op>remove</op></changeSet>\
    <changeSet><name>guest.net</name><op>assign</op><val/></changeSet></objectSet>\
    <objectSet><kind>leave</kind><obj type=\"HostSystem\">h-1</obj></objectSet>\
    </filterSet></set>";

#[test]
fn an_answer_of_the_server_becomes_changes() {
    let document = parse_fragment(SET);
    let decoded = decode_update_set(document.root()).unwrap().unwrap();
    assert!(decoded.truncated && decoded.version == "7");
    let kinds: Vec<_> = decoded.changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Enter, ChangeKind::Modify, ChangeKind::Leave]);
    assert_eq!(decoded.again.into_iter().collect::<Vec<_>>(), [vm(2)]);
    assert_eq!(decoded.changes[1].set, [("snapshot", None)]);

    let mut tree = Tree::default();
    tree.apply(decoded.changes).unwrap();
    let object = tree.get(&vm(1)).unwrap();
    assert_eq!(object.name().as_deref(), Some("web/01"));
    assert_eq!(object.parent(), Some(&MoRef::new("Folder", "f-1")));
    assert_eq!(object.snapshots()[0].created.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(object.unreadable().map(|(path, _)| path).collect::<Vec<_>>(), ["config.template"]);
}

#[test]
fn without_a_session_the_answer_is_the_fault_that_it_is() {
    let text = SET.replace("NoPermission", "NotAuthenticated");
    let document = parse_fragment(&text);
    let fault = decode_update_set(document.root()).unwrap().err().unwrap();
    assert!(fault.is_not_authenticated());
}
