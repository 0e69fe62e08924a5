"""The Merkle tree of the ledger (RFC 9162) and its signed head (a C2SP tlog-checkpoint)."""

import hashlib
import re

import nacl.exceptions
import nacl.signing

from .basics import Damage, File, need, unbase64
from .fields import hex_bytes, text


def leaf_hash(data):
    return hashlib.sha256(b"\0" + data).digest()


def inner_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """RFC 9162, section 2.1: the roots of the whole subtrees on the left, one per bit of size."""

    def __init__(self):
        self.size, self.stack = 0, []

    def push(self, digest):
        size = self.size
        while size & 1:
            digest = inner_hash(self.stack.pop(), digest)
            size >>= 1
        self.stack.append(digest)
        self.size += 1

    def root(self):
        if not self.stack:
            return hashlib.sha256(b"").digest()
        digest = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            digest = inner_hash(left, digest)
        return digest


class Head:
    """A signed head: a C2SP checkpoint. Lines of witnesses behind the body are allowed."""

    def __init__(self, raw, repository):
        body, blank, lines = raw.partition(b"\n\n")
        need(blank, "no blank line after the body")
        self.body = body + b"\n"
        try:
            rows = body.decode("utf-8").split("\n")
            self.lines = lines.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            raise Damage("not UTF-8") from None
        need(len(rows) == 3, f"a body of {len(rows)} lines instead of 3")
        need(self.lines.pop() == "", "no newline at the end")
        self.origin = f"holdfast/{repository.hex()}"
        need(rows[0] == self.origin, "the head of another repository")
        need(re.fullmatch("0|[1-9][0-9]{0,17}", rows[1]), "a size that is no number")
        self.size, self.root = int(rows[1]), unbase64(rows[2], 32)
        need(self.lines, "no signature")
        for line in self.lines:
            need(re.fullmatch("\u2014 [^ ]+ [^ ]+", line), "a signature line of another shape")

    def check_signature(self, key):
        """By the public key of a vkey (name, hash, public)."""
        name, digest, public = key
        for line in self.lines:
            _, signer, signature = line.split(" ")
            if signer != name or name != self.origin:
                continue
            raw = unbase64(signature)
            if raw[:4] != digest:
                continue
            need(len(raw) == 68, "a signature of another length")
            need(ed25519_verifies(public, self.body, raw[4:]), "the signature is wrong")
            return
        raise Damage("not signed by the key of the ledger")


def read_head(path, repository):
    with File(path) as file:
        need(0 < file.size <= 65536, f"{file.size} bytes long")
        return Head(file.read(0, file.size), repository)


def check_head(head, seen):
    """A head against what was seen in the leaves at its size."""
    need(seen is not None, f"names the size {head.size}, which no leaf has")
    root, key, _ = seen
    need(head.root == root, "another root than that of the leaves: one of them is not genuine")
    need(key is not None, "no leaf names a key that signs")
    head.check_signature(key)


def ed25519_verifies(public, message, signature):
    try:
        nacl.signing.VerifyKey(public).verify(message, signature)
        return True
    except (nacl.exceptions.CryptoError, ValueError):
        return False


def vkey(value):
    """`name+hash+key` as (name, hash, public key)."""
    parts = text(value).split("+", 2)
    need(len(parts) == 3 and parts[0], "no vkey")
    digest, key = hex_bytes(4)(parts[1]), unbase64(parts[2], 33)
    need(key[0] == 1, f"a vkey of algorithm {key[0]}; only Ed25519 (1) is known")
    expected = hashlib.sha256(parts[0].encode() + b"\n" + key).digest()[:4]
    need(digest == expected, "a vkey with a wrong key hash")
    return parts[0], digest, key[1:]
