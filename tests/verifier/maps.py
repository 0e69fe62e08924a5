"""The map of a disk: its shape, and a walk through its nodes."""

import collections
import struct

from .basics import Damage, is_zero, need
from .records import NODE

FAN_OUT = 256
NODE_HEAD = struct.Struct("<BBHIQ")
NODE_ENTRY = struct.Struct("<B3sI32sQ")
NODES_KEPT = 2_000_000  # numbers in memory about map nodes already walked


class Shape:
    """Where the cells of a disk are cut."""

    def __init__(self, capacity, chunk_size):
        self.capacity, self.chunk_size = capacity, chunk_size
        self.cells = -(-capacity // chunk_size)
        self.level = 0
        while FAN_OUT ** (self.level + 1) < self.cells:
            self.level += 1

    def entries(self, level, index):
        """How many entries the node has."""
        below = FAN_OUT ** level
        first = index * FAN_OUT
        return min(FAN_OUT, -(-self.cells // below) - first)

    def length(self, cell):
        return min(self.chunk_size, self.capacity - cell * self.chunk_size)


class Walked:
    """What lies below a map node: references per segment, bytes, cells that cannot be read."""

    def __init__(self):
        self.references, self.bytes, self.lost, self.holes = collections.Counter(), 0, 0, []

    def add(self, other):
        self.references.update(other.references)
        self.bytes += other.bytes
        self.lost += other.lost
        self.holes = (self.holes + other.holes)[:8]

    def hole(self, shape, first, count, what):
        count = min(count, shape.cells - first)
        self.lost += count
        self.holes = (self.holes + [(first, count, str(what))])[:8]


class Walker:
    """Goes through the map of a disk. `chunk(cell, id, place, length)` raises Damage."""

    def __init__(self, store, chunk, remember, hole=None):
        self.store, self.chunk, self.remember, self.on_hole = store, chunk, remember, hole
        self.memory, self.weight = collections.OrderedDict(), 0

    def disk(self, shape, root):
        if root is None:
            return Walked()
        walked = Walked()
        walked.references[root["place"] >> 32] += 1
        walked.add(self._node(shape, root["id"], root["place"], shape.level, 0))
        return walked

    def _node(self, shape, ident, place, level, index):
        key = (ident, place, level, index, shape.capacity, shape.chunk_size)
        if key in self.memory:
            self.memory.move_to_end(key)
            return self.memory[key]
        walked, below = Walked(), FAN_OUT ** level
        try:
            raw = self.store.read(NODE, ident, place)
            entries = self._entries(raw, shape, level, index)
        except Damage as damage:
            self._hole(walked, shape, index * FAN_OUT * below, FAN_OUT * below, damage)
        else:
            for number, entry in entries:
                self._entry(walked, shape, level, index * FAN_OUT + number, entry)
        if self.remember:
            self.memory[key] = walked
            self.weight += 8 + len(walked.references)
            while self.weight > NODES_KEPT:
                old = self.memory.popitem(last=False)[1]
                self.weight -= 8 + len(old.references)
        return walked

    def _hole(self, walked, shape, first, count, what):
        walked.hole(shape, first, count, what)
        if self.on_hole:
            self.on_hole(first, min(count, shape.cells - first), what)

    def _entries(self, raw, shape, level, index):
        """The entries that are not zeros, checked by what the shape of the map demands."""
        own, zero, count, zero2, number = NODE_HEAD.unpack_from(raw)
        need((own, number) == (level, index), "a map node of another place in the map")
        need(not zero and not zero2 and count == shape.entries(level, index)
             and len(raw) == NODE_HEAD.size + NODE_ENTRY.size * count,
             "a map node of a wrong length")
        result = []
        for number in range(count):
            at = NODE_HEAD.size + NODE_ENTRY.size * number
            kind, zero, length, ident, place = entry = NODE_ENTRY.unpack_from(raw, at)
            if kind == 0:
                need(is_zero(raw[at:at + NODE_ENTRY.size]), "an entry of zeros that is not zero")
                continue
            need(kind == (1 if level == 0 else 2), f"an entry of kind {kind} at level {level}")
            expected = shape.length(index * FAN_OUT + number) if level == 0 else 0
            need(is_zero(zero) and length == expected, "an entry of a wrong length")
            result.append((number, entry))
        need(result, "a map node that maps only zeros is stored")
        return result

    def _entry(self, walked, shape, level, index, entry):
        _, _, length, ident, place = entry
        walked.references[place >> 32] += 1
        if level:
            walked.add(self._node(shape, ident, place, level - 1, index))
            return
        walked.bytes += length
        try:
            self.chunk(index, ident, place, length)
        except Damage as damage:
            self._hole(walked, shape, index, 1, damage)
