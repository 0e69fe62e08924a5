"""Tests of verify.py: tiny repositories are written by hand (verify_writer.py), then damaged.

Run in the environment of tests/setup/python.txt: python -m unittest tests/verify_test.py
What cannot be tested here: the Reed-Solomon code, which neither side computes.
"""

import base64
import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import nacl.signing  # noqa: E402
import zstandard  # noqa: E402
from verifier import commands  # noqa: E402
from verify_writer import CHUNK_SIZE, CLOCK, Writer, block_with, le  # noqa: E402

SEED = int(os.environ.get("VERIFY_SEED", "20240607"))


def image(seed, cells=300, tail=1000):
    """Random chunks, compressible ones, repeated ones and zeros; the last cell is short."""
    source = random.Random(seed)
    parts = []
    for cell in range(cells):
        if 8 <= cell < cells - 2:
            parts.append(bytes(CHUNK_SIZE))
        else:
            parts.append(source.choice([bytes(CHUNK_SIZE), source.randbytes(CHUNK_SIZE),
                                        bytes([cell % 7 + 1]) * CHUNK_SIZE]))
    parts[0] = source.randbytes(CHUNK_SIZE)
    parts[1] = b"holdfast" * (CHUNK_SIZE // 8)
    return b"".join(parts) + b"end." * (tail // 4)


def run(*argv):
    """(exit code, stdout, stderr)"""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = commands.main([str(item) for item in argv])
    return code, out.getvalue(), err.getvalue()


class Case(unittest.TestCase):
    """A folder per test, and the check with its result as JSON."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="holdfast-verify-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.dir = self.folder / "repository"

    def writer(self, encrypted=False, seed=1):
        self.w = Writer(self.dir, encrypted, seed)
        (self.folder / "key").write_text(self.w.kek.hex() + "\n")
        return self.w

    def two_points(self, encrypted=False):
        """A full point over segments 1 and 2, an incremental one over 3 and 4."""
        w = self.writer(encrypted)
        self.known, self.images = {}, [image(1)]
        self.images.append(image(2)[:CHUNK_SIZE] + self.images[0][CHUNK_SIZE:])
        first = w.write_point("vm1", self.images[0], (1, 2), self.known, until=CLOCK + 10 ** 6)
        second = w.write_point("vm1", self.images[1], (3, 4), self.known, base=first,
                               zero_disk=True, reach_leaf=True)
        self.points = [first, second]
        return w

    def check(self, *options, key=True, path=None):
        options = [*options, "--json", self.folder / "result.json"]
        if key:
            options += ["--key-file", self.folder / "key"]
        code, out, err = run("check", path or self.dir, *options)
        result = json.loads((self.folder / "result.json").read_text())
        self.assertEqual(set(result), {"ledger", "points", "segments", "findings"})
        self.assertEqual(code == 0, not result["findings"], out + err)
        return code, result

    def fine(self, *options, **more):
        code, result = self.check(*options, **more)
        self.assertEqual((code, result["findings"]), (0, []))
        return result

    def found(self, where, what, *options, code=1, **more):
        """The check finds this, among other things."""
        got, result = self.check(*options, **more)
        hits = [f for f in result["findings"]
                if re.search(where, f["where"]) and re.search(what, f["what"])]
        self.assertTrue(hits, f"{where}: {what} is not in {json.dumps(result['findings'][:9])}")
        self.assertEqual(got, code)
        return result

    def flip(self, name, offset, bit=1):
        path = self.dir / name
        data = bytearray(path.read_bytes())
        data[offset] ^= bit
        path.write_bytes(data)

    def complete(self, result):
        return [point["complete"] for point in result["points"]]


class Healthy(Case):
    def test_what_is_right_is_found_right(self):
        for encrypted in (False, True):
            with self.subTest(encrypted=encrypted):
                shutil.rmtree(self.dir, ignore_errors=True)
                w = self.two_points(encrypted).close()
                for options in ([], ["--full"], ["--vkey", w.vkey()]):
                    result = self.fine(*options)
                    self.assertEqual(self.complete(result), [True, True])
                    self.assertEqual(result["segments"], {"checked": 4, "damaged": []})
                    self.assertEqual(result["ledger"]["size"], len(w.leaves))
                    self.assertEqual(result["ledger"]["signed_by"], w.origin())
                point = result["points"][0]
                self.assertEqual(point, {"id": self.points[0], "vm": "vm1", "complete": True,
                                         "locked_until": CLOCK + 10 ** 6, "mode": "governance",
                                         "holds": []})

    def test_without_the_key_all_but_the_content_is_checked(self):
        self.two_points(encrypted=True).close()
        self.assertEqual(self.complete(self.fine(key=False)), [True, True])
        self.flip("segments/00000003.segment", self.w.layout[3, "record 0"] + 300)
        result = self.found("segment 3, block 1", "CRC", key=False)
        self.assertEqual(self.complete(result), [True, False])

    def test_a_wrong_key_checks_nothing(self):
        self.two_points(encrypted=True).close()
        (self.folder / "key").write_text("00" * 32)
        self.assertEqual(self.check()[0], 2)
        (self.folder / "key").write_text("no key")
        self.assertEqual(self.check()[0], 2)

    def test_more_than_one_zone(self):
        w = self.writer()
        source = random.Random(4)
        parts = [source.randbytes(1 << 20) for _ in range(17)]
        w.segment(1, [("chunk", part) for part in parts])
        w.close()
        self.fine()
        self.flip("segments/00000001.segment", w.layout[1, "second table"] - 5)
        self.found("segment 1, block", r"checksums says \(parity\)")

    def test_the_program_itself(self):
        self.two_points().close()
        done = subprocess.run([sys.executable, "-B", HERE / "verify.py", "check", self.dir],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("4 checked, 0 damaged", done.stdout)
        done = subprocess.run([sys.executable, "-B", HERE / "verify.py", "check", self.folder],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertNotIn("Traceback", done.stderr)


class Damaged(Case):
    """One byte at a named part; what is found, and which points suffer."""

    def part(self, serial, part, offset, where, what, complete, key=True):
        self.flip(f"segments/{serial:08x}.segment", self.w.layout[serial, part] + offset)
        result = self.found(where, what, key=key)
        self.assertEqual(self.complete(result), complete, result["findings"])
        self.assertEqual(result["segments"]["damaged"], [serial])
        self.flip(f"segments/{serial:08x}.segment", self.w.layout[serial, part] + offset)

    def test_each_part_of_a_segment(self):
        both, none, first, second = [True] * 2, [False] * 2, [True, False], [False, True]
        for encrypted in (False, True):
            shutil.rmtree(self.dir, ignore_errors=True)
            self.two_points(encrypted).close()
            for serial, part, offset, where, what, complete in [
                    (1, "data", 1000, "segment 1", "segment header: wrong CRC", both),
                    (1, "data", 40, "segment 1", "segment header: wrong CRC", both),
                    (1, "record 0", 200, "segment 1, block 1", "wrong CRC", second),
                    (1, "record 0", 60, "segment 1, block 1", "header has a wrong CRC", second),
                    (1, "record 1", 150, "segment 1, block", "wrong CRC", none),
                    (3, "record 0", 5000, "point .*, disk 0", "cell 0: segment 3", first),
                    (1, "record 1", 4000, "segment 1, block", "behind the record are not", both),
                    (1, "record 1", 4000, "segment 1$", "not the hash of the footer", both),
                    (1, "footer", 30, "segment 1", "footer: has not the seal", both),
                    (1, "footer", 100, "segment 1, block", r"table .*\(footer\)", both),
                    (2, "first trailer", -1, "segment 2", "behind the footer", both),
                    (1, "first trailer", 50, "segment 1", "first trailer: wrong CRC", both),
                    (1, "last trailer", 50, "segment 1", "last trailer: wrong CRC", both),
                    (1, "first table", 3, "segment 1", "first table of checksums: wrong", both),
                    (1, "second table", 3, "segment 1", "second table of checksums: wrong", both),
                    (1, "second table", 4095, "segment 1", "behind the second table", both),
                    (1, "parity", 77, "segment 1, block", r"\(parity\)", both),
                    (2, "record 0", 130, "point .*, disk 0", "cells 0-255: segment 2", second),
                    (4, "record 0", 130, "segment 4, block 1", "CRC", first),
                    (2, "record 4", 130, r"point .*, file 0 \('a.vmx'\)", "segment 2", second)]:
                with self.subTest(encrypted=encrypted, serial=serial, part=part, offset=offset):
                    self.part(serial, part, offset, where, what, complete)

    def test_without_both_trailers_the_footer_is_found(self):
        self.two_points().close()
        for part in ("first trailer", "last trailer"):
            self.flip("segments/00000001.segment", self.w.layout[1, part] + 9)
        result = self.found("segment 1", "last trailer")
        self.assertEqual(self.complete(result), [True, True])
        self.flip("segments/00000001.segment", self.w.layout[1, "footer"] + 9)
        result = self.found("segment 1", "neither trailer nor footer")
        self.assertEqual(self.complete(result), [True, True])

    def test_a_forward_scan_skips_what_is_damaged(self):
        self.two_points().close()
        self.flip("segments/00000001.segment", self.w.layout[1, "footer"] + 9)
        self.flip("segments/00000001.segment", self.w.layout[1, "record 1"] + 9)
        result = self.found("segment 1, block 18", "header has a wrong CRC")
        self.assertEqual(self.complete(result), [False, False])

    def test_shorter_longer_missing_exchanged(self):
        self.two_points().close()
        path = self.dir / "segments" / "00000003.segment"
        content = path.read_bytes()
        path.write_bytes(content[:-4096])
        self.assertEqual(self.complete(self.found("segment 3", "bytes long")), [True, True])
        path.write_bytes(content[:20000])
        self.assertEqual(self.complete(self.found("segment 3", "bytes long")), [True, False])
        path.write_bytes(content + bytes(4096))
        self.assertEqual(self.complete(self.found("segment 3", "bytes long")), [True, True])
        path.write_bytes(b"")
        self.assertEqual(self.complete(self.found("segment 3", "0 bytes long")), [True, False])
        path.write_bytes((self.dir / "segments" / "00000001.segment").read_bytes())
        result = self.found("segment 3", "belongs to segment 1")
        self.assertEqual(self.complete(result), [True, False])
        path.unlink()
        result = self.found("segment 3", "missing")
        self.assertEqual(self.complete(result), [True, False])
        self.assertEqual(result["segments"], {"checked": 4, "damaged": [3]})
        path.symlink_to("00000001.segment")
        self.found("segment 3", "cannot be opened")
        path.unlink()
        os.mkfifo(path)
        self.found("segment 3", "not a regular file")

    def test_sectors_that_cannot_be_read(self):
        w = self.two_points().close()
        status = (self.dir / "segments" / "00000003.segment").stat()
        bad = w.layout[3, "record 0"] + 8192
        genuine = os.pread

        def pread(fd, length, offset):
            if os.fstat(fd).st_ino == status.st_ino and offset <= bad < offset + length:
                raise OSError(errno.EIO, "Input/output error")
            return genuine(fd, length, offset)

        with unittest.mock.patch("os.pread", pread):
            result = self.found("segment 3, block 3", "cannot be read")
            self.assertEqual(self.complete(result), [True, False])
            out = self.folder / "out.img"
            code, text, _ = run("extract", self.dir, self.points[1], 0, out, "--holes")
            self.assertEqual(code, 1)
            self.assertIn(f"bytes [0, {CHUNK_SIZE})", text)

    def test_a_sealed_lie_is_found_by_the_ids(self):
        """Every CRC and hash right, but the content is not that of the id."""
        w = self.writer()
        honest = w.ident
        w.ident = lambda kind, plain: honest(kind, plain[:-1] if kind == "chunk" else plain)
        point = w.write_point("vm", image(1), (1, 2))
        w.close()
        result = self.found("segment 1, block 1", "not what the id says")
        self.assertEqual([p["id"] for p in result["points"]], [point])
        self.assertEqual(self.complete(result), [False])

    def test_bombs_and_foreign_frames(self):
        """Stored bytes that lie about what they become: each with right CRC, hash and seal."""
        bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 26))
        lying = zstandard.ZstdCompressor().compress(bytes(1 << 26))
        two = zstandard.ZstdCompressor().compress(bytes(CHUNK_SIZE // 2)) * 2
        skippable = b"\x50\x2a\x4d\x18" + le(8, 4) + bytes(8)
        for name, stored in (("bomb", bomb), ("lying", lying), ("two frames", two),
                             ("skippable", skippable), ("garbage", b"\x28\xb5\x2f\xfd" * 9)):
            with self.subTest(name), unittest.mock.patch(
                    "verify_writer.zstandard.ZstdCompressor") as compressor:
                shutil.rmtree(self.dir, ignore_errors=True)
                compressor.return_value.compress.return_value = stored
                w = self.writer()
                w.segment(1, [("chunk", b"a" * (1 << 20))])
                w.close()
                self.found("segment 1, block 1", "zstd")

    def test_wrong_counts_in_reach_and_manifest(self):
        w = self.writer()
        honest = w.metadata

        def lie(*args):
            records = honest(*args)
            for number, (kind, plain) in enumerate(records):
                if kind == "reach":
                    records[number] = kind, plain[:12] + le(99, 4) + plain[16:]
                    old, new = (w.ident(kind, p).hex() for p in (plain, records[number][1]))
                elif kind == "manifest":
                    plain = plain.replace(old.encode(), new.encode())
                    plain = re.sub(rb'"data_bytes": \d+', b'"data_bytes": 77', plain)
                    records[number] = kind, plain
            return records

        w.metadata = lie
        w.write_point("vm", image(1), (1, 2))
        w.close()
        result = self.found("point .*, disk 0, reach", "not what the map says")
        self.found("point .*, disk 0", "the manifest says 77")
        self.assertEqual(self.complete(result), [True])


class Around(Case):
    """Header, keys, volumes."""

    def test_header_copies(self):
        self.two_points().close()
        for at, name in ((100, "copy 1"), (5000, "copy 2")):
            self.flip("repository", at)
            self.assertEqual(self.complete(self.found("repository", name)), [True, True])
            self.flip("repository", at)
        self.flip("repository", 100)
        self.flip("repository", 5000)
        self.found("check", "no copy of the repository header", code=2)

    def test_unknown_features_and_versions_are_refused(self):
        w = self.two_points().close()
        for offset, value in ((8, le(3, 4)), (16, le(2, 8))):
            header = bytearray(w.header())
            header[offset:offset + len(value)] = value
            w.file("repository", block_with(4096, {0: bytes(header[:4092])}) * 2)
            self.assertEqual(self.check()[0], 2)

    def test_keys(self):
        self.two_points(encrypted=True).close()
        self.flip("keys/master", 60)
        self.assertEqual(self.complete(self.found("keys/master", "wrong CRC", key=False)),
                         [False, False])
        self.flip("keys/master", 60)
        self.flip("keys/00000001", 60)
        for key in (False, True):
            result = self.found("keys/00000001", "wrong CRC", key=key)
            self.assertEqual(self.complete(result), [False, False])
        (self.dir / "keys/00000001").unlink()
        result = self.found("keys/00000001", "missing", key=False)
        self.assertEqual(result["segments"]["damaged"], [])

    def volumes(self):
        """A point on volume 1, one on the first volume."""
        w = self.writer()
        volume = self.dir / "volumes" / "1"
        for name in ("open", "segments", "ledger"):
            (volume / name).mkdir(parents=True)
        (volume / "volume").write_bytes(block_with(4096, {0: b"HFVL" + le(2, 2) + bytes(2) + w.id
                                                             + le(1, 4)}))
        w.leaf("volume", number=1)
        w.write_point("here", image(1), (1, 2))
        lag = len(w.leaves)
        w.write_point("there", image(2), (3, 4), folder="volumes/1/segments", volume=1)
        w.close()
        shutil.copy(self.dir / "repository", volume)
        shutil.copy(self.dir / "ledger" / "leaves", volume / "ledger")
        shutil.copy(self.dir / "ledger" / "head", volume / "ledger")
        return volume, lag

    def test_volumes(self):
        volume, lag = self.volumes()
        self.assertEqual(self.complete(self.fine()), [True, True])
        (volume / "ledger" / "head").write_bytes(self.w.head(lag))
        self.fine()
        self.flip("volumes/1/ledger/leaves", 200)
        self.found("volume 1, ledger", "differs")
        self.flip("volumes/1/ledger/leaves", 200)
        self.flip("volumes/1/repository", 4096 + 20)
        self.found("volume 1, repository", "differs")
        self.flip("volumes/1/repository", 4096 + 20)
        self.flip("volumes/1/volume", 30)
        self.found("volumes/1/volume", "CRC")
        shutil.rmtree(volume)
        result = self.found("volume 1", "not here")
        self.assertEqual(self.complete(result), [True, False])
        self.assertEqual(result["segments"]["damaged"], [3, 4])

    def test_a_volume_alone(self):
        volume, _ = self.volumes()
        alone = self.folder / "alone"
        shutil.copytree(volume, alone)
        result = self.found("volume 0", "not here", path=alone)
        self.assertEqual(self.complete(result), [False, True])
        self.assertEqual(result["segments"]["damaged"], [1, 2])

    def test_a_first_volume_that_was_cut_back_shows_by_the_copy(self):
        _, lag = self.volumes()
        del self.w.leaves[lag:]
        self.w.close()
        self.found("volume 1, ledger", "cut back")

    def test_a_lost_header_is_taken_from_a_volume(self):
        self.volumes()
        (self.dir / "repository").unlink()
        self.assertEqual(self.complete(self.found("repository", "missing")), [True, True])

    def test_foreign_and_unfinished_files_are_no_damage(self):
        self.two_points().close()
        for name in ("open/00000009", "segments/x", "notes", "segments/00000009.segment"):
            self.w.file(name, b"?")
        self.fine()
        self.assertIn("orphans", run("check", self.dir)[2])


class Ledger(Case):
    def replayed(self):
        self.w.close()
        return self.check()[1]

    def test_each_field_of_a_frame(self):
        w = self.two_points().close()
        frames = w.frames()
        length = int.from_bytes(frames[32:36], "little")
        for offset in [*range(48), 48, 48 + length - 1, 48 + length, 48 + length + 31]:
            self.flip("ledger/leaves", offset)
            self.assertFalse(self.found("ledger", "cut off, or damaged")["ledger"]["consistent"])
            self.flip("ledger/leaves", offset)

    def test_a_frame_that_only_the_root_shows(self):
        """Data altered and every CRC made right again."""
        w = self.two_points()
        genuine = w.leaves[1]
        w.close()
        head = w.head()
        w.leaves[1] = genuine.replace(b'"cohort":3', b'"cohort":4')
        self.assertNotEqual(w.leaves[1], genuine)
        w.file("ledger/leaves", w.frames())
        w.file("ledger/head", head)
        result = self.found("ledger head", "another root")
        self.assertIsNone(result["ledger"]["signed_by"])
        self.assertFalse(result["ledger"]["consistent"])

    def test_head(self):
        w = self.two_points().close()
        for name, head in {
                "signature": bytearray(w.head()), "size": w.head().replace(b"\n8\n", b"\n7\n"),
                "zero": w.head().replace(b"\n8\n", b"\n08\n"), "empty": b"", "one": b"\xff" * 99,
                "lines": w.head().replace(b"\n8\n", b"\n8\n8\n")}.items():
            with self.subTest(name):
                if name == "signature":
                    at = head.index(b" ", head.index("\u2014".encode()) + 4) + 20
                    head[at] = ord("A") if head[at] != ord("A") else ord("B")
                w.file("ledger/head", bytes(head))
                self.assertIsNone(self.found("ledger head", ".")["ledger"]["signed_by"])
        w.file("ledger/head", w.head() + "\u2014 witness.example AAAAAAAA\n".encode())
        self.fine()
        w.signer = nacl.signing.SigningKey(bytes(32))
        w.file("ledger/head", w.head())
        self.found("ledger head", "not signed by the key")
        (self.dir / "ledger" / "head").unlink()
        self.found("ledger head", "missing")

    def test_a_new_ledger_needs_no_head(self):
        w = self.writer().close()
        (self.dir / "ledger" / "head").unlink()
        self.assertIsNone(self.fine()["ledger"]["signed_by"])
        w.leaf("clock", state={})
        w.close()
        (self.dir / "ledger" / "head").unlink()
        self.found("ledger head", "missing")

    def test_a_batch_beyond_the_head_counts_and_a_torn_one_is_named(self):
        w = self.two_points()
        w.close(size=4)
        result = self.fine()
        self.assertEqual((result["ledger"]["size"], self.complete(result)),
                         (len(w.leaves), [True, True]))
        frames = w.frames()
        w.file("ledger/leaves", frames[:-1])
        result = self.found(f"ledger, leaf {len(w.leaves) - 1}", "no right leaves")
        self.assertTrue(result["ledger"]["consistent"])
        self.assertEqual(self.complete(result), [True])

    def test_another_signer(self):
        w = self.two_points()
        old = w.vkey()
        w.signer = nacl.signing.SigningKey(bytes(range(32)))
        w.leaf("signer", key=w.vkey())
        w.close()
        self.fine("--vkey", w.vkey())
        self.found("ledger head", "not signed by the key that was given", "--vkey", old)
        self.assertEqual(self.check("--vkey", "nonsense")[0], 2)

    def test_what_is_unknown_is_refused(self):
        for fields in ({"kind": "shred"}, {"kind": "tighten", "version": 3, "point": "00" * 16}):
            with self.subTest(**fields):
                shutil.rmtree(self.dir, ignore_errors=True)
                self.two_points().leaf(**fields)
                self.w.close()
                result = self.found("ledger", "leaf 8: .*unknown", code=2)
                self.assertFalse(result["ledger"]["consistent"])

    def test_leaves_that_say_nothing_lawful(self):
        for fields in ({"kind": "created"}, {"kind": "tighten"}, {"kind": "tighten", "point": 5},
                       {"kind": "extend", "point": "00" * 16, "until": 5},
                       {"kind": "compact", "from": [[4, 2]], "to": []},
                       {"kind": "officer", "name": "\ud800", "key": "", "rights": [], "by": []}):
            with self.subTest(**fields):
                shutil.rmtree(self.dir, ignore_errors=True)
                self.two_points().leaf(**fields)
                self.w.close()
                result = self.found("ledger, leaf 8", ".")
                self.assertFalse(result["ledger"]["consistent"])
        self.w.leaves[-1] = b"[" * 60000
        self.w.close()
        self.found("ledger, leaf 8", "not UTF-8 JSON")

    def test_a_clock_that_goes_back(self):
        self.two_points().leaf("clock", clock=CLOCK, state={})
        self.w.close()
        self.assertFalse(self.found("ledger, leaf 8", "goes back")["ledger"]["consistent"])

    def test_locks_and_holds(self):
        w = self.two_points()
        first, second = self.points
        w.leaf("extend", point=first, until=CLOCK + 2 * 10 ** 6)
        w.leaf("tighten", point=first)
        w.leaf("hold", point=second, matter="b")
        w.leaf("hold", point=second, matter="a")
        points = self.replayed()["points"]
        self.assertEqual([(p["locked_until"], p["mode"], p["holds"]) for p in points],
                         [(CLOCK + 2 * 10 ** 6, "compliance", []), (0, "governance", ["a", "b"])])
        officer = base64.b64encode(bytes(32)).decode()
        for name in ("x", "y"):
            w.leaf("officer", name=name, key=officer, rights=["release-hold", "override"], by=[])
        w.leaf("unhold", point=second, matter="a", by=["x"])
        w.close()
        self.assertEqual(self.fine()["points"][1]["holds"], ["b"])

    def test_deeds_against_the_rules(self):
        first_locked = {"points": 0, "segments": [[1, 2]], "keys": []}
        for kind, fields, what in [
                ("delete", first_locked, "which is locked"),
                ("extend", {"point": 0, "until": 5}, "made shorter"),
                ("override", {"point": 0, "reason": "r", "by": ["x", "x"]}, "without two officers"),
                ("unhold", {"point": 0, "matter": "m", "by": []}, "a hold that is not there"),
                ("compact", {"from": [[1, 1]], "to": [[5, 5]]}, "is locked or held")]:
            with self.subTest(kind):
                shutil.rmtree(self.dir, ignore_errors=True)
                w = self.two_points()
                for name in ("point", "points"):
                    if name in fields:
                        ident = self.points[0]
                        fields[name] = [ident] if name == "points" else ident
                w.leaf(kind, **fields)
                w.close()
                self.assertTrue(self.found("ledger, leaf 8", what)["ledger"]["consistent"])

    def test_an_override_ends_a_lock(self):
        w = self.two_points()
        for name in ("x", "y"):
            w.leaf("officer", name=name, key=base64.b64encode(bytes(32)).decode(),
                   rights=["override"], by=[])
        w.leaf("override", point=self.points[0], reason="r", by=["x", "y"])
        w.leaf("delete", points=self.points[:1], segments=[[2, 2]], keys=[])
        w.close()
        (self.dir / "segments" / "00000002.segment").unlink()
        result = self.check()[1]
        self.assertEqual([p["id"] for p in result["points"]], self.points[1:])
        # The incremental point's reach begins with that of its base.
        self.assertIn("needs segments 2", " ".join(f["what"] for f in result["findings"]))

    def test_deletion(self):
        w = self.writer()
        one = w.write_point("vm", image(1), (1, 2))
        w.write_point("vm", image(2), (3, 4))
        w.leaf("delete", points=[one], segments=[[1, 2]], keys=[])
        w.leaf("deleted", segments=[[1, 2]], bytes=1)
        w.close()
        self.fine()  # an interrupted removal
        for serial in (1, 2):
            (self.dir / "segments" / f"{serial:08x}.segment").unlink()
        result = self.fine()
        self.assertEqual((len(result["points"]), result["segments"]["checked"]), (1, 2))

    def test_compaction(self):
        w = self.writer()
        known = {}
        w.write_point("vm", image(1), (1, 2), known)
        chunks = list(known)
        w.segment(5, [("chunk", c) for c in chunks[1:]])
        w.segment(6, [("chunk", chunks[0])])
        w.leaf("compact", **{"from": [[1, 1]], "to": [[5, 6]]})
        w.close()
        self.assertEqual(self.complete(self.fine()), [True])
        w.leaf("delete", points=[], segments=[[1, 1]], keys=[])
        w.close()
        (self.dir / "segments" / "00000001.segment").unlink()
        for options in ([], ["--full"]):
            self.assertEqual(self.complete(self.fine(*options)), [True])
        self.flip("segments/00000006.segment", w.layout[6, "record 0"] + 500)
        result = self.found("point .*, disk 0", "cell 0: segment 6, block 1")
        self.assertEqual(self.complete(result), [False])

    def test_a_reach_that_names_too_little(self):
        w = self.writer()
        honest = w.leaf

        def lie(kind, **fields):
            if kind == "commit":
                fields["reach"]["add"] = fields["reach"]["add"][1:]
            honest(kind, **fields)

        w.leaf = lie
        w.write_point("vm", image(1), (1, 2))
        w.close()
        result = self.found("point", "uses segments 1, which the ledger's reach")
        self.assertEqual(self.complete(result), [True])

    def test_runs_of_billions_cost_nothing(self):
        w = self.two_points()
        w.leaf("reach", point="00" * 16, add=[[1, 2 ** 32 - 1]], drop=[])
        w.leaf("delete", points=[], segments=[[5, 2 ** 32 - 1]], keys=[])
        w.leaf("compact", **{"from": [[4, 4]], "to": [[5, 2 ** 32 - 1]]})
        w.close()
        self.found("point", "needs segments 5-4294967295")


class Commands(Case):
    def test_extract(self):
        for encrypted in (False, True):
            shutil.rmtree(self.dir, ignore_errors=True)
            self.two_points(encrypted).close()
            for point, wanted in zip(self.points, self.images):
                out = self.folder / f"{point}{encrypted}.img"
                code, _, err = run("extract", self.dir, point[:10], 0, out, "--key-file",
                                   self.folder / "key")
                self.assertEqual((code, out.read_bytes() == wanted), (0, True), err)
                self.assertLess(out.stat().st_blocks * 512, len(wanted) // 2)
        code, _, _ = run("extract", self.dir, self.points[1], 1, self.folder / "zero.img",
                         "--key-file", self.folder / "key")
        self.assertEqual((self.folder / "zero.img").read_bytes(), bytes(len(self.images[1])))

    def test_extract_refuses_damage_or_tells_the_holes(self):
        self.two_points().close()
        self.flip("segments/00000003.segment", self.w.layout[3, "record 0"] + 300)
        out = self.folder / "out.img"
        code, text, _ = run("extract", self.dir, self.points[1], 0, out)
        self.assertEqual((code, out.exists()), (1, False), text)
        code, text, _ = run("extract", self.dir, self.points[1], 0, out, "--holes")
        self.assertEqual(code, 1)
        self.assertIn(f"bytes [0, {CHUNK_SIZE}): left as zeros", text)
        self.assertEqual(out.read_bytes(), bytes(CHUNK_SIZE) + self.images[1][CHUNK_SIZE:])

    def test_extract_never_touches_a_file_that_is_there(self):
        self.two_points().close()
        out = self.folder / "out.img"
        out.write_text("mine")
        self.assertEqual(run("extract", self.dir, self.points[0], 0, out)[0], 2)
        self.assertEqual(out.read_text(), "mine")
        for point, disk in (("", 0), ("ff" * 16, 0), (self.points[0], 7)):
            self.assertEqual(run("extract", self.dir, point, disk, self.folder / "no")[0], 2)

    def test_proof(self):
        """By the algorithm of RFC 9162, 2.1.3.2, for every leaf of trees of many sizes."""
        w = self.writer()
        while len(w.leaves) < 12:
            w.close()
            for index, leaf in enumerate(w.leaves):
                code, text, err = run("proof", self.dir, index)
                self.assertEqual(code, 0, err)
                lines = text.split("\n")
                path = [base64.b64decode(line) for line in lines[2:lines.index("")]]
                root = base64.b64decode(lines[lines.index("") + 3])
                self.assertEqual(prove(index, len(w.leaves), leaf, path), root)
            w.leaf("clock", state={})
        self.assertEqual(run("proof", self.dir, 99)[0], 2)

    def test_consistency(self):
        w = self.writer()
        w.leaf("clock", state={})
        old = self.folder / "old"
        old.write_bytes(w.head())
        for _ in range(4):
            w.leaf("clock", state={})
        w.close()
        self.assertEqual(run("consistency", self.dir, old)[0], 0)
        w.leaves[1] = w.leaves[1].replace(b"clock", b"alarm")
        w.close()
        code, text, _ = run("consistency", self.dir, old)
        self.assertEqual(code, 1)
        self.assertIn("older head: another root", text)
        del w.leaves[1:]
        w.close()
        self.assertIn("cut back", run("consistency", self.dir, old)[1])


def prove(index, size, leaf, path):
    """RFC 9162, 2.1.3.2."""
    number, last = index, size - 1
    digest = hashlib.sha256(b"\0" + leaf).digest()
    for other in path:
        assert last > 0
        if number & 1 or number == last:
            digest = hashlib.sha256(b"\1" + other + digest).digest()
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            digest = hashlib.sha256(b"\1" + digest + other).digest()
        number, last = number >> 1, last >> 1
    assert last == 0
    return digest


class Fuzz(Case):
    """Whatever the bytes: no traceback, and no altered byte goes unnoticed."""

    def corpus(self, encrypted):
        w = self.writer(encrypted)
        w.write_point("vm", image(5, cells=6, tail=400), (1, 2))
        w.close()
        return [path for path in sorted(self.dir.rglob("*"))
                if path.is_file() and path.stat().st_size]

    def altered(self, alter, rounds):
        print(f"{self.id()}: VERIFY_SEED={SEED}", file=sys.stderr)
        for encrypted in (False, True):
            shutil.rmtree(self.dir, ignore_errors=True)
            source = random.Random(SEED + encrypted)
            files = self.corpus(encrypted)
            for count in range(rounds):
                path = files[count % len(files)]
                content = path.read_bytes()
                changed = alter(source, content)
                path.write_bytes(changed)
                code, _, err = run("check", self.dir, "--key-file", self.folder / "key")
                path.write_bytes(content)
                self.assertEqual(code != 0, changed != content, (path, count, err))
            self.fine()

    def test_one_byte(self):
        def alter(source, content):
            at = source.randrange(len(content))
            return content[:at] + bytes([content[at] ^ 1 << source.randrange(8)]) + content[at + 1:]
        self.altered(alter, 150)

    def test_cut(self):
        self.altered(lambda source, content: content[:source.randrange(len(content))], 50)

    def test_garbage(self):
        def alter(source, content):
            at, length = source.randrange(len(content)), source.randrange(1, 9000)
            garbage = source.choice([bytes, source.randbytes, lambda n: b"\xff" * n])
            return (content[:at] + garbage(length) + content[at + length:])[:len(content)]
        self.altered(alter, 70)

    def test_garbage_with_right_checksums(self):
        """Hostile content under right CRCs, hashes, seals and signatures."""
        source = random.Random(SEED)
        print(f"{self.id()}: VERIFY_SEED={SEED}", file=sys.stderr)
        for _ in range(40):
            shutil.rmtree(self.dir, ignore_errors=True)
            w = self.writer()
            honest = w.metadata
            w.metadata = functools.partial(self._hostile, source, honest)
            w.write_point("vm", image(5, cells=6, tail=400), (1, 2))
            w.close()
            self.assertIn(self.check()[0], (0, 1))

    def _hostile(self, source, honest, *args):
        """Alters records; the ids that name them are adapted as far as their length stays."""
        records = honest(*args)
        for number, (kind, plain) in enumerate(records):
            if source.random() < 0.4:
                at = source.randrange(len(plain))
                changed = plain[:at] + source.randbytes(1) + plain[at + 1:]
                old, new = self.w.ident(kind, plain), self.w.ident(kind, changed)
                records[number] = kind, changed
                for later in range(number + 1, len(records)):
                    what, text = records[later]
                    records[later] = what, text.replace(old, new).replace(
                        old.hex().encode(), new.hex().encode())
        return records


if __name__ == "__main__":
    unittest.main()
