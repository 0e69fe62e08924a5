//! VMDK descriptors: from a virtual disk to the files that hold it.
