//! The repository's bytes; FORMAT.md is its definition.
