//! The appliance with the lab around it, and everything that can go wrong: each test breaks one
//! thing and asserts that nothing wrong is kept, nothing is left behind, and the reason is said.

mod connection;
mod crash;
mod datastore;
mod full_disk;
mod identity;
mod memory;
mod site;
mod vcenter;
