"""The commands: check, extract, proof, consistency."""

import argparse
import base64
import bisect
import json
import os
import re
import sys

from .basics import Damage, Refused, Report, need
from .ledger import Frames, Ledger, check_volumes
from .maps import Shape, Walker
from .points import PointCheck, read_manifest
from .records import CHUNK, Codec
from .repository import Repository
from .runs import runs_of, show_runs
from .segments import SegmentCheck
from .store import Store
from .tree import Tree, check_head, inner_hash, leaf_hash, read_head, vkey


def open_repository(args, report):
    repository = Repository(args.dir, report)
    heads, watch = {}, []
    for number, folder in repository.volumes.items():
        if folder != repository.path:
            try:
                heads[number] = read_head(os.path.join(folder, "ledger", "head"), repository.id)
                watch.append(heads[number].size)
            except Damage as damage:
                report.add(f"volume {number}, ledger head", damage)
    ledger = Ledger(repository, report, [*watch, *getattr(args, "watch", ())])
    return repository, ledger, heads


def unlock(repository, key_file):
    """The secret, if there is a way to it."""
    if key_file is None or not repository.encrypted:
        return
    try:
        with open(key_file, "rb") as file:
            raw = file.read(1024).decode("ascii", "replace").strip()
    except OSError as error:
        raise Refused(f"{key_file}: {error.strerror}") from None
    if not re.fullmatch("[0-9a-fA-F]{64}", raw):
        raise Refused(f"{key_file}: not 64 hex digits")
    try:
        repository.unlock(bytes.fromhex(raw))
    except Damage as damage:
        repository.report.add("keys/master", damage)


def check(args, report, result):
    """The command `check`; fills in `result` as it goes."""
    repository, ledger, heads = open_repository(args, report)
    state = ledger.state
    if args.vkey and not ledger.refusal:
        check_vkey(args.vkey, ledger)
    result["ledger"] = {"size": ledger.size, "root": base64.b64encode(ledger.root).decode(),
                        "signed_by": ledger.signed_by, "consistent": ledger.consistent}
    if ledger.refusal:
        raise ledger.refusal
    check_volumes(repository, ledger, heads)
    unlock(repository, args.key_file)
    lost_epochs = repository.check_keys(state.keys)
    codec = Codec(repository) if repository.secret else None
    if codec is None:
        report.note("no key: contents and ids were not checked")
    checks = check_segments(repository, state, report, codec)
    damaged = [serial for serial in sorted(checks) if not checks[serial].clean]
    result["segments"] = {"checked": len(checks), "damaged": damaged}
    check_points(repository, state, codec, checks, lost_epochs, args.full, result, report)


def check_vkey(wanted, ledger):
    try:
        wanted = vkey(wanted)
    except Damage as damage:
        raise Refused(f"--vkey: {damage}") from None
    signer = ledger.seen[ledger.head.size] if ledger.head else None
    if ledger.signed_by is None or signer is None or signer[1] != wanted:
        ledger.wrong("ledger head", "not signed by the key that was given")


def check_segments(repository, state, report, codec):
    for number in sorted(state.volumes - set(repository.volumes)):
        if repository.alone is None or number == 0:
            report.add(f"volume {number}", "is not here")
    for leaf in state.segments.values():
        if leaf.epoch and leaf.epoch not in state.keys:
            report.add(f"segment {leaf.serial}", f"the ledger has no key of epoch {leaf.epoch}")
    orphans = runs_of(set(repository.segments) - set(state.segments))
    if orphans:
        report.note(f"segments {show_runs(orphans)} are in no leaf: orphans, or being removed")
    checks = {}
    for serial, leaf in sorted(state.segments.items()):
        readable = not leaf.epoch or repository.data_keys.get(leaf.epoch)
        checks[serial] = SegmentCheck(repository, leaf, report, codec if readable else None)
    return checks


