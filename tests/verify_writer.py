"""Writes tiny Holdfast repositories for verify_test.py, by hand from the text of FORMAT.md.

It shares no code with the verifier it tests, but for the parity: offsets are written out, the tree
is computed by the definition (recursively), places by shifting. That the parity is right is proven
against the store's own segments, by the tests of appliance/verify.
"""

import base64
import hashlib
import json
import pathlib
import random
import zlib

import nacl.bindings
import nacl.signing
import zstandard
from blake3 import blake3

from verifier.parity import zone_parity

CHUNK_SIZE = 65536
KINDS = {"chunk": 1, "node": 2, "manifest": 3, "file": 4, "reach": 5}
CLOCK = 1_000_000


def le(number, size):
    return number.to_bytes(size, "little")


def block_with(length, pieces, crc=True):
    """`length` bytes with pieces at their offsets, the last four being the CRC."""
    block = bytearray(length)
    for offset, data in pieces.items():
        block[offset:offset + len(data)] = data
    if crc:
        block[-4:] = le(zlib.crc32(block[:-4]), 4)
    return bytes(block)


def padded(data):
    return data + bytes(-len(data) % 4096)


def nonzero(data):
    return data.count(0) < len(data)


def tree_hash(leaves):
    """MTH of RFC 9162, 2.1.1, as it is defined."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(
        b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


def seal_bytes(plain, associated, nonce, key):
    return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, associated, nonce, key)


class Writer:
    """One repository. `layout[(serial, part)]` is the offset of each part of a segment's file."""

    def __init__(self, path, encrypted=False, seed=1):
        self.path, self.encrypted = pathlib.Path(path), encrypted
        self.random = random.Random(seed)
        self.id, self.secret = self.random.randbytes(16), self.random.randbytes(32)
        self.kek, self.master, self.data_key = (self.random.randbytes(32) for _ in range(3))
        self.signer = nacl.signing.SigningKey(self.random.randbytes(32))
        self.leaves, self.layout, self.clock = [], {}, CLOCK
        self.epoch = 1 if encrypted else 0
        for folder in ("ledger", "open", "segments", *(["keys"] if encrypted else [])):
            (self.path / folder).mkdir(parents=True)
        self.file("repository", self.header() * 2)
        for name in ("lock", "ledger/lock"):
            self.file(name, b"")
        self.leaf("created", repository=self.id.hex(), chunk_size=CHUNK_SIZE,
                  bounds={"min_seconds": 60, "max_seconds": 10 ** 9}, signer=self.vkey())
        if encrypted:
            self.keys()

    def file(self, name, data):
        (self.path / name).write_bytes(data)

    def header(self):
        return block_with(4096, {
            0: b"HOLDFAST", 8: le(2, 4), 12: le(CHUNK_SIZE, 4), 16: le(int(self.encrypted), 8),
            32: self.id, 48: bytes(32) if self.encrypted else self.secret,
            80: le(1_700_000_000, 8)})

    def keys(self):
        head = b"HFKM" + le(2, 2) + le(2, 2) + self.id + bytes(8)
        slots = b""
        for kek in (self.random.randbytes(32), self.kek):
            ident = blake3(kek, derive_key_context="holdfast format 2 key id").digest()[:16]
            nonce = self.random.randbytes(24)
            slots += ident + nonce + seal_bytes(
                self.master + self.secret, head[:6] + bytes(2) + head[8:] + ident, nonce,
                kek) + bytes(40)
        self.file("keys/master", block_with(4096, {0: head, 32: slots}))
        head = b"HFKE" + le(2, 2) + bytes(2) + self.id + le(1, 4) + bytes(4)
        nonce = self.random.randbytes(24)
        sealed = seal_bytes(self.data_key, head, nonce, self.master)
        block = block_with(4096, {0: head, 32: nonce, 56: sealed})
        self.file("keys/00000001", block)
        self.leaf("key", epoch=1, hash=blake3(block).hexdigest())

    # ---- ids

    def hash(self, purpose):
        key = blake3(self.secret, derive_key_context=f"holdfast format 1 {purpose}").digest()
        return lambda data: blake3(data, key=key).digest()

    def ident(self, kind, plain):
        if kind != "node":
            return self.hash("chunk id" if kind == "chunk" else "content")(plain)
        entries = (plain[at:at + 40] for at in range(16, len(plain), 48))
        return self.hash("map node")(plain[:16] + b"".join(entries))

    # ---- segments

    def record(self, serial, number, kind, plain, epoch):
        packed = zstandard.ZstdCompressor().compress(plain)
        flags, stored = (1, packed) if len(packed) < len(plain) else (0, plain)
        flags |= 2 if epoch else 0
        nonce = self.random.randbytes(24) if epoch else bytes(24)
        ident = self.ident(kind, plain)
        front = (b"HFRC" + le(2, 1) + le(KINDS[kind], 1) + le(flags, 2) + self.id + le(serial, 8)
                 + le(number, 4) + le(len(plain), 4) + le(len(stored), 4) + le(epoch, 4) + ident)
        tag = bytes(16)
        if epoch:
            both = seal_bytes(stored, front[4:24] + front[36:80], nonce, self.data_key)
            stored, tag = both[:-16], both[-16:]
        front += nonce + tag + le(zlib.crc32(stored), 4)
        front += le(zlib.crc32(front), 4)
        assert len(front) == 128
        return padded(front + stored), (ident, len(stored), len(plain), flags, zlib.crc32(stored))

    def segment(self, serial, records, class_=1, cohort=3, folder="segments", volume=0, leaf=True):
        """Seals records [(kind, plain)] and returns their [(id, place)]."""
        data = block_with(4096, {0: b"HFSG" + le(2, 2) + le(class_, 1) + le(cohort, 1) + self.id
                                 + le(serial, 8) + le(self.epoch, 4)})
        entries, result, plain_sum = [], [], 0
        for number, (kind, plain) in enumerate(records):
            raw, (ident, stored, length, flags, crc) = self.record(serial, number, kind, plain,
                                                                   self.epoch)
            block = len(data) // 4096
            self.layout[serial, f"record {number}"] = len(data)
            entries.append((ident, block, le(block, 4) + le(stored, 4) + le(length, 4)
                            + le(number, 4) + le(KINDS[kind], 1) + b"\0" + le(flags, 2)
                            + le(crc, 4)))
            result.append((ident, serial << 32 | block << 12 | len(raw) // 4096))
            data, plain_sum = data + raw, plain_sum + length
        common = le(2, 2) + le(class_, 1) + le(cohort, 1) + self.id + le(serial, 8)
        footer = (b"HFFT" + common + le(len(entries), 4) + le(self.epoch, 4) + le(len(data), 8)
                  + blake3(data).digest() + le(plain_sum, 8) + bytes(8)
                  + b"".join(ident + rest for ident, _, rest in sorted(entries)))
        seal = blake3(footer).digest()
        content = self.finish(serial, data, footer, common, seal)
        name = f"{folder}/{serial:08x}.segment"
        self.file(name, content)
        if leaf:
            named = {"class": ("data", "metadata")[class_ - 1]}
            self.leaf("segment", serial=serial, volume=volume, **named, cohort=cohort,
                      bytes=len(content), seal=seal.hex(), epoch=self.epoch)
        return result

    def finish(self, serial, data, footer, common, seal):
        """Behind the data: footer, trailer, table, parity, table, trailer."""
        protected = padded(data + footer)
        whole, rest = len(protected) // 15_728_640, len(protected) % 15_728_640
        column = -(-rest // 240)
        column += -column % 4096
        parity = b"".join(zone_parity(protected[at:at + 15728640])
                          for at in range(0, len(protected), 15728640))
        assert len(parity) == whole * 131072 + 2 * column
        table = b"".join(le(zlib.crc32(area[at:at + 4096]), 4) for area in (protected, parity)
                         for at in range(0, len(area), 4096))
        trailer = block_with(4096, {
            0: b"HFTR" + common + le(len(data), 8) + le(len(footer), 8) + seal
            + le(len(protected), 8) + le(len(parity), 8) + le(len(table), 8)
            + blake3(table).digest() + le(self.epoch, 4)})
        content = b""
        for name, part in (("data", data), ("footer", padded(footer)), ("first trailer", trailer),
                           ("first table", padded(table)), ("parity", parity),
                           ("second table", padded(table)), ("last trailer", trailer)):
            self.layout[serial, name] = len(content)
            content += part
        return content

    # ---- points

    def entry(self, kind, length, ident, place):
        return le(kind, 1) + bytes(3) + le(length, 4) + ident + le(place, 8)

    def write_point(self, name, image, serials, known=None, base=None, until=0, mode="governance",
                    folder="segments", volume=0, zero_disk=False, reach_leaf=False):
        """A point with one disk (and perhaps one of zeros); `known` {plain: (id, place)} grows."""
        known = {} if known is None else known
        point = self.random.randbytes(16).hex()
        cells = [image[at:at + CHUNK_SIZE] for at in range(0, len(image), CHUNK_SIZE)]
        fresh = list(dict.fromkeys(c for c in cells if nonzero(c) and c not in known))
        if fresh:
            placed = self.segment(serials[0], [("chunk", c) for c in fresh], folder=folder,
                                  volume=volume)
            known.update(zip(fresh, placed))
        records = self.metadata(point, name, image, cells, known, serials[1], zero_disk)
        placed = self.segment(serials[1], records, class_=2, folder=folder, volume=volume)
        used = sorted({known[c][1] >> 32 for c in cells if nonzero(c)} | {serials[1]})
        add = [[serial, serial] for serial in used if base is None or serial in serials]
        if reach_leaf:
            self.leaf("reach", point=point, add=add, drop=[])
            add = []
        self.leaf("commit", point=point, run=point, vm={"uuid": "u", "name": name,
                                                       "server_uuid": "s"},
                  started=1, finished=2, consistency="crash", disks=1, capacity=len(image),
                  data_bytes=0, new_bytes=0, chunk_size=CHUNK_SIZE,
                  manifest={"id": placed[-1][0].hex(), "place": placed[-1][1]},
                  reach={"base": base, "add": add, "drop": []},
                  lock={"mode": mode, "until": until})
        return point

    def metadata(self, point, name, image, cells, known, serial, zero_disk):
        """Records of the metadata segment: nodes, reach, file, manifest."""
        records, block, references = [], 1, {}

        def put(kind, plain):
            nonlocal block
            raw, _ = self.record(serial, len(records), kind, plain, self.epoch)
            place = serial << 32 | block << 12 | len(raw) // 4096
            records.append((kind, plain))
            block += len(raw) // 4096
            return self.ident(kind, plain), place

        def count(place):
            references[place >> 32] = references.get(place >> 32, 0) + 1

        level, row = 0, []
        for cell in cells:
            if nonzero(cell):
                count(known[cell][1])
                row.append(self.entry(1, len(cell), *known[cell]))
            else:
                row.append(bytes(48))
        while True:
            nodes = []
            for index in range(0, len(row), 256):
                part = row[index:index + 256]
                if not any(any(entry) for entry in part):
                    nodes.append(bytes(48))
                    continue
                plain = le(level, 1) + b"\0" + le(len(part), 2) + bytes(4) + le(index // 256, 8)
                root = put("node", plain + b"".join(part))
                count(root[1])
                nodes.append(self.entry(2, 0, *root))
            if len(nodes) == 1:
                break
            level, row = level + 1, nodes
        reach = put("reach", le(len(references), 4) + bytes(4) + b"".join(
            le(s, 4) + le(n, 4) for s, n in sorted(references.items())))
        file = put("file", b"numvcpus = 2\n")
        pointer = lambda found: {"id": found[0].hex(), "place": found[1]}
        disk = {"identity": {"key": 2000, "uuid": "d", "path": "p", "capacity": len(image),
                             "change_id": None},
                "read": {"mode": "full", "reason": "first"}, "transport": "san",
                "map": pointer(root), "reach": pointer(reach),
                "data_bytes": sum(len(c) for c in cells if nonzero(c))}
        zero = disk | {"map": None, "reach": None, "data_bytes": 0}
        put("manifest", json.dumps({
            "version": 2, "point": point, "run": point, "chunk_size": CHUNK_SIZE,
            "vm": {"uuid": "u", "name": name, "server_uuid": "s"}, "consistency": "crash",
            "started": 1, "finished": 2, "disks": [disk, *([zero] if zero_disk else [])],
            "files": [{"name": "a.vmx", "length": 13, "content": pointer(file)},
                      {"name": "empty", "length": 0, "content": None}]}).encode())
        return records

    # ---- ledger

    def origin(self):
        return f"holdfast/{self.id.hex()}"

    def vkey(self):
        public = b"\x01" + bytes(self.signer.verify_key)
        return f"{self.origin()}+{self.key_hash().hex()}+{base64.b64encode(public).decode()}"

    def key_hash(self):
        public = b"\x01" + bytes(self.signer.verify_key)
        return hashlib.sha256(self.origin().encode() + b"\n" + public).digest()[:4]

    def leaf(self, kind, clock=None, version=2, **fields):
        self.clock += 1
        self.leaves.append(json.dumps({
            "v": version, "clock": self.clock if clock is None else clock, "wall": 1_700_000_000,
            "event": {"type": kind, **fields}}, separators=(",", ":")).encode())

    def frames(self):
        result = b""
        for number, data in enumerate(self.leaves):
            root = tree_hash(self.leaves[:number + 1])
            head = (b"HFLF" + le(1, 2) + bytes(2) + le(number, 8) + self.id + le(len(data), 4)
                    + le(zlib.crc32(data + root), 4) + bytes(4))
            result += head + le(zlib.crc32(head), 4) + data + root
        return result

    def head(self, size=None):
        size = len(self.leaves) if size is None else size
        root = base64.b64encode(tree_hash(self.leaves[:size])).decode()
        body = f"{self.origin()}\n{size}\n{root}\n"
        signature = self.key_hash() + self.signer.sign(body.encode()).signature
        return (f"{body}\n\u2014 {self.origin()} {base64.b64encode(signature).decode()}\n").encode()

    def close(self, size=None):
        """Writes the ledger, with a head about the first `size` leaves."""
        self.file("ledger/leaves", self.frames())
        self.file("ledger/head", self.head(size))
        return self
