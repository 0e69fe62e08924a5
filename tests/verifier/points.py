"""Recovery points: all they need is there, and their reach is what their maps say."""

import bisect
import struct

from .basics import Damage, chunk_size_is_right, need
from .fields import (list_of, optional, parse_json, point_id, pointer, record_of, text, uint,
                     vm_name)
from .maps import Shape
from .records import FILE, MANIFEST, REACH
from .runs import contains, runs_of, show_runs, without


disk_fields = record_of(identity=record_of(capacity=uint((1 << 63) - 1)), map=optional(pointer),
                        reach=optional(pointer), data_bytes=uint())
manifest_fields = record_of(
    version=uint(), point=point_id, run=point_id, vm=vm_name, chunk_size=uint(),
    disks=list_of(disk_fields), files=list_of(record_of(
        name=text, length=uint(), content=optional(pointer))))


def read_manifest(store, point):
    """The manifest of a point, compared with its commit leaf."""
    raw = store.read(MANIFEST, point.manifest["id"], point.manifest["place"])
    value = parse_json(raw)
    need(value.get("version") == 2, f"version {value.get('version')!r:.20}")
    manifest = manifest_fields(value)
    need(manifest["point"] == point.id and manifest["run"] == point.run,
         "the manifest of another point or run")
    need(manifest["chunk_size"] == point.chunk_size and chunk_size_is_right(point.chunk_size),
         "a chunk size that is not the ledger's, or none")
    for disk in manifest["disks"]:
        need((disk["map"] is None) == (disk["reach"] is None), "a map without reach, or a reach"
                                                               " without map")
        need(disk["map"] is None or disk["identity"]["capacity"] > 0, "a map of an empty disk")
    return manifest


def read_reach(raw):
    """A reach record as {serial: references}."""
    need(len(raw) >= 8, "a reach that is too short")
    count, zero = struct.unpack_from("<II", raw)
    need(zero == 0 and len(raw) == 8 + 8 * count, "a reach of a wrong length")
    pairs = list(struct.iter_unpack("<II", raw[8:]))
    need(all(a[0] < b[0] for a, b in zip(pairs, pairs[1:])), "a reach that is not ascending")
    need(all(serial and references for serial, references in pairs), "a reach with a zero")
    return dict(pairs)


class PointCheck:
    """One point: all it needs is there, and its reach is what its maps say."""

    def __init__(self, store, walker, point, report):
        self.store, self.walker, self.point, self.report = store, walker, point, report
        self.complete, self.used = True, {point.manifest["place"] >> 32}

    def add(self, what, place="", lost=True):
        self.complete = self.complete and not lost
        self.report.add(f"point {self.point.id.hex()}{place}", what)

    def by_segments(self, checks, lost_epochs):
        """Without the secret: by the segments that the ledger says it needs."""
        live = sorted(checks)
        for first, last in self.point.reach:
            there = live[bisect.bisect_left(live, first):bisect.bisect_right(live, last)]
            if len(there) != last - first + 1:
                gone = without(((first, last),), runs_of(there))
                self.add(f"needs segments {show_runs(gone)}, which the ledger does not have")
        reached = [s for s in live if contains(self.point.reach, s)]
        missing = [s for s in reached if s not in self.store.repository.segments]
        if missing:
            self.add(f"needs segments {show_runs(runs_of(missing))}, which are missing")
        locked = [s for s in reached if checks[s].leaf.epoch in lost_epochs]
        if locked:
            self.add(f"needs segments {show_runs(runs_of(locked))}, whose keys are lost")
        if not self.store.codec:
            hurt = [s for s in reached if checks[s].bad is None or checks[s].bad]
            hurt = sorted(set(hurt) - set(missing))
            if hurt:
                self.add(f"needs segments {show_runs(runs_of(hurt))}, which are damaged")

    def by_content(self):
        """With the secret: manifest, files, maps, chunks."""
        try:
            manifest = read_manifest(self.store, self.point)
        except Damage as damage:
            self.add(damage, ", manifest")
            return
        for number, file in enumerate(manifest["files"]):
            self._file(number, file)
        for number, disk in enumerate(manifest["disks"]):
            self._disk(number, disk, manifest["chunk_size"])
        self._covered()

    def _file(self, number, file):
        try:
            content = file["content"]
            need((content is None) == (file["length"] == 0), "length and content disagree")
            if content is not None:
                self.used.add(content["place"] >> 32)
                self.store.read(FILE, content["id"], content["place"], file["length"])
        except Damage as damage:
            self.add(damage, f", file {number} ({file['name']!r:.60})")

    def _disk(self, number, disk, chunk_size):
        shape, place = Shape(disk["identity"]["capacity"], chunk_size), f", disk {number}"
        walked = self.walker.disk(shape, disk["map"])
        for first, count, what in walked.holes:
            cells = f"cell {first}" if count == 1 else f"cells {first}-{first + count - 1}"
            self.add(f"{cells}: {what}", place)
        if walked.lost:
            self.add(f"{walked.lost} cells of {shape.cells} cannot be read", place)
        self.used.update(walked.references)
        if disk["reach"] is not None:
            self._reach(disk["reach"], walked, place)
        if not walked.lost and walked.bytes != disk["data_bytes"]:
            self.add(f"{walked.bytes} bytes in chunks; the manifest says {disk['data_bytes']}",
                     place, lost=False)

    def _reach(self, reach, walked, place):
        self.used.add(reach["place"] >> 32)
        try:
            counted = read_reach(self.store.read(REACH, reach["id"], reach["place"]))
            need(walked.lost or counted == dict(walked.references),
                 "the reach is not what the map says")
        except Damage as damage:
            self.add(damage, f"{place}, reach", lost=False)

    def _covered(self):
        """The ledger's reach has all that is used, or where that was moved to."""
        absent = [serial for serial in sorted(self.used)
                  if not contains(self.point.reach, serial)
                  and without(self.store.state.targets(serial) or ((serial, serial),),
                              self.point.reach)]
        if absent:
            self.add(f"uses segments {show_runs(runs_of(absent))}, which the ledger's reach does"
                     " not have", lost=False)