def check_points(repository, state, codec, checks, lost_epochs, full, result, report):
    store = Store(repository, state, codec)

    def chunk(_cell, ident, place, length):
        if full:
            store.read(CHUNK, ident, place, length)
        else:
            store.known(checks, ident, place, length)

    walker = Walker(store, chunk, remember=not full)
    for point in state.points.values():
        one = PointCheck(store, walker, point, report)
        one.by_segments(checks, lost_epochs)
        if codec:
            one.by_content()
        result["points"].append({
            "id": point.id.hex(), "vm": point.name, "complete": one.complete,
            "locked_until": point.until, "mode": point.mode, "holds": sorted(point.holds)})


def extract(args, report):
    """The command `extract`: a disk as a sparse file, every chunk compared with its id."""
    around = Report()  # damage that does not concern the image
    repository, ledger, _ = open_repository(args, around)
    if ledger.refusal:
        raise ledger.refusal
    unlock(repository, args.key_file)
    repository.check_keys(ledger.state.keys)
    for finding in around.findings:
        report.note(f"{finding['where']}: {finding['what']}")
    if not ledger.consistent and not args.holes:
        raise Damage("the ledger is damaged; with --holes what can be found is extracted")
    if repository.secret is None:
        raise Refused("encrypted: --key-file is needed")
    found = [p for p in ledger.state.points.values() if p.id.hex().startswith(args.point.lower())]
    if len(found) != 1:
        raise Refused(f"{len(found)} points begin with {args.point!r}")
    store = Store(repository, ledger.state, Codec(repository))
    disks = read_manifest(store, found[0])["disks"]
    if not 0 <= args.disk < len(disks):
        raise Refused(f"the point has {len(disks)} disks, counted from 0")
    write_disk(store, disks[args.disk], found[0].chunk_size, args, report)


