//! SAN drivers: iSCSI over TCP to a LUN that can only be read.
