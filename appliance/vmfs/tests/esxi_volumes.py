"""Fetches the VMFS and LVM volumes that a real ESXi host made, and unpacks them into a cache.

usage: esxi_volumes.py CACHE

They are test data inside the source distribution of dissect.vmfs on PyPI (AGPL-3.0-or-later):
downloaded at test time with pinned hashes, kept in CACHE/esxi, never committed. A second call
finds them there. Exit status 3: they are not there and cannot be downloaded.
"""

import fcntl
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

REQUIREMENT = (
    "dissect.vmfs==3.13 "
    "--hash=sha256:904a4116b944acfc6a7a9de013ae1db14c760cb76138fd77c6a5b510b98c828d\n"
)
PREFIX = "dissect_vmfs-3.13/tests/_data/"
# name -> SHA-256 of the packed image
VOLUMES = {
    "vmfs5": "0adf9733e5dd29984334bb91000d01093343880e0c959b8af4dec0af3630a831",
    "vmfs6": "d4fc74f4d8a5ed032b82f8cf8285df35cd10544e20033baa32109a3863d3a3e6",
    "vmfs5-no-dense-sbpc": "fb04f8556ca10122ef91ff78d5c6f57bc86cc628be6d4aa3ae3bfac02beb16c1",
    "vmfs5-resource-optimized": "a27f96a8664bc84cbbd93b514c5daed216f0758572e331623b66639bc352c3a3",
    "vmfs6-resource-optimized": "7120d83ae9a0e9ea5dfc3e2bc9ce2b48d96a27ed66604d5efb6058cf402b4c2e",
    "vmfs5l": "ed2f0877f7bb8bb3dab89fbd789122d43182a49515f4f540eabef1b1c0769d29",
    "vmfs6l": "310d14c3979e6a31f5e650ee2b4f6b01a11ebd866a6705218e1a1d696e2973ad",
    "vmfs5d": "6425431795ba000029d440c24f62e7d3525d3a46cd7e8c5cf2de3bf7e4985af0",
    "vmfs5ld": "1a6d7f001d1e831bb967d63987767a6440492d50f9bc32a54b723c53fe384244",
    "vmfs6d": "05d5187068d694be426edf0dcc151f6499dfc80ec4b92ac1ec965e5bd52acd58",
    "vmfs6ld": "9a7253c02ce0e8d2f5522ee24e6e7cdf1b519e43015674d605e424073addfa2b",
    "span/vmfs5-span-0": "64df03e71bbe7e5e38c4a22cfd56ca9552ef9917d4344675c32675749664e21e",
    "span/vmfs5-span-1": "fd51ecc73cd52ace7320715aca415759fbacb2f10aaf84dcd6d2b39f7d348539",
    "span/vmfs6-span-0": "8ada9764fe2212a95f2d166239dce8d1a4d34dce73dcc94d8b0cf955a95fb24f",
    "span/vmfs6-span-1": "71b56012b2384f269b7df2dda5434f7645b8327967d4436aa44c891653002174",
    "zero5": "e4aa39d8e21c1d470cd1335c9cfdf0809429047792cad4d17615d821b9d6e980",
    "zero6": "d99292bead2b3504903d4c951708a2b6e6a3e2de86734decf346187245be7d68",
}
# Volumes of the LVM alone. Every MiB is filled with its number: the first 4 KiB of each are
# kept. The metadata of two devices of 64 TiB is text: offset, hexadecimal bytes.
LVM = {
    "lvm3": "ea7d25e1f33bbe5ccafe920d0c2b3478da3620016f938d43f28f4138320b7d78",
    "lvm4": "0f6a0bcd6b5e2ea7e507d266bd6dfea695a27c53da9029901fc0b57c8ebcdb93",
    "span/lvm3-span-0": "4eff1c93fcecf602a38634ce99d4ae4ef6bf6cb32e01deaf5959228a32a2d1cf",
    "span/lvm3-span-1": "2cdd212172239549a15cc1d5c5975b19fc17c626663fc3aca4d67dc1cf37395b",
    "span/lvm4-span-0": "e06c892bdb8cd39005cce65d42a2b1ed699e218cf30b7587c3aca7cc7507acda",
    "span/lvm4-span-1": "553ee5b91b4ed7ccae02022ceb545bf32ad299dd2dfaab6b0017da3389ffed06",
    "huge/lvm5": "7236331bb27f43c109fa6ebf64ac5b58ccf408b652938a653deeda4b27d7973a",
    "huge/lvm6": "30e84be0bed43485f1f16b5df966c216150c2419d9ccdd888e723e99f9985b20",
}
PART = 1 << 20
PAGE = 1 << 16
ZEROS = bytes(PART)


def download(folder):
    """The source distribution; pip checks its hash."""
    requirements = os.path.join(folder, "requirements.txt")
    with open(requirements, "w") as file:
        file.write(REQUIREMENT)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    pip += ["--no-binary", ":all:", "--dest", folder, "--requirement", requirements]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)
        sys.exit(1 if "DO NOT MATCH" in done.stderr else 3)
    return os.path.join(folder, "dissect_vmfs-3.13.tar.gz")


def kept(name, number, part):
    """What is kept of MiB `number`: all, but of the filled MiB of an LVM volume the start."""
    filled = name.startswith("lvm/") and "huge" not in name and number >= 17
    return part[:4096] + ZEROS[4096 : len(part)] if filled else part


def unpack(job):
    """One image, sparse, under its own name only once it is whole."""
    name, packed, expected, target = job
    found = hashlib.sha256(packed).hexdigest()
    if found != expected:
        sys.exit(f"{target}: SHA-256 is {found}, expected {expected}")
    source = gzip.open(io.BytesIO(packed))
    with open(target + ".part", "wb") as image:
        number = 0
        while part := kept(name, number, source.read(PART)):
            for start in range(0, len(part), PAGE):
                page = part[start : start + PAGE]
                if page == ZEROS[: len(page)]:
                    image.seek(len(page), os.SEEK_CUR)
                else:
                    image.write(page)
            number += 1
        image.truncate(image.tell())
    os.rename(target + ".part", target)


def main():
    folder = os.path.join(sys.argv[1], "esxi")
    os.makedirs(folder, exist_ok=True)
    lock = open(os.path.join(folder, "lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def target(name):
        kind = ".csv" if "huge" in name else ".bin"
        return os.path.join(folder, os.path.basename(name) + kind)

    everything = {"vmfs/" + name: packed for name, packed in VOLUMES.items()}
    everything |= {"lvm/" + name: packed for name, packed in LVM.items()}
    missing = [name for name in everything if not os.path.exists(target(name))]
    if not missing:
        return
    archive = tarfile.open(download(folder))

    def packed(name):
        kind = ".csv.gz" if "huge" in name else ".bin.gz"
        return archive.extractfile(PREFIX + name + kind).read()

    jobs = [(name, packed(name), everything[name], target(name)) for name in missing]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(unpack, jobs))


if __name__ == "__main__":
    main()