def write_disk(store, disk, chunk_size, args, report):
    shape, holes, done = Shape(disk["identity"]["capacity"], chunk_size), [], False
    out = os.open(args.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def chunk(cell, ident, place, length):
        data, at = memoryview(store.read(CHUNK, ident, place, length)), cell * chunk_size
        while data:
            written = os.pwrite(out, data, at)
            data, at = data[written:], at + written

    def hole(first, count, what):
        end = min((first + count) * chunk_size, shape.capacity)
        holes.append((first * chunk_size, end))
        report.add(f"bytes [{first * chunk_size}, {end})", f"left as zeros: {what}")
        if not args.holes:
            raise Stopped

    try:
        os.ftruncate(out, shape.capacity)
        Walker(store, chunk, remember=False, hole=hole).disk(shape, disk["map"])
        os.fsync(out)
        done = True
    except Stopped:
        raise Damage(f"damaged; {args.out} was removed") from None
    finally:
        os.close(out)
        if not done:
            os.unlink(args.out)
    lost = sum(end - first for first, end in holes)
    print(f"{args.out}: {shape.capacity} bytes" + (f", {lost} of them lost" if holes else ""))


class Stopped(Exception):
    """The first hole of an extraction that tolerates none."""


def proof_ranges(index, size):
    """The subtrees of a proof of inclusion (RFC 9162, 2.1.3.1), from the leaf upwards."""
    first, last, path = 0, size, []
    while last - first > 1:
        split = first + (1 << (last - first - 1).bit_length() - 1)
        if index < split:
            path.append((split, last))
            last = split
        else:
            path.append((first, split))
            first = split
    return path[::-1]


def proof(args, report):
    """The command `proof`: leaf INDEX is in the tree of the head, as a C2SP tlog-proof."""
    repository, ledger, _ = open_repository(args, report)
    if ledger.refusal:
        raise ledger.refusal
    if not ledger.consistent or ledger.head is None:
        raise Damage("there is no right head to prove against")
    if not 0 <= args.index < ledger.head.size:
        raise Refused(f"the head names {ledger.head.size} leaves, counted from 0")
    path = proof_ranges(args.index, ledger.head.size)
    trees = {pair: Tree() for pair in path}
    order = sorted(path)
    for number, data in Frames(os.path.join(repository.path, "ledger", "leaves"), repository.id):
        if number == args.index:
            own, leaf = leaf_hash(data), data
        at = bisect.bisect_right(order, (number, 1 << 63)) - 1
        if at >= 0 and number < order[at][1]:
            trees[order[at]].push(leaf_hash(data))
    digest = own
    for pair in path:
        digest = (inner_hash(trees[pair].root(), digest) if pair[0] < args.index
                  else inner_hash(digest, trees[pair].root()))
    need(digest == ledger.head.root, "the proof does not lead to the head")
    hashes = [base64.b64encode(trees[pair].root()).decode() for pair in path]
    signatures = "\n".join(ledger.head.lines)
    print("\n".join(["c2sp.org/tlog-proof@v1", f"index {args.index}", *hashes, "",
                     f"{ledger.head.body.decode()}\n{signatures}"]))
    print(f"leaf {args.index}: {leaf.decode()}", file=sys.stderr)


def consistency(args, report):
    """The command `consistency`: an older head is about a beginning of this ledger."""
    probe = Repository(args.dir, Report())
    try:
        old = read_head(args.old_head, probe.id)
    except Damage as damage:
        raise Refused(f"{args.old_head}: {damage}") from None
    args.watch = [old.size]
    _, ledger, _ = open_repository(args, report)
    if ledger.refusal:
        raise ledger.refusal
    if old.size > ledger.size:
        report.add("ledger", f"has {ledger.size} leaves, the older head {old.size}: cut back")
        return
    try:
        check_head(old, ledger.seen[old.size])
        print(f"the {old.size} leaves of the older head are the first of {ledger.size}")
    except Damage as damage:
        report.add("older head", damage)


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("check", help="everything; a list of what is wrong")
    one.add_argument("dir")
    one.add_argument("--vkey", help="the public key that must have signed the head")
    one.add_argument("--key-file", help="a file with the key-encryption key, 64 hex digits")
    one.add_argument("--json", help="also write the result to this file")
    one.add_argument("--full", action="store_true",
                     help="read each chunk again through every point, as a restore would")
    one = commands.add_parser("extract", help="writes a disk of a point as a sparse image")
    one.add_argument("dir")
    one.add_argument("point", help="its id, or how it begins")
    one.add_argument("disk", type=int, help="its number in the manifest, from 0")
    one.add_argument("out", help="a file that does not exist yet")
    one.add_argument("--key-file")
    one.add_argument("--holes", action="store_true", help="leave out what is damaged, tell where")
    one = commands.add_parser("proof", help="prints the proof that a leaf is in the ledger")
    one.add_argument("dir")
    one.add_argument("index", type=int)
    one = commands.add_parser("consistency", help="compares with an older head")
    one.add_argument("dir")
    one.add_argument("old_head")
    return parser.parse_args(argv)


def show(report, result):
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    for finding in report.findings:
        print(f"{finding['where']}: {finding['what']}")
    if result and result["ledger"]:
        for point in result["points"]:
            state = "complete" if point["complete"] else "NOT COMPLETE"
            print(f"point {point['id']} {point['vm']!r}: {state}, {point['mode']!r} lock until"
                  f" {point['locked_until']}, holds: {len(point['holds'])}")
        ledger, segments = result["ledger"], result["segments"]
        print(f"ledger: {ledger['size']} leaves, {'' if ledger['consistent'] else 'NOT '}"
              f"consistent, signed by {ledger['signed_by']}")
        print(f"segments: {segments['checked']} checked, {len(segments['damaged'])} damaged")


def main(argv=None):
    args, report, code = arguments(argv), Report(), None
    result = {"ledger": {"size": 0, "root": None, "signed_by": None, "consistent": False},
              "points": [], "segments": {"checked": 0, "damaged": []},
              "findings": report.findings} if args.command == "check" else None
    try:
        if args.command == "check":
            check(args, report, result)
        else:
            {"extract": extract, "proof": proof, "consistency": consistency}[args.command](
                args, report)
    except Damage as damage:
        report.add(args.command, damage)
    except (Refused, OSError, MemoryError) as error:
        print(f"verify: {error or 'out of memory'}", file=sys.stderr)
        if not any(finding["what"] == str(error) for finding in report.findings):
            report.add(args.command, error)
        code = 2
    show(report, result)
    if result and args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    return code if code is not None else int(bool(report.findings))
