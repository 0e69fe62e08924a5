//! The appliance with the lab around it, and everything that can go wrong: each test breaks one
//! thing and asserts that nothing wrong is kept, nothing is left behind, and the reason is said.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(unreachable_pub, reason = "a test has no outside")]
#![allow(clippy::print_stdout, reason = "a skipped test says so loudly")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

mod attack;
mod connection;
mod crash;
mod datastore;
mod fibre_channel;
mod full_disk;
mod identity;
mod memory;
mod repository;
mod restore;
mod rot;
mod site;
mod two_users;
mod vcenter;
mod vmfs;
mod volumes;
