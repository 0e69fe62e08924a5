//! Development only: VMFS formatter, scripted iSCSI target, faulty disks.
