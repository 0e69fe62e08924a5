//! The repository's own rules as tests: what a person would otherwise have to notice.
//!
//! This library only looks: it lists the files ([`Tree`]), tells code from comments, texts and
//! tests ([`source`]), and follows `mod` declarations ([`modules`]). The rules themselves are the
//! tests in `tests/rules`, one file per family. A rule is about meaning a compiler cannot see:
//! layers, calls that a layer may not make, claims that a text may not make, files nobody uses.
//! What rustfmt and clippy check is not repeated here.

pub mod modules;
pub mod source;
pub mod tree;

pub use tree::Tree;
