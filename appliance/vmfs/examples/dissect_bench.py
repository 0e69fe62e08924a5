"""dissect.vmfs at the work of vmfs-bench; prints one JSON object.

usage: dissect_bench.py map|ls IMAGE PATH

It has no call that gives a whole map: each block's place is asked for, as its own reading does.
That takes minutes for 1 TiB, so 1/64 of the blocks are asked for and the time is multiplied.
"""

import json
import resource
import sys
import time

from dissect.util.stream import RangeStream
from dissect.vmfs import LVM, VMFS

PARTITION = 1 << 20
BLOCK = 1 << 20
SHARE = 64


def main():
    command, image, path = sys.argv[1:]
    device = open(image, "rb")
    device.seek(0, 2)
    partition = RangeStream(device, PARTITION, device.tell() - PARTITION)
    vmfs = VMFS(LVM([partition]).volumes[0].open())
    begin = time.monotonic()
    node = vmfs.get("/" + path)
    if command == "map":
        for offset in range(0, node.size // SHARE, BLOCK):
            node._resolve_offset(offset)
        begin -= (time.monotonic() - begin) * (SHARE - 1)
    else:
        names = [entry.name for entry in node.iterdir()]
        assert len(names) >= 10_000, len(names)
    seconds = time.monotonic() - begin
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"seconds": seconds, "ms": seconds * 1000, "rss_mib": rss}, sys.stdout)


if __name__ == "__main__":
    main()
