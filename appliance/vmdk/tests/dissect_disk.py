"""Reads a virtual disk with dissect.hypervisor: the second opinion that our reader faces.

usage: dissect_disk.py DISK.vmdk

Prints the size of the disk and the SHA-256 of its content. dissect.hypervisor (AGPL-3.0-or-later)
runs here as a separate process and is no part of the product.
"""

import hashlib
import pathlib
import sys

from dissect.hypervisor.disk.vmdk import VMDK

PART = 4 << 20

disk = VMDK(pathlib.Path(sys.argv[1]))
digest = hashlib.sha256()
rest = disk.size
while rest > 0:
    part = disk.read(min(PART, rest))
    if not part:
        sys.exit("short read")
    digest.update(part)
    rest -= len(part)
print(disk.size, digest.hexdigest())
