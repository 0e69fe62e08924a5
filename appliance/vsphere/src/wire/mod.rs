//! The bytes of SOAP vim25, pure: requests out, answers and faults in.
//!
//! ```text
//! request -> Writer -> envelope bytes ~~~> answer bytes -> Document (bounded tree)
//!                                                          -> Answer { Returned | Fault }
//! ```
//!
//! Why a tree and not typed deserialisation: properties are polymorphic by `xsi:type`, servers
//! of other versions add elements and enum values, and one odd VM must not fail a listing. The
//! tree keeps everything within fixed limits and lets each decoder take what it needs.

mod document;
mod envelope;
mod error;
mod fault;
mod parse;
mod properties;
mod value;
mod versions;
mod writer;

pub(crate) use document::Node;
pub(crate) use envelope::{Answer, Response, open};
pub use error::WireError;
pub use fault::Fault;
pub(crate) use fault::localized_fault;
pub(crate) use parse::{Limits, parse};
pub(crate) use properties::{ObjectContent, decode_page, read_objects};
pub use value::MoRef;
pub(crate) use value::unescaped;
pub(crate) use versions::{ApiVersion, server_version};
pub(crate) use writer::Writer;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::parse_fragment;
