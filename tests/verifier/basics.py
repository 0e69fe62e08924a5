"""Findings, files read by position, and the small checks on bytes that all parts share."""

import base64
import binascii
import collections
import os
import stat
import zlib

BLOCK = 4096
MIB = 1 << 20
CHUNK_MIN, CHUNK_MAX = 64 << 10, 8 << 20
SEGMENT_MAX = 4 << 30
SERIAL_MAX = (1 << 32) - 1
FINDINGS_PER_PLACE, FINDINGS = 100, 100_000


class Damage(Exception):
    """Bytes that are not what the format demands; the text says what is wrong."""


class Refused(Exception):
    """It cannot be checked: wrong key, unknown version, nothing there."""


class Report:
    """Findings (damage) and notes (worth a word, but lawful)."""

    def __init__(self):
        self.findings, self.notes, self._seen = [], [], collections.Counter()

    def add(self, where, what):
        """One finding. Floods of them are counted, not kept."""
        place = where.split(",")[0]
        self._seen[place] += 1
        if self._seen[place] == FINDINGS_PER_PLACE + 1:
            self.findings.append({"where": place, "what": "more findings, not listed"})
        if self._seen[place] <= FINDINGS_PER_PLACE and len(self.findings) < FINDINGS:
            self.findings.append({"where": where, "what": str(what)})

    def note(self, text):
        if len(self.notes) < FINDINGS:
            self.notes.append(text)


class File:
    """A regular file, read by position. Sectors that cannot be read are damage, not an end."""

    def __init__(self, path):
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self.fd = os.open(path, flags)
        except FileNotFoundError:
            raise Damage("the file is missing") from None
        except OSError as error:
            raise Damage(f"the file cannot be opened: {error.strerror}") from None
        status = os.fstat(self.fd)
        self.size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise Damage("not a regular file")

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, offset, length):
        """Exactly those bytes, or Damage."""
        if offset + length > self.size:
            raise Damage(f"the file ends at {self.size}, before byte {offset + length}")
        parts, done = [], 0
        while done < length:
            try:
                part = os.pread(self.fd, length - done, offset + done)
            except OSError as error:
                raise Damage(f"byte {offset + done} cannot be read: {error.strerror}") from None
            if not part:
                raise Damage(f"the file became shorter than {offset + length} while it was read")
            parts.append(part)
            done += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def small_file(path, length):
    """The content of a file that has exactly this length."""
    with File(path) as file:
        if file.size != length:
            raise Damage(f"{file.size} bytes long instead of {length}")
        return file.read(0, length)


def round_up(number, unit=BLOCK):
    return -(-number // unit) * unit


def is_zero(data):
    return data[:64].count(0) == len(data[:64]) and data.count(0) == len(data)


def need(condition, what):
    if not condition:
        raise Damage(what)


def sealed_block(block, magic, what):
    """A block with a magic in front and a CRC-32 at 4092."""
    need(block[:4] == magic, f"{what}: does not begin with {magic.decode()}")
    need(zlib.crc32(block[:4092]) == int.from_bytes(block[4092:], "little"), f"{what}: wrong CRC")


def zeros(data, what):
    need(is_zero(data), f"{what}: bytes that must be zero are not")


def unbase64(text, length=None):
    """Strict base64: only the one encoding of the bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Damage("not base64") from None
    need(base64.b64encode(data).decode() == text, "base64 that is not canonical")
    need(length is None or len(data) == length, f"{len(data)} bytes of base64 instead of {length}")
    return data


def chunk_size_is_right(size):
    return CHUNK_MIN <= size <= CHUNK_MAX and size & (size - 1) == 0
