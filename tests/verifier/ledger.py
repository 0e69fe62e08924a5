"""The ledger: frames, roots, head; and its copies on the other volumes."""

import hashlib
import os
import re
import struct
import zlib

from .basics import MIB, Damage, File, Refused, need
from .fields import parse_json
from .repository import listing
from .state import State
from .tree import Tree, check_head, leaf_hash, read_head

FRAME = struct.Struct("<4sHHQ16sIIII")


class Frames:
    """The right frames of `leaves` one after another; `end` and `stopped` tell where and why."""

    def __init__(self, path, repository):
        self.file, self.repository = File(path), repository
        self.end, self.stopped, self.tree = 0, None, Tree()

    def __iter__(self):
        """Yields (number, data)."""
        with self.file:
            while self.end < self.file.size:
                try:
                    data, length = self._frame(self.end)
                except Damage as damage:
                    self.stopped = str(damage)
                    return
                self.end += length
                yield self.tree.size - 1, data

    def _frame(self, at):
        raw = self.file.read(at, FRAME.size)
        magic, version, zero, number, repository, length, crc, zero2, head_crc = FRAME.unpack(raw)
        need(magic == b"HFLF", "does not begin with HFLF")
        need(zlib.crc32(raw[:44]) == head_crc, "wrong CRC of the head")
        if version != 1:
            raise Refused(f"ledger, leaf {self.tree.size}: a frame of version {version}")
        need(zero == 0 and zero2 == 0, "head: zeros expected")
        need(number == self.tree.size, f"has the number {number}")
        need(repository == self.repository, "belongs to another repository")
        need(1 <= length <= 65535, f"data of {length} bytes")
        body = self.file.read(at + FRAME.size, length + 32)
        need(zlib.crc32(body) == crc, "wrong CRC of the data")
        stack = list(self.tree.stack)
        self.tree.push(leaf_hash(body[:length]))
        if self.tree.root() != body[length:]:
            self.tree.size, self.tree.stack = number, stack
            raise Damage("the root is not that of the leaves up to here")
        return body[:length], FRAME.size + length + 32


class Ledger:
    """What reading `leaves` and `head` came to. `watch` names sizes at which to look."""

    def __init__(self, repository, report, watch=()):
        self.repository, self.report = repository, report
        self.state, self.consistent, self.refusal = State(report), True, None
        self.head, self.signed_by = None, None
        self.seen = dict.fromkeys(watch)  # size -> (root, key, end of the bytes)
        folder = os.path.join(repository.path, "ledger")
        has_head = self._read_head(os.path.join(folder, "head"))
        self._read_leaves(os.path.join(folder, "leaves"))
        self._compare(has_head)

    def wrong(self, where, what):
        self.consistent = False
        self.report.add(where, what)

    def _read_head(self, path):
        if not os.path.lexists(path):
            return False
        try:
            self.head = read_head(path, self.repository.id)
            self.seen.setdefault(self.head.size)
        except Damage as damage:
            self.wrong("ledger head", damage)
        return True

    def _read_leaves(self, path):
        self.size, self.root, self.end, left = 0, hashlib.sha256(b"").digest(), 0, 0
        try:
            frames = Frames(path, self.repository.id)
            for number, data in frames:
                self._leaf(number, data)
                if number + 1 in self.seen:
                    self.seen[number + 1] = (frames.tree.root(), self.state.signer, frames.end)
            left = frames.file.size - frames.end
        except Damage as damage:
            self.wrong("ledger", f"leaves: {damage}")
            return
        except Refused as refused:
            self.wrong("ledger", refused)
            self.refusal = refused
        self.size, self.root, self.end = frames.tree.size, frames.tree.root(), frames.end
        if left:
            self.report.add(f"ledger, leaf {self.size}",
                            f"{frames.stopped}; {left} bytes from here on are no right leaves")
        if not self.size and not self.refusal:
            self.wrong("ledger", "holds no leaf")

    def _leaf(self, number, data):
        try:
            self.state.apply(number, parse_json(data), self.repository)
        except Damage as damage:
            self.wrong(f"ledger, leaf {number}", damage)

    def _compare(self, has_head):
        if not has_head and self.size > 1:
            self.wrong("ledger head", f"is missing, though there are {self.size} leaves")
        if self.head is None or self.refusal:
            return
        if self.head.size > self.size:
            self.wrong("ledger", f"ends after {self.size} right leaves; the head names"
                                 f" {self.head.size}: cut off, or damaged")
            return
        try:
            check_head(self.head, self.seen[self.head.size])
            self.signed_by = self.head.origin
        except Damage as damage:
            self.wrong("ledger head", damage)
        if self.head.size < self.size:
            self.report.note(f"the head lags by {self.size - self.head.size} leaves (lawful)")


def check_volumes(repository, ledger, heads):
    """The copies on the other volumes against the first: nothing but older is allowed."""
    for number, folder in sorted(repository.volumes.items()):
        if folder == repository.path:
            continue
        where = f"volume {number}"
        if repository.volume_number(folder) not in (None, number):
            repository.report.add(where, "the volume header has another number")
        keys = [name for name in sorted(listing(os.path.join(repository.path, "keys")))
                if re.fullmatch("master|[0-9a-f]{8}", name)]
        for name in ["repository", *(f"keys/{name}" for name in keys)]:
            try:
                with File(os.path.join(repository.path, name)) as one:
                    content = one.read(0, min(one.size, MIB))
                with File(os.path.join(folder, name)) as other:
                    need(other.size == one.size and other.read(0, len(content)) == content,
                         "differs from the first volume's")
            except Damage as damage:
                repository.report.add(f"{where}, {name}", damage)
        try:
            check_ledger_copy(repository, ledger, folder, heads.get(number))
        except Damage as damage:
            repository.report.add(f"{where}, ledger", damage)


def check_ledger_copy(repository, ledger, folder, head):
    with File(os.path.join(folder, "ledger", "leaves")) as copy, \
            File(os.path.join(repository.path, "ledger", "leaves")) as main:
        if head is not None:
            need(head.size <= ledger.size, f"the head names {head.size} leaves, the first volume"
                                           f" has {ledger.size}: that one was cut back")
            check_head(head, ledger.seen[head.size])
            need(copy.size >= ledger.seen[head.size][2], "leaves that its head names are missing")
        same = min(copy.size, ledger.end)
        for at in range(0, same, MIB):
            length = min(MIB, same - at)
            need(copy.read(at, length) == main.read(at, length),
                 f"differs from the first volume's between bytes {at} and {at + length}")
