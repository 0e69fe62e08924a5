//! Tests of the whole store.

mod support;

mod basics;
