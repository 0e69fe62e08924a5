//! The whole system against the lab; the demo and the benchmarks.
//!
//! | module | what |
//! |---|---|
//! | [`demo`] | the main job from the first backup to the refused deletion, told as it happens |
//! | [`bench`] | measurements against peers, one JSON object each |
//! | [`images`] | comparing disk images byte for byte, finding holes |
//! | [`table`] | columns of text |
//!
//! The fault tests are in `tests/`. What it is not: a part of the product, or a place where the
//! product's answers are made good: it only asks, compares and tells.

pub mod bench;
pub mod demo;
pub mod images;
pub mod table;
