//! Calls that a layer or a crate may not make, looked for in code: not in comments, not in texts,
//! not in tests.

use crate::layers::{LAYERS, Layer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tidy::{Tree, modules, source};

/// What would make a pure crate depend on where and when it runs.
const IMPURE_CALLS: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "File::open",
    "File::create",
    "OpenOptions",
    "TcpStream",
    "UdpSocket",
    "getrandom",
    "rand",
    "OsRng",
    "thread_rng",
    "println!",
    "eprintln!",
];

/// What may stand all the same, and why.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("appliance/block/src/read_at.rs", "std::fs", "an impl for a file has to be by the trait")];

/// What would change a disk of the SAN, by the names that SBC-4 gives the commands.
const WRITING_COMMANDS: &[&str] = &[
    "Write6",
    "Write10",
    "Write12",
    "Write16",
    "Write32",
    "WriteAndVerify",
    "WriteSame",
    "Unmap",
    "Sanitize",
    "FormatUnit",
    "CompareAndWrite",
    "ReassignBlocks",
    "PersistentReserveOut",
    "WriteBuffer",
    "ModeSelect",
    "OrWrite",
    "XdWriteRead",
    "WriteLong",
];

/// The same as operation codes in a CDB, as one would write them down.
const WRITING_CODES: &[&str] = &[
    "0x0a", "0x2a", "0xaa", "0x8a", "0x2e", "0xae", "0x8e", "0x41", "0x93", "0x42", "0x48", "0x04",
    "0x89", "0x07", "0x5f", "0x3b", "0x15", "0x55", "0x8b", "0x3f", "0xea",
];

/// The call that sends a command with data.
const SENDING: &str = "submit_out";

/// What opens something that can be written to, and who may: attributes of sysfs.
const OPENING_TO_WRITE: &[&str] =
    &["OFlags::WRONLY", "OFlags::RDWR", "OFlags::CREATE", "fs::write"];
const SETS_ATTRIBUTES: &str = "appliance/san/src/kernel/settings.rs";

/// What removes a file; in the repository one file alone may.
const REMOVING: &[&str] =
    &["remove_file", "remove_dir", "remove_dir_all", "unlink", "unlinkat", "set_len", "ftruncate"];

/// What changes the immutable flag.
const FLAGS: &[&str] = &["ioctl_setflags", "FS_IOC_SETFLAGS"];

/// Code of every Rust file below `folder` that is compiled outside of tests.
fn sources(tree: &Tree, folder: &str) -> Vec<(String, String)> {
    let members = tree.members().unwrap();
    let targets = members.iter().flat_map(|package| &package.targets);
    let roots = targets.filter(|target| !target.is_test() && !target.is_example());
    let shipped: BTreeSet<PathBuf> =
        roots.flat_map(|target| modules::shipped(target.src_path.as_std_path())).collect();
    tree.below(folder, "rs")
        .filter(|path| shipped.contains(&tree.root().join(path)))
        .map(|path| (path.to_owned(), source::code(&tree.text(path).unwrap().unwrap_or_default())))
        .collect()
}

/// `path:line: word` for each of `words` in `code`.
fn hits(path: &str, code: &str, words: &[&str]) -> Vec<String> {
    words
        .iter()
        .flat_map(|word| source::lines_with(code, word).into_iter().map(move |line| (line, word)))
        .map(|(line, word)| format!("{path}:{line}: {word}"))
        .collect()
}

#[test]
fn pure_crates_take_time_bytes_and_chance_as_arguments() {
    let tree = Tree::open().unwrap();
    let pure = LAYERS.iter().filter(|(_, layer)| matches!(layer, Layer::Words | Layer::Pure));
    let mut found = Vec::new();
    for (name, _) in pure {
        let code = sources(&tree, &format!("appliance/{name}/src/"));
        assert!(!code.is_empty(), "{name} has no source");
        for (path, code) in &code {
            let allowed = |word: &&&str| EXCEPTIONS.iter().any(|e| e.0 == path && e.1 == **word);
            let words: Vec<&str> =
                IMPURE_CALLS.iter().filter(|word| !allowed(word)).copied().collect();
            found.extend(hits(path, code, &words));
        }
    }
    crate::report("pure crates know no clock, file, socket or chance", &found);
}

#[test]
fn no_code_can_write_to_a_disk_of_the_san() {
    let tree = Tree::open().unwrap();
    let mut found = Vec::new();
    for (path, code) in sources(&tree, "appliance/san/src/") {
        found.extend(hits(&path, &code, WRITING_COMMANDS));
        found.extend(hits(&path, &code, WRITING_CODES));
        found.extend(hits(&path, &code, &["OpenOptions", "File::options", "File::create"]));
        if path != SETS_ATTRIBUTES {
            found.extend(hits(&path, &code, OPENING_TO_WRITE));
        }
        found.extend(hits(&path, &code, &["pub fn write", "pub async fn write", SENDING]));
    }
    for (path, code) in sources(&tree, "appliance/scsi/src/") {
        found.extend(hits(&path, &code, WRITING_COMMANDS));
    }
    crate::report("disks of the SAN have no write call anywhere", &found);
}

#[test]
fn the_repository_removes_files_and_clears_flags_in_one_place_each() {
    let tree = Tree::open().unwrap();
    for (what, words) in [("removes or cuts files", REMOVING), ("changes flags", FLAGS)] {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, code) in sources(&tree, "appliance/repository/src/") {
            let found = hits(&path, &code, words);
            if !found.is_empty() {
                places.insert(path, found);
            }
        }
        let all: Vec<String> = places.values().flatten().cloned().collect();
        let found: &[String] = if places.len() > 1 { &all } else { &[] };
        crate::report(&format!("more than one file of the repository {what}"), found);
    }
}

#[test]
fn nobody_else_knows_the_immutable_flag() {
    let tree = Tree::open().unwrap();
    let found: Vec<String> = sources(&tree, "appliance/")
        .iter()
        .filter(|(path, _)| {
            let may = ["appliance/warden/src/", "appliance/repository/src/", "appliance/tidy/"];
            !may.iter().any(|place| path.starts_with(place))
        })
        .flat_map(|(path, code)| hits(path, code, FLAGS))
        .collect();
    crate::report("the flag of a sealed file is the warden's alone", &found);
}

#[test]
fn only_the_console_listens_and_the_warden_on_its_socket() {
    let tree = Tree::open().unwrap();
    let may = ["console", "daemon", "warden"];
    let shipped =
        LAYERS.iter().filter(|(name, layer)| *layer != Layer::Development && !may.contains(name));
    let mut found = Vec::new();
    for (name, _) in shipped {
        for (path, code) in sources(&tree, &format!("appliance/{name}/src/")) {
            found.extend(hits(&path, &code, &["TcpListener", "UnixListener"]));
        }
    }
    for (path, code) in sources(&tree, "appliance/warden/src/") {
        found.extend(hits(&path, &code, &["TcpListener", "TcpStream", "UdpSocket"]));
    }
    crate::report("only the console listens, and the warden on its Unix socket", &found);
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let code = source::code("use std::fs;\nfn f() { let t = Instant::now(); } // tokio\n");
    assert_eq!(hits("x", &code, IMPURE_CALLS), ["x:1: std::fs", "x:2: Instant"]);
    let code = source::code("let cdb = [0x8a, 0]; lun.pub_fn(); pub fn write_block() {}");
    assert_eq!(hits("x", &code, WRITING_CODES), ["x:1: 0x8a"]);
}
