//! The rules, one file per family. Each collects everything that breaks it before it fails, so
//! that one run shows all there is to mend.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod calls;
mod claims;
mod files;
mod layers;
mod licences;
mod sizes;
mod texts;

/// Fails with all that was found.
fn report(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}\n", found.join("\n  "));
}
