//! L2: placeholder.

pub mod layout;
pub mod state;
pub mod storage;
