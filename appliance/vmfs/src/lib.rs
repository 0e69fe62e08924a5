//! VMFS-5 and VMFS-6: from volume and path to extents on the LUN.
