//! The server over its socket, with a scripted engine behind it.
#![allow(missing_docs)]

mod access;
mod calls;
mod engine;
mod limits;
mod streams;
mod wire;
