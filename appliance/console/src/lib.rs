//! HTTP server of the API and of the web assets.

mod engine;
mod secret;

pub use engine::{Blob, Chunks, Engine, EngineError, EngineResult};
pub use secret::{Secret, SecretError, TOKEN_LENGTH_MIN};
