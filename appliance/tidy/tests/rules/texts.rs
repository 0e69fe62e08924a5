//! What no text of the repository may say, be it code, manual, message or file name.

use tidy::Tree;

/// Claims that no software on the same box can keep; the manual says what holds instead.
/// Immutability, "verified" and the like depend on what stands beside them: a person's task.
const CLAIMS: &[&str] = &[
    "compliant",
    "certified",
    "sec-ready",
    "finra-ready",
    "cftc-ready",
    "gdpr-ready",
    "tamper-proof",
    "tamperproof",
    "unhackable",
    "ransomware-proof",
    "ransomware proof",
    "cannot be deleted by anyone",
    "can't be deleted by anyone",
    "guaranteed",
    "air-gapped",
    "airgapped",
];

/// Folders of the machines that build this, and the hosts that packages come from: both change
/// without the project. In pieces, so that this file does not hold them itself.
const PLACES: &[&[&str]] = &[
    &["/wo", "rk/main"],
    &["/wo", "rk/steering"],
    &["/wo", "rk/."],
    &["/wo", "rk/shared"],
    &["/fa", "rm/"],
    &["/ro", "ot/."],
    &["registry.npm", "js.org"],
    &["deb.deb", "ian.org"],
    &["py", "pi.org"],
    &["python", "hosted"],
    &["proxy.go", "lang.org"],
    &["static.crates", ".io"],
    &["index.crates", ".io"],
];

/// Marks of what is not finished; an open end belongs into an issue.
const UNFINISHED: &[&[&str]] = &[&["TO", "DO"], &["FIX", "ME"], &["X", "XX"], &["#[ig", "nore"]];

/// Files that are not ours to word: the licence's own text, generated lists of packages, and the
/// list of claims itself.
fn foreign(path: &str) -> bool {
    let generated = ["Cargo.lock", "go.sum", "package-lock.json", "LICENSE"];
    generated.iter().any(|name| path.ends_with(name))
        || path == "appliance/tidy/tests/rules/texts.rs"
}

/// `path:line: phrase` for every phrase in the file or in its name; phrases are lower case.
fn said(path: &str, text: &str, phrases: &[&str]) -> Vec<String> {
    std::iter::once(path)
        .chain(text.lines())
        .enumerate()
        .flat_map(|(line, text)| {
            let text = text.to_lowercase();
            let found: Vec<String> = phrases
                .iter()
                .filter(|phrase| stands_alone(&text, phrase))
                .map(|phrase| format!("{path}:{line}: {phrase}"))
                .collect();
            found
        })
        .collect()
}

/// Whether the phrase is there as words of its own: a library's `CertifiedKey` claims nothing.
fn stands_alone(text: &str, phrase: &str) -> bool {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(phrase).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        let borders = |edge: Option<char>, outside| !(letter(edge) && letter(outside));
        borders(phrase.chars().next(), before) && borders(phrase.chars().next_back(), after)
    })
}

fn all_texts() -> Vec<(String, String)> {
    let tree = Tree::open().unwrap();
    tree.files()
        .filter(|path| !foreign(path))
        .filter_map(|path| Some((path.to_owned(), tree.text(path).unwrap()?)))
        .collect()
}

#[test]
fn no_text_claims_what_cannot_be_kept() {
    let texts = all_texts();
    let found: Vec<_> = texts.iter().flat_map(|(path, text)| said(path, text, CLAIMS)).collect();
    crate::report("no text makes a claim that cannot be kept", &found);
}

#[test]
fn no_text_names_a_machine_or_a_registry() {
    let places: Vec<String> = PLACES.iter().map(|pieces| pieces.concat()).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let texts = all_texts();
    let found: Vec<_> = texts.iter().flat_map(|(path, text)| said(path, text, &places)).collect();
    crate::report("no text names a machine's folders or a registry's host", &found);
}

#[test]
fn nothing_is_marked_unfinished() {
    let marks: Vec<String> = UNFINISHED.iter().map(|pieces| pieces.concat()).collect();
    let mut found = Vec::new();
    for (path, text) in all_texts() {
        for (number, line) in text.lines().enumerate() {
            let marked = marks.iter().find(|mark| line.contains(mark.as_str()));
            found.extend(marked.map(|mark| format!("{path}:{}: {mark}", number + 1)));
        }
    }
    crate::report("nothing is marked unfinished", &found);
}

#[test]
fn a_claim_is_found_in_text_and_name() {
    let found = said("docs/Certified.md", "fine\nIt is Tamper-Proof.\n", CLAIMS);
    assert!(said("a.rs", "rustls::CertifiedKey", CLAIMS).is_empty());
    assert_eq!(found, ["docs/Certified.md:0: certified", "docs/Certified.md:2: tamper-proof"]);
}
