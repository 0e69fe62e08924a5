//! Development only, never in the image: the parts of the outside world that no package offers.
//!
//! | module | what it stands for |
//! |---|---|
//! | [`vmfs`] | a formatter for VMFS volumes, so that there is something to read |
//! | [`vmdk`] | a formatter for sparse virtual disks |
//! | [`disk`] | a disk that loses, tears and reorders what was not synced |
//! | [`proxy`] | a TCP relay that cuts, delays and damages on command |
//! | [`recorded`] | what a client said, from the bytes that the relay kept |
//! | [`target`] | an iSCSI target that misbehaves on command |

pub mod disk;
pub mod proxy;
pub mod recorded;
pub mod target;
pub mod vmdk;
pub mod vmfs;
