//! Tests of the whole store.

mod support;

mod basics;
mod compact;
mod compact_lost;
mod crash;
mod crash_care;
mod damage;
mod encryption;
mod full;
mod import;
mod lies;
mod placing;
mod preview;
mod profiles;
mod reach;
mod reclaim;
mod repair;
mod scrub;
mod soundness;
