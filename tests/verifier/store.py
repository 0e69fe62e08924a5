"""Single records by place and id, also those that a compaction moved."""

import bisect
import collections
import zlib

from .basics import BLOCK, MIB, Damage, File, need
from .records import CHUNK, RECORD, Header
from .segments import load_footer

FOOTERS_KEPT = 256 * MIB  # bytes of footers in memory while points are walked
FILES_OPEN = 64


class Store:
    """Finds and reads single records by place and id."""

    def __init__(self, repository, state, codec):
        self.repository, self.state, self.codec = repository, state, codec
        self.files, self.footers, self.footer_bytes = (collections.OrderedDict(),
                                                       collections.OrderedDict(), 0)
        self.moved, self.live = {}, sorted(state.segments)

    def file(self, serial):
        if serial in self.files:
            self.files.move_to_end(serial)
            return self.files[serial]
        need(serial in self.repository.segments, f"segment {serial} is missing")
        file = File(self.repository.segments[serial])
        self.files[serial] = file
        if len(self.files) > FILES_OPEN:
            self.files.popitem(last=False)[1].close()
        return file

    def footer(self, serial):
        """The footer with the ledger's seal, None when there is none."""
        if serial in self.footers:
            self.footers.move_to_end(serial)
            return self.footers[serial]
        footer = self._load_footer(serial)
        self.footers[serial] = footer
        self.footer_bytes += len(footer.raw) if footer else 0
        while self.footer_bytes > FOOTERS_KEPT and len(self.footers) > 1:
            old = self.footers.popitem(last=False)[1]
            self.footer_bytes -= len(old.raw) if old else 0
        return footer

    def _load_footer(self, serial):
        try:
            return load_footer(self.repository, self.state.segments[serial], self.file(serial))
        except (KeyError, Damage):
            return None

    def places(self, ident, place):
        """(serial, block) where a record may lie: its place, and where it was moved to."""
        serial, block = place >> 32, place >> 12 & 0xFFFFF
        if serial in self.repository.segments:
            yield serial, block
        if serial not in self.moved:
            if len(self.moved) > 100_000:
                self.moved.clear()
            self.moved[serial] = self.state.targets(serial)
        for first, last in self.moved[serial]:
            for target in self.live[bisect.bisect_left(self.live, first):
                                    bisect.bisect_right(self.live, last)]:
                footer = self.footer(target)
                for entry in footer.find(ident) if footer else ():
                    yield target, entry[1]

    def read(self, kind, ident, place, length=None):
        """The plain bytes, from wherever they are right."""
        return self._first(ident, place, lambda serial, block: self._read(
            kind, ident, serial, block, length))

    def _first(self, ident, place, attempt):
        first = None
        for serial, block in self.places(ident, place):
            try:
                return attempt(serial, block)
            except Damage as damage:
                first = first or Damage(f"segment {serial}, block {block}: {damage}")
        raise first or Damage(f"segment {place >> 32} is missing")

    def _read(self, kind, ident, serial, block, length):
        file = self.file(serial)
        header = Header(file.read(block * BLOCK, RECORD.size))
        need(header.repository == self.repository.id and header.serial == serial,
             "a record of another segment or repository")
        need(header.kind == kind and header.id == ident, "another record than the one named")
        need(length is None or header.plain == length, f"{header.plain} plain bytes")
        stored = file.read(block * BLOCK + RECORD.size, header.stored)
        need(zlib.crc32(stored) == header.crc, "the stored bytes have a wrong CRC")
        return self.codec.plain(header, stored)

    def known(self, checks, ident, place, length):
        """Whether a chunk was found right when its segment was checked; Damage if not."""
        return self._first(ident, place, lambda serial, block: self._known(
            checks.get(serial), ident, serial, block, length))

    def _known(self, check, ident, serial, block, length):
        footer = self.footer(serial)
        if check is None or footer is None:
            self._read(CHUNK, ident, serial, block, length)
            return
        need(check.bad is not None and block not in check.bad, "the record is damaged")
        for entry in footer.find(ident):
            if entry[1] == block:
                need(entry[5] == CHUNK and entry[3] == length, "another record than named")
                return
        raise Damage("no record of that id")
