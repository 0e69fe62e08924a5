//! L3: the HTTP server of the API and of the web page.
//!
//! What this is: it listens, checks the token, parses requests into the types of `api`, calls
//! the [`Engine`], and turns what comes back into JSON, a stream of bytes, or an RFC 9457
//! problem. What it is not: a decision; the engine makes them all, and the console meets the
//! rest of the appliance only through that trait.
//!
//! ```text
//! socket -> limits (serve, stall) -> routes: page | token -> call -> engine -> answer | stream
//! ```
//!
//! Plain HTTP/1.1 for now, so it refuses to listen on anything but loopback: a token must not
//! cross a wire in the clear. Nothing here is authorised by a cookie or by an address, so a
//! foreign page in the same browser can neither read nor send anything.

mod answer;
mod assets;
mod auth;
mod call;
mod engine;
mod range;
mod routes;
mod secret;
mod serve;
mod stall;
mod stream;

pub use engine::{Blob, Chunks, Engine, EngineError, EngineResult};
pub use secret::{Secret, SecretError, TOKEN_LENGTH_MIN};
pub use serve::{Limits, ServeError, serve, serve_with};
