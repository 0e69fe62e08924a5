"""A repository directory: its header, its volumes, where each segment lies, and its keys."""

import os
import re
import struct

import nacl.bindings
import nacl.exceptions
from blake3 import blake3

from .basics import (BLOCK, Damage, File, Refused, chunk_size_is_right, is_zero, need,
                     sealed_block, small_file, zeros)


class Repository:
    """A directory: its header, its volumes, where each segment lies, and its keys."""

    def __init__(self, path, report):
        self.path, self.report = path, report
        if not os.path.isdir(path):
            raise Refused(f"{path}: no such directory")
        self.volumes = self._volumes()
        self._read_header()
        self.alone = self.volume_number(path) if os.path.lexists(self._in("volume")) else None
        if self.alone is not None:
            self.volumes = {self.alone: path}
        self.segments = {}  # serial -> path
        for number, folder in sorted(self.volumes.items()):
            self._list_segments(number, folder)
        self.data_keys, self.master = {}, None

    def _in(self, *names):
        return os.path.join(self.path, *names)

    def _volumes(self):
        found = {0: self.path}
        for name in sorted(listing(self._in("volumes"))):
            if re.fullmatch("[1-9][0-9]{0,2}", name) and int(name) <= 255:
                found[int(name)] = self._in("volumes", name)
            else:
                self.report.note(f"volumes/{name!r}: no file of the format")
        return found

    def _read_header(self):
        """The first copy with a right CRC; else the copy of another volume."""
        for number, folder in sorted(self.volumes.items()):
            header = self._header_copies(os.path.join(folder, "repository"),
                                         "repository" if number == 0 else f"volume {number}")
            if header is not None:
                break
        else:
            raise Refused("no copy of the repository header is right: not a repository, or lost")
        version, chunk_size, known, _ = struct.unpack_from("<IIQQ", header, 8)
        if version != 2:
            raise Refused(f"format version {version}; this verifier knows 2")
        if known & ~1:
            raise Refused(f"the header demands features that are unknown here: {known:#x}")
        self.header, self.encrypted, self.id = header, bool(known & 1), header[32:48]
        self.secret = None if self.encrypted else header[48:80]
        self.chunk_size = chunk_size
        if not chunk_size_is_right(chunk_size):
            self.report.add("repository", f"a chunk size of {chunk_size}")
        if not is_zero(header[88:4092]) or self.encrypted and not is_zero(header[48:80]):
            self.report.add("repository", "bytes that must be zero are not")

    def _header_copies(self, path, where):
        try:
            with File(path) as file:
                if file.size != 2 * BLOCK:
                    self.report.add(where, f"the header is {file.size} bytes long, not {2 * BLOCK}")
                copies = [file.read(at, BLOCK) for at in (0, BLOCK) if at + BLOCK <= file.size]
        except Damage as damage:
            self.report.add(where, f"header: {damage}")
            return None
        right = []
        for number, copy in enumerate(copies, 1):
            try:
                sealed_block(copy, b"HOLD", f"header copy {number}")
                need(copy[:8] == b"HOLDFAST", f"header copy {number}: wrong beginning")
                right.append(copy)
            except Damage as damage:
                self.report.add(where, damage)
        if len(right) == 2 and right[0] != right[1]:
            self.report.add(where, "the two copies of the header differ")
        return right[0] if right else None

    def volume_number(self, folder):
        """What the file `volume` says, None when it is damaged."""
        try:
            block = small_file(os.path.join(folder, "volume"), BLOCK)
            sealed_block(block, b"HFVL", "volume header")
            version, zero, repository, number = struct.unpack_from("<HH16sI", block, 4)
            need(version == 2, f"volume header of version {version}")
            need(repository == self.id, "the volume belongs to another repository")
            need(1 <= number <= 255, f"volume number {number}")
            need(zero == 0 and is_zero(block[28:4092]), "volume header: zeros expected")
            return number
        except Damage as damage:
            self.report.add(os.path.relpath(folder, self.path) + "/volume", damage)
            return None

    def _list_segments(self, number, folder):
        for name in sorted(listing(os.path.join(folder, "segments"))):
            path = os.path.join(folder, "segments", name)
            if not re.fullmatch(r"[0-9a-f]{8}\.segment", name) or int(name[:8], 16) == 0:
                self.report.note(f"volume {number}: segments/{name!r}: no file of the format")
            elif int(name[:8], 16) in self.segments:
                self.report.add(f"segment {int(name[:8], 16)}", "lies on two volumes")
            else:
                self.segments[int(name[:8], 16)] = path
        known = {"repository", "lock", "keys", "ledger", "open", "segments", "volumes", "volume"}
        for name in sorted(set(listing(folder)) - known):
            self.report.note(f"volume {number}: {name!r}: no file of the format")
        unfinished = len(listing(os.path.join(folder, "open")))
        if unfinished:
            self.report.note(f"volume {number}: {unfinished} open segments, needed by nothing")

    def hash_key(self, purpose):
        return blake3(self.secret,
                      derive_key_context=f"holdfast format 1 {purpose}").digest()

    def unlock(self, secret_kek):
        """Master key and secret from `keys/master`, by a key-encryption key of 32 bytes."""
        block = small_file(self._in("keys", "master"), BLOCK)
        count = master_slots(block, self.id)
        wanted = blake3(secret_kek, derive_key_context="holdfast format 2 key id").digest()[:16]
        for slot in (block[32 + 160 * n:192 + 160 * n] for n in range(count)):
            if slot[:16] == wanted:
                associated = block[:6] + bytes(2) + block[8:32] + wanted
                plain = open_sealed(slot[40:120], associated, slot[16:40], secret_kek)
                self.master, self.secret = plain[:32], plain[32:]
                return
        raise Refused("the key fits none of the slots of keys/master")

    def check_keys(self, wanted):
        """Every epoch {number: hash} of the ledger; returns those that are lost."""
        lost = set()
        if not self.encrypted:
            if wanted:
                self.report.add("keys", "the ledger names keys, but nothing is encrypted")
            return lost
        try:
            master_slots(small_file(self._in("keys", "master"), BLOCK), self.id)
        except Damage as damage:
            self.report.add("keys/master", damage)
            lost.update(wanted)
        for epoch, digest in sorted(wanted.items()):
            try:
                self.data_keys[epoch] = self._data_key(epoch, digest)
            except Damage as damage:
                self.report.add(f"keys/{epoch:08x}", damage)
                lost.add(epoch)
        for name in listing(self._in("keys")):
            if name != "master" and name not in {f"{epoch:08x}" for epoch in wanted}:
                self.report.note(f"keys/{name!r}: not in the ledger")
        return lost

    def _data_key(self, epoch, digest):
        block = small_file(self._in("keys", f"{epoch:08x}"), BLOCK)
        sealed_block(block, b"HFKE", "key file")
        need(digest is None or blake3(block).digest() == digest,
             "another hash than in the ledger")
        version, zero, repository, number, zero2 = struct.unpack_from("<HH16sII", block, 4)
        need(version == 2 and repository == self.id and number == epoch,
             "the file of another version, repository or epoch")
        need(not zero and not zero2 and is_zero(block[104:4092]), "zeros expected")
        if self.master is None:
            return None
        return open_sealed(block[56:104], block[:32], block[32:56], self.master)


def listing(folder):
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def master_slots(block, repository):
    sealed_block(block, b"HFKM", "master key file")
    version, count = struct.unpack_from("<HH", block, 4)
    need(version == 2 and block[8:24] == repository, "of another version or repository")
    need(1 <= count <= 8, f"{count} slots")
    need(is_zero(block[24:32]), "head: zeros expected")
    for n in range(count):
        zeros(block[32 + 160 * n + 120:192 + 160 * n], f"slot {n}")
    zeros(block[32 + 160 * count:4092], "behind the slots")
    return count


def open_sealed(sealed, associated, nonce, key):
    """XChaCha20-Poly1305; the tag stands behind the sealed bytes."""
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed, associated, nonce, key)
    except nacl.exceptions.CryptoError:
        raise Damage("the tag is wrong: altered, or another key") from None
