//! Tells a Rust file's code from its comments, its texts and its tests.
//!
//! A lexer of just the tokens in which a word could hide. Everything that is taken out is
//! replaced by blanks, so that lines and columns stay.

/// The code alone: comments, the insides of string and character literals, and everything under
/// `#[cfg(test)]` are blank.
#[must_use]
pub fn code(text: &str) -> String {
    without_tests(&without_texts(text))
}

/// Comments and the insides of literals are blank.
#[must_use]
pub fn without_texts(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let kept = &bytes[at..];
        let (keep, skip) = token(kept, out.last().copied());
        out.extend_from_slice(&kept[..keep]);
        out.extend(kept[keep..keep + skip].iter().map(|&byte| blank(byte)));
        at += keep + skip;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn blank(byte: u8) -> u8 {
    if byte == b'\n' { b'\n' } else { b' ' }
}

/// Of what begins at `rest`: how many bytes to keep and how many after them to blank.
fn token(rest: &[u8], before: Option<u8>) -> (usize, usize) {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => (0, line_length(rest)),
        [b'/', b'*', ..] => (0, block_length(rest)),
        [b'"', ..] => (1, string_length(&rest[1..])),
        [b'r', b'"' | b'#', ..] if !in_word || before == Some(b'b') => raw_string(rest),
        [b'\'', ..] => character(rest),
        _ => (1, 0),
    }
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
}

/// A block comment, nested ones included.
fn block_length(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The inside of a string literal and its closing quote.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> (usize, usize) {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return (1, 0); // a raw identifier
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let start = 2 + hashes;
    let inside = rest[start..].windows(end.len()).position(|bytes| bytes == end);
    (start, inside.map_or(rest.len() - start, |length| length + end.len()))
}

/// A character literal, or the tick of a lifetime.
fn character(rest: &[u8]) -> (usize, usize) {
    let end = match rest {
        [_, b'\\', ..] => rest.iter().skip(3).position(|&byte| byte == b'\'').map(|at| at + 3),
        // The longest character has four bytes of UTF-8.
        _ => rest.iter().take(6).skip(2).position(|&byte| byte == b'\'').map(|at| at + 2),
    };
    match end {
        Some(end) if !looks_like_lifetime(&rest[1..end]) => (1, end),
        _ => (1, 0),
    }
}

fn looks_like_lifetime(inside: &[u8]) -> bool {
    inside.len() > 1 && inside[0].is_ascii() && inside[0] != b'\\'
}

/// Every item under `#[cfg(test)]` is blank; `code` must be free of texts.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find(MARK) {
        let start = from + found;
        let end = item_end(code, start + MARK.len());
        out[start..end].iter_mut().for_each(|byte| *byte = blank(*byte));
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the item that begins at `from` ends: at a semicolon before any brace, or at the brace
/// that closes the first.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Lines (from 1) of `code` on which `word` stands as a whole: not inside a longer name. A word
/// may contain `::` and may end in `!` or `(`.
#[must_use]
pub fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let ends_open = word.bytes().last().is_some_and(|byte| !named(byte));
    code.lines()
        .enumerate()
        .filter(|(_, line)| {
            line.match_indices(word).any(|(at, _)| {
                let before = line.as_bytes()[..at].last().copied();
                let after = line.as_bytes().get(at + word.len()).copied();
                !before.is_some_and(named) && (ends_open || !after.is_some_and(named))
            })
        })
        .map(|(number, _)| number + 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_comments_and_literals_are_not_code() {
        let text = "let a = \"tokio \\\" x\"; // tokio\n/* tokio /* y */ tokio */ let b = 'x';\n\
                    let c = r#\"tokio \" z\"#; let d = b\"tokio\"; let e: &'static str = f;\n";
        let code = without_texts(text);
        assert!(lines_with(&code, "tokio").is_empty(), "{code}");
        assert_eq!(code.lines().count(), 3);
        assert_eq!(code.len(), text.len());
        for word in ["let", "static", "f", "b", "e"] {
            assert!(!lines_with(&code, word).is_empty(), "{word}: {code}");
        }
    }

    #[test]
    fn quotes_in_characters_do_not_open_a_string() {
        let code = without_texts("a('\"'); b('\\''); c('{'); d('ü'); e::<'a>(); // tokio\nlast");
        for word in ["a", "b", "c", "d", "e", "last"] {
            assert!(!lines_with(&code, word).is_empty(), "{word}: {code}");
        }
        assert!(!code.contains('{') && !code.contains("tokio"), "{code}");
    }

    #[test]
    fn test_items_are_not_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { x }\n}\n\
                    #[cfg(test)]\nmod c;\nfn d() {}";
        let code = code(text);
        assert_eq!(lines_with(&code, "fn"), [1, 8]);
        assert!(lines_with(&code, "mod").is_empty());
    }

    #[test]
    fn a_word_is_a_whole_one() {
        assert_eq!(lines_with("std::fs::read", "std::fs"), [1]);
        assert!(lines_with("my_tokio tokios", "tokio").is_empty());
        assert_eq!(lines_with("dbg!(x)", "dbg!"), [1]);
    }
}
