//! SCSI for disks: CDBs, sense, VPD pages, and the allow-list per role.
