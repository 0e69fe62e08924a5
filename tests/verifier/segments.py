"""Everything about one sealed segment that its file can tell."""

import array
import struct
import sys
import zlib

from blake3 import blake3

from .basics import (BLOCK, MIB, SEGMENT_MAX, Damage, File, Report, need, round_up, sealed_block,
                     zeros)
from .parity import zone_parity, zones
from .records import (ENTRY, FOOTER, KIND_NAMES, KINDS_OF_CLASS, RECORD, Footer, Geometry, Header,
                      check_record, protected_of)
from .runs import runs_of

TRAILER = struct.Struct("<4sHBB16sQQQ32sQQQ32sI")
BAD_KEPT = 65536  # damaged records known one by one in a segment; with more, all count as damaged


class SegmentCheck:
    """Everything about one sealed segment that its file can tell.

    `bad` holds the first blocks of the records that are damaged, None when none is known to be
    right; `contents` whether the plain bytes were compared with the ids.
    """

    def __init__(self, repository, leaf, report, codec, run=True):
        self.repository, self.leaf, self.report, self.codec = repository, leaf, report, codec
        self.bad, self.clean = set(), True
        self.footer = self.geometry = self.trailer = None
        if run:
            self._run()

    def _run(self):
        leaf, repository = self.leaf, self.repository
        try:
            need(leaf.serial in repository.segments, "the file is missing")
            with File(repository.segments[leaf.serial]) as self.file:
                self._check()
        except Damage as damage:
            self.add(damage)
            self.bad = None

    def add(self, what, place=""):
        self.clean = False
        self.report.add(f"segment {self.leaf.serial}{place}", what)

    def _check(self):
        size = self.file.size
        if size != self.leaf.bytes:
            self.add(f"{size} bytes long; the ledger says {self.leaf.bytes}")
        need(2 * BLOCK <= size <= SEGMENT_MAX, f"{size} bytes long")
        explained = self._try(self._header)
        self.locate()
        if self.geometry and self.geometry.file != size:
            self.add(f"{size} bytes long instead of {self.geometry.file}")
        table = self._tables()
        whole = self._sweep(table)
        explained = self._records() or explained
        if not self.geometry or self.footer and not whole and not self.bad and not explained:
            self.bad = None  # something is wrong and nothing says what

    def locate(self):
        """Trailers and footer: where everything lies."""
        self._trailers()
        self._try(self._footer)

    def _try(self, step):
        """Whether a step found damage."""
        try:
            step()
            return False
        except Damage as damage:
            self.add(damage)
            return True

    def _same(self, what, class_, cohort, repository, serial, epoch):
        leaf = self.leaf
        need(repository == self.repository.id, f"{what}: belongs to another repository")
        need(serial == leaf.serial, f"{what}: belongs to segment {serial}")
        need(class_ == leaf.class_ and cohort == leaf.cohort and epoch == leaf.epoch,
             f"{what}: class, cohort or key epoch are not those of the ledger")

    def _header(self):
        block = self.file.read(0, BLOCK)
        sealed_block(block, b"HFSG", "segment header")
        version, class_, cohort, repository, serial, epoch = struct.unpack_from("<HBB16sQI",
                                                                                block, 4)
        need(version == 2, f"segment header: version {version}")
        self._same("segment header", class_, cohort, repository, serial, epoch)
        zeros(block[36:4092], "segment header")

    def _trailers(self):
        """Both must be right and the same; the last one counts, else the first."""
        size = self.file.size
        for end in dict.fromkeys([size, self.leaf.bytes]):
            found = {}
            for name, at in (("last", end - BLOCK), ("first", protected_of(end))):
                try:
                    need(at is not None, "first trailer: no segment has this length")
                    found[name] = self._trailer(self.file.read(at, BLOCK), f"{name} trailer")
                except Damage as damage:
                    if end == size:
                        self.add(damage)
            if found:
                break
        if len(found) == 2 and found["last"] != found["first"]:
            self.add("the two trailers differ")
        if found:
            self.trailer = next(iter(found.values()))
            offset, length = self.trailer[6:8]
            self.geometry = Geometry(offset, (length - FOOTER.size) // ENTRY.size)
        elif place := self._search_footer():
            self.geometry = Geometry(*place)
        else:
            self.add("neither trailer nor footer can be found; records are looked for")

    def _trailer(self, block, what):
        sealed_block(block, b"HFTR", what)
        fields = TRAILER.unpack_from(block)
        _, version, class_, cohort, repository, serial, offset, length, seal, protected, parity, \
            table, _, epoch = fields
        need(version == 2, f"{what}: version {version}")
        self._same(what, class_, cohort, repository, serial, epoch)
        zeros(block[TRAILER.size:4092], what)
        need(offset % BLOCK == 0 and BLOCK <= offset <= self.file.size and length >= FOOTER.size
             and (length - FOOTER.size) % ENTRY.size == 0, f"{what}: lengths that cannot be")
        geometry = Geometry(offset, (length - FOOTER.size) // ENTRY.size)
        need((protected, parity, table) == (geometry.protected, geometry.parity, geometry.table),
             f"{what}: lengths that do not follow from each other")
        need(seal == self.leaf.seal, f"{what}: another seal than in the ledger")
        return fields

    def _search_footer(self):
        """Without a trailer: the block whose bytes have the seal of the ledger."""
        tries = 0
        for at in range(BLOCK, self.file.size, BLOCK):
            try:
                raw = self.file.read(at, FOOTER.size)
                if raw[:4] != b"HFFT" or tries > 16:
                    continue
                footer = Footer(raw)
                length = FOOTER.size + ENTRY.size * footer.entries
                if footer.data_length == at and footer.serial == self.leaf.serial:
                    tries += 1
                    if blake3(self.file.read(at, length)).digest() == self.leaf.seal:
                        return at, footer.entries
            except Damage:
                continue
        return None

    def _footer(self):
        if not self.geometry:
            return
        at, length = self.geometry.data, self.geometry.footer
        raw = self.file.read(at, length)
        need(blake3(raw).digest() == self.leaf.seal, "footer: has not the seal of the ledger")
        footer = Footer(raw)
        need(raw[:6] == b"HFFT\x02\x00", "footer: wrong beginning or version")
        self._same("footer", footer.class_, footer.cohort, footer.repository, footer.serial,
                   footer.epoch)
        need(footer.data_length == at and footer.entries == footer.count and not footer.zero,
             "footer: lengths that cannot be")
        self._entries(footer)
        self.footer = footer
        zeros(self.file.read(at + length, self.geometry.protected - at - length),
              "behind the footer")

    def _entries(self, footer):
        """Sorted by id, and together every block of the data exactly once."""
        before, plain, block = (b"", 0), 0, 1
        for number in range(footer.count):
            entry = footer.entry(number)
            need(before < entry[:2], "footer: entries that are not ascending")
            need(entry[6] == 0, "footer: an entry with zeros that are none")
            before, plain = entry[:2], plain + entry[3]
        need(plain == footer.plain, "footer: the sum of the plain lengths is wrong")
        for position, number in enumerate(footer.by_block()):
            entry = footer.entry(number)
            need(entry[1] == block and entry[4] == position,
                 f"footer: the records leave a gap or overlap at block {block}")
            block += -(-(RECORD.size + entry[2]) // BLOCK)
        need(block * BLOCK == footer.data_length, "footer: the records do not fill the data")

    def _tables(self):
        """The table of block checksums, None when no copy is right."""
        if not self.geometry:
            return None
        right = [table for table in map(self._table, ("first", "second"), self.geometry.tables)
                 if table is not None]
        if not self.trailer and (len(right) < 2 or right[0] != right[1]):
            self.add("the tables of checksums differ and no trailer says which is right")
            return None
        if not right:
            return None
        table = array.array("I", right[0])
        if sys.byteorder == "big":
            table.byteswap()
        return table

    def _table(self, name, at):
        """One copy, None when it has not the hash that the trailer names."""
        length = self.geometry.table
        try:
            raw = self.file.read(at, round_up(length))
            if self.trailer:
                need(blake3(raw[:length]).digest() == self.trailer[12],
                     f"{name} table of checksums: wrong hash")
        except Damage as damage:
            self.add(damage)
            return None
        self._try(lambda: zeros(raw[length:], f"behind the {name} table of checksums"))
        return raw[:length]

    def _sweep(self, table):
        """Every byte of data, footer and parity once; whether the data has its hash."""
        geometry, size = self.geometry, self.file.size
        hasher = blake3()
        if not geometry:
            return False
        wrong = self._blocks(0, min(geometry.protected, size), table, hasher)
        wrong += self._blocks(geometry.parity_at, min(geometry.tables[1], size),
                              table[geometry.protected // BLOCK:] if table else None)
        for first, last in runs_of(wrong):
            self.add(f"not what the table of checksums says ({geometry.part(first * BLOCK)})",
                     f", block {first}" if first == last else f", blocks {first}-{last}")
        if not wrong and size == geometry.file:
            self._try(self._parity)
        if not self.footer:
            return False
        whole = hasher.digest() == self.footer.hash
        if not whole:
            self.add("the data has not the hash of the footer")
        return whole

    def _parity(self):
        """Where all checksums are right, the parity must be what follows from the data."""
        for at, length, parity_at in zones(self.geometry.protected, self.geometry.parity_at):
            expected = zone_parity(self.file.read(at, length))
            need(self.file.read(parity_at, len(expected)) == expected,
                 f"the parity of the zone at {at} is not what follows from the data")

    def _blocks(self, begin, end, table, hasher=None):
        """The blocks of a range that are not what the table says; hashes the data along."""
        wrong = []
        for at in range(begin, end, MIB):
            piece = memoryview(self._piece(at, min(MIB, end - at)))
            if hasher and at < self.geometry.data:
                hasher.update(piece[:self.geometry.data - at])
            for offset in range(0, len(piece) if table else 0, BLOCK):
                expected = table[(at + offset - begin) // BLOCK]
                if zlib.crc32(piece[offset:offset + BLOCK]) != expected:
                    wrong.append((at + offset) // BLOCK)
        return wrong

    def _piece(self, at, length):
        """Bytes of the file; blocks that cannot be read are reported and count as zeros."""
        try:
            return self.file.read(at, length)
        except Damage:
            blocks = []
            for offset in range(at, at + length, BLOCK):
                size = min(BLOCK, at + length - offset)
                try:
                    blocks.append(self.file.read(offset, size))
                except Damage as damage:
                    self.add(damage, f", block {offset // BLOCK}")
                    blocks.append(bytes(size))
            return b"".join(blocks)

    def _records(self):
        """Every record; whether damage was found that spares the records themselves."""
        explained = False
        for number, block, entry in self._starts():
            try:
                header, harmless = check_record(self.file, block, self.codec)
                self._compare(header, number, block, entry)
                if harmless:
                    explained = True
                    self.add(harmless, f", block {block}")
            except Damage as damage:
                self.add(damage, f", block {block}")
                if self.bad is not None:
                    self.bad.add(block)
                    self.bad = self.bad if len(self.bad) <= BAD_KEPT else None
        return explained

    def _compare(self, header, number, block, entry):
        self._same("record", self.leaf.class_, self.leaf.cohort, header.repository,
                   header.serial, header.epoch)
        need(header.kind in KINDS_OF_CLASS[self.leaf.class_],
             f"a {KIND_NAMES[header.kind]} in a segment of class {self.leaf.class_}")
        need(number is None or header.number == number, f"has the record number {header.number}")
        need(entry is None or entry == (header.id, block, header.stored, header.plain,
                                        header.number, header.kind, 0, header.flags, header.crc),
             "the record is not what the footer says")

    def _starts(self):
        """(number, first block, entry) of each record: by the footer, else by a forward scan."""
        if self.footer:
            for number, at in enumerate(self.footer.by_block()):
                entry = self.footer.entry(at)
                yield number, entry[1], entry
            return
        block, lost = 1, False
        end = (self.geometry.data if self.geometry else self.file.size) // BLOCK
        while block < end:
            try:
                header = Header(self.file.read(block * BLOCK, RECORD.size))
                need((header.repository, header.serial) == (self.repository.id, self.leaf.serial),
                     "a record of another segment")
                yield None, block, None
                block, lost = block + header.blocks, False
            except Damage:
                if not lost and self.geometry:
                    yield None, block, None  # read again, which names the damage
                block, lost = block + 1, True


def load_footer(repository, leaf, file):
    """The footer with the ledger's seal, None when it is not right. Finds nothing aloud."""
    quiet = SegmentCheck(repository, leaf, Report(), None, run=False)
    quiet.file = file
    quiet.locate()
    return quiet.footer
