"""Fetches virtual disks that other products made, and unpacks them into a cache.

usage: samples.py CACHE esxi | others

esxi    a SEsparse delta made by an ESXi host: test data inside the source distribution of
        dissect.hypervisor on PyPI (AGPL-3.0-or-later)
others  descriptors made by ESXi, and hosted disks of several tools: test data of the repository
        strozfriedberg/vmdk-rs on GitHub (Apache-2.0)

Downloaded at test time with pinned hashes, kept in CACHE/vmdk, never committed. A second call
finds them there. Exit status 3: they are not there and cannot be downloaded.
"""

import fcntl
import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request

REQUIREMENT = (
    "dissect.hypervisor==3.20 "
    "--hash=sha256:90f4d46a6d6b81045c6fc123600bb8c12afa58c464ecaa67d5ca9435fcff7957\n"
)
MEMBER = "dissect_hypervisor-3.20/tests/_data/disk/vmdk/sesparse.vmdk.gz"
REVISION = "99bbb7721b9eaafd25947c4b2a0d0a3d7f1bc42c"
ADDRESS = f"https://raw.githubusercontent.com/strozfriedberg/vmdk-rs/{REVISION}/data/"
SECONDS = 20
# name -> SHA-256 of the file
ESXI = {"sesparse.vmdk": "d33e393354748c566d521f67a4d93e80c73c31ad78be61280f2b1087ae4b12c2"}
OTHERS = {
    "monolithicSparse.vmdk": "df2911f7f75959e488b1cb33e6623c2bb0461d6834924a99062f902aabb79c5d",
    "streamOptimized.vmdk": "d938b9296538393140ec9b4159bd625d846d7566327d96d1b5a76dfda3bbb9f7",
    "streamOptimizedWithMarkers.vmdk":
        "d17099f6f8c9d0059465aaaf1d102e21163a4500afd09887d6686b5399ac0b0c",
    "twoGbMaxExtentSparse.vmdk":
        "cc522428b235efebb7ab696cba7d7ecee8f0c29ff1bc72b74c78df449fe0d339",
    "twoGbMaxExtentSparse-s001.vmdk":
        "dbdbbfae6c26ef867450c54bb50acbb86b2f65ec4cac862a243fabda08843cf7",
    "vmfs_thick.vmdk": "88344f0aff5c1435f8902568356ef3dbcc2806c00c91725d4185bb8b7e70c6bf",
    "vmfs_thick-flat.vmdk": "8d43c795d24bce01b49f92744f934c1072210dcac170bb1c83a5aa56df46ab7d",
    "vmfs_thick-000001.vmdk":
        "3c3e62c484631f9150355fbde29f4bccb6e227ecd411493e8b48a2b8d2c163b1",
}


def esxi(_):
    """The packed disk out of the source distribution; pip checks the hash of that."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = os.path.join(folder, "requirements.txt")
        with open(requirements, "w") as file:
            file.write(REQUIREMENT)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        pip += ["--no-deps", "--no-binary", ":all:", "--dest", folder]
        done = subprocess.run(pip + ["--requirement", requirements], capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stderr[-2000:], file=sys.stderr)
            sys.exit(1 if "DO NOT MATCH" in done.stderr else 3)
        archive = tarfile.open(os.path.join(folder, "dissect_hypervisor-3.20.tar.gz"))
        return gzip.decompress(archive.extractfile(MEMBER).read())


def others(name):
    try:
        return urllib.request.urlopen(ADDRESS + name, timeout=SECONDS).read()
    except (urllib.error.URLError, TimeoutError) as error:
        print(error, file=sys.stderr)
        sys.exit(3)


def main():
    folder = os.path.join(sys.argv[1], "vmdk")
    os.makedirs(folder, exist_ok=True)
    lock = open(os.path.join(folder, "lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    fetch, files = {"esxi": (esxi, ESXI), "others": (others, OTHERS)}[sys.argv[2]]
    for name, expected in files.items():
        path = os.path.join(folder, name)
        if os.path.exists(path):
            continue
        content = fetch(name)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            sys.exit(f"{name}: SHA-256 is {found}, expected {expected}")
        with open(path + ".part", "wb") as file:
            file.write(content)
        os.rename(path + ".part", path)


if __name__ == "__main__":
    main()
