//! The network path to the bytes of disks, as the jobs see it: there is none yet.

use jobs::ports::{BoxFuture, Network, NetworkPath, PortError, VmView};
use model::DiskIdentity;

/// Says of every disk that it cannot be read over the network.
pub(crate) struct NoNetwork;

impl NetworkPath for NoNetwork {
    fn open<'a>(
        &'a self,
        _vm: &'a VmView,
        _snapshot: &'a str,
        _disk: &'a DiskIdentity,
    ) -> BoxFuture<'a, Result<Network, PortError>> {
        let reason = "this version reads no disk over the network";
        Box::pin(async move { Ok(Network::None(reason.into())) })
    }
}
