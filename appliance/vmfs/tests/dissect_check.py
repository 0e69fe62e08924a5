"""Lists a VMFS volume with dissect.vmfs: the second opinion that our reader and formatter face.

usage: dissect_check.py [--hash-max BYTES] [--range PATH:OFFSET:LENGTH]... IMAGE...

IMAGE is a LUN (GPT) or a partition; several make one volume. Prints a JSON object:
  "files"   every file and folder: path, type, size and, for regular files of at most
            --hash-max bytes, the SHA-256 of the content
  "ranges"  the SHA-256 of each asked range of a file

dissect.vmfs (AGPL-3.0-or-later) runs here as a separate process and is no part of the product.
"""

import argparse
import hashlib
import json
import struct
import sys

from dissect.util.stream import RangeStream
from dissect.vmfs import LVM, VMFS

VMFS_TYPE = bytes.fromhex("2ae031aa0f40db119590000c2911d1b8")
PART = 4 << 20


def partition(device):
    """The VMFS partition of a LUN, or the device itself when it has no GPT."""
    device.seek(512)
    header = device.read(92)
    if header[:8] != b"EFI PART":
        return device
    entries_at, count, size = struct.unpack_from("<QII", header, 72)
    for number in range(count):
        device.seek(entries_at * 512 + number * size)
        entry = device.read(size)
        if entry[:16] == VMFS_TYPE:
            first, last = struct.unpack_from("<QQ", entry, 32)
            return RangeStream(device, first * 512, (last - first + 1) * 512)
    sys.exit("no VMFS partition")


def digest(stream, length):
    sha = hashlib.sha256()
    while length > 0:
        part = stream.read(min(PART, length))
        if not part:
            sys.exit("short read")
        sha.update(part)
        length -= len(part)
    return sha.hexdigest()


def kind(entry):
    for name in ("dir", "symlink", "rdm", "system", "file"):
        if getattr(entry, "is_" + name)():
            return name
    return "other"


def walk(vmfs, folder, path, hash_max):
    for entry in folder.iterdir():
        if entry.name in (".", ".."):
            continue
        node = vmfs.file_descriptor(entry.address)
        here = path + entry.name
        item = {"path": here, "type": kind(node), "size": node.size}
        if item["type"] == "file" and node.size <= hash_max:
            item["sha256"] = digest(node.open(), node.size)
        yield item
        if item["type"] == "dir" and not entry.name.endswith(".sf"):
            yield from walk(vmfs, node, here + "/", hash_max)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hash-max", type=int, default=1 << 40)
    parser.add_argument("--range", action="append", default=[])
    parser.add_argument("image", nargs="+")
    args = parser.parse_args()
    devices = [partition(open(image, "rb")) for image in args.image]
    volume = LVM(devices).volumes[0]
    vmfs = VMFS(volume.open())
    files = sorted(walk(vmfs, vmfs.get("/"), "", args.hash_max), key=lambda item: item["path"])
    ranges = []
    for text in args.range:
        path, offset, length = text.rsplit(":", 2)
        stream = vmfs.get("/" + path).open()
        stream.seek(int(offset))
        ranges.append(digest(stream, int(length)))
    json.dump({"files": files, "ranges": ranges}, sys.stdout)


if __name__ == "__main__":
    main()
