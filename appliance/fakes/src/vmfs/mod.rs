//! A formatter for VMFS-6 volumes: test data only, never to be mounted by ESXi.
