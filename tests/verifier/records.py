"""Records, footers, and how the parts of a segment follow from each other."""

import array
import bisect
import struct
import zlib

import zstandard
from blake3 import blake3

from .basics import BLOCK, CHUNK_MAX, Damage, is_zero, need, round_up
from .repository import open_sealed

CHUNK, NODE, MANIFEST, FILE, REACH = 1, 2, 3, 4, 5
KIND_NAMES = {CHUNK: "chunk", NODE: "map node", MANIFEST: "manifest", FILE: "file", REACH: "reach"}
KINDS_OF_CLASS = {1: {CHUNK}, 2: {NODE, MANIFEST, FILE, REACH}}
ZSTD, ENCRYPTED = 1, 2
ZONE_COLUMNS, COLUMN = 240, 65536
RECORD = struct.Struct("<4sBBH16sQIIII32s24s16sII")
FOOTER = struct.Struct("<4sHBB16sQIIQ32sQQ")
ENTRY = struct.Struct("<32sIIIIBBHI")


class Header:
    """A record's header, its own CRC and ranges already checked."""

    __slots__ = ("kind", "flags", "repository", "serial", "number", "plain", "stored", "epoch",
                 "id", "nonce", "tag", "crc", "associated", "blocks")

    def __init__(self, raw):
        magic, version, self.kind, self.flags, self.repository, self.serial, self.number, \
            self.plain, self.stored, self.epoch, self.id, self.nonce, self.tag, self.crc, \
            own = RECORD.unpack(raw)
        need(magic == b"HFRC", "no record begins here")
        need(zlib.crc32(raw[:124]) == own, "the record's header has a wrong CRC")
        need(version == 2, f"a record of version {version}")
        need(self.kind in KIND_NAMES, f"a record of the unknown kind {self.kind}")
        need(not self.flags & ~(ZSTD | ENCRYPTED), f"a record with unknown flags {self.flags:#x}")
        need(1 <= self.plain <= CHUNK_MAX, f"a plain length of {self.plain}")
        need(1 <= self.stored <= CHUNK_MAX, f"a stored length of {self.stored}")
        need(bool(self.flags & ENCRYPTED) == (self.epoch != 0), "flag and key epoch disagree")
        need(self.epoch or is_zero(self.nonce + self.tag), "nonce or tag without encryption")
        self.associated = raw[4:24] + raw[36:80]
        self.blocks = -(-(RECORD.size + self.stored) // BLOCK)


class Codec:
    """Stored bytes to plain bytes, and their id."""

    def __init__(self, repository):
        self.repository = repository
        keys = {purpose: repository.hash_key(purpose)
                for purpose in ("chunk id", "map node", "content")}
        self.keys = {CHUNK: keys["chunk id"], NODE: keys["map node"]}
        self.content = keys["content"]
        self.zstd = zstandard.ZstdDecompressor()

    def plain(self, header, stored):
        """Decrypted, decompressed and compared with the id in the header, or Damage."""
        if header.epoch:
            key = self.repository.data_keys.get(header.epoch)
            need(key is not None, f"the key of epoch {header.epoch} is not at hand")
            stored = open_sealed(stored + header.tag, header.associated, header.nonce, key)
        plain = self._decompress(stored, header.plain) if header.flags & ZSTD else stored
        need(len(plain) == header.plain, f"{len(plain)} plain bytes instead of {header.plain}")
        need(self.identity(header.kind, plain) == header.id, "the content is not what the id says")
        return plain

    def _decompress(self, stored, length):
        """One zstd frame. What it claims as its size is compared before memory is taken."""
        try:
            need(stored[:4] == b"\x28\xb5\x2f\xfd", "no zstd frame")
            claimed = zstandard.get_frame_parameters(stored).content_size
            need(claimed in (length, zstandard.CONTENTSIZE_UNKNOWN),
                 f"a zstd frame of {claimed} bytes instead of {length}")
            return self.zstd.decompress(stored, max_output_size=length, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Damage(f"zstd: {error}") from None

    def identity(self, kind, plain):
        if kind == NODE:
            need(len(plain) >= 16 and (len(plain) - 16) % 48 == 0, "a map node of a wrong length")
            hasher = blake3(plain[:16], key=self.keys[NODE])
            for at in range(16, len(plain), 48):
                hasher.update(plain[at:at + 40])
            return hasher.digest()
        return blake3(plain, key=self.keys.get(kind, self.content)).digest()


def check_record(file, block, codec):
    """The record that begins at a block: its header, and what is wrong without hurting it.

    Without a codec (no secret) the content is not compared with the id.
    """
    header = Header(file.read(block * BLOCK, RECORD.size))
    rest = file.read(block * BLOCK + RECORD.size, header.blocks * BLOCK - RECORD.size)
    stored = rest[:header.stored]
    need(zlib.crc32(stored) == header.crc, "the stored bytes have a wrong CRC")
    plain = codec.plain(header, stored) if codec else None
    if not is_zero(rest[header.stored:]):
        return header, "bytes behind the record are not zero"
    if header.kind == CHUNK and plain is not None and is_zero(plain):
        return header, "a chunk of zeros is stored"
    return header, None


class Footer:
    """A footer that has the seal the ledger names, so that its entries can be believed."""

    def __init__(self, raw):
        self.raw, self.count = raw, (len(raw) - FOOTER.size) // ENTRY.size
        _, _, self.class_, self.cohort, self.repository, self.serial, self.entries, self.epoch, \
            self.data_length, self.hash, self.plain, self.zero = FOOTER.unpack_from(raw)

    def entry(self, number):
        """(id, block, stored, plain, record number, kind, zero, flags, crc)"""
        return ENTRY.unpack_from(self.raw, FOOTER.size + number * ENTRY.size)

    def find(self, ident):
        """All entries of an id."""
        at = bisect.bisect_left(range(self.count), ident, key=lambda n: self.entry(n)[0])
        while at < self.count and (entry := self.entry(at))[0] == ident:
            yield entry
            at += 1

    def by_block(self):
        """Entry numbers in the order in which the records lie."""
        blocks = array.array("Q", (self.entry(n)[1] << 32 | n for n in range(self.count)))
        return [key & 0xFFFFFFFF for key in sorted(blocks)]


class Geometry:
    """Where the parts of a segment lie; all of it follows from the data and the entries.

    Data, footer, padding; then trailer, table, parity, table, trailer.
    """

    def __init__(self, data_length, entries):
        self.data, self.footer = data_length, FOOTER.size + ENTRY.size * entries
        self.protected = round_up(data_length + self.footer)
        self.parity = parity_length(self.protected)
        self.table, self.file = tail_lengths(self.protected)
        self.trailers = (self.protected, self.file - BLOCK)
        self.parity_at = self.protected + BLOCK + round_up(self.table)
        self.tables = (self.protected + BLOCK, self.parity_at + self.parity)

    def part(self, at):
        """The name of the part in which a byte lies."""
        if at < self.data:
            return "data"
        return "footer" if at < self.protected else "parity"


def tail_lengths(protected):
    """Length of one table, and of the whole file."""
    parity = parity_length(protected)
    table = (protected + parity) // BLOCK * 4
    return table, protected + parity + 2 * round_up(table) + 2 * BLOCK


def protected_of(file_length):
    """The protected length that leads to a file of this length, None if none does."""
    blocks = range(1, file_length // BLOCK + 1)
    at = bisect.bisect_left(blocks, file_length, key=lambda n: tail_lengths(n * BLOCK)[1])
    if at < len(blocks) and tail_lengths(blocks[at] * BLOCK)[1] == file_length:
        return blocks[at] * BLOCK
    return None


def parity_length(protected):
    whole, rest = divmod(protected, ZONE_COLUMNS * COLUMN)
    last = round_up(-(-rest // ZONE_COLUMNS))
    return 2 * (whole * COLUMN + last)
