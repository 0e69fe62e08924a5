"""The leaves of the ledger replayed: what exists, what is locked, which points reach what."""

from .basics import SEGMENT_MAX, SERIAL_MAX, Refused, need, unbase64
from .fields import (field, hex_bytes, list_of, optional, point_id, pointer, record_of, signed,
                     text, uint, vm_name)
from .runs import contains, runs, union, without
from .tree import vkey

RUNS_KEPT = 20_000_000  # runs in the reaches of all points; more is refused


class Segment:
    """What the ledger says of a sealed segment."""

    def __init__(self, serial, fields):
        self.serial = serial
        self.volume, self.class_, self.cohort = fields["volume"], fields["class"], fields["cohort"]
        self.bytes, self.seal, self.epoch = fields["bytes"], fields["seal"], fields["epoch"]


class Point:
    """What the ledger says of a recovery point."""

    def __init__(self, number, fields, reach):
        self.leaf, self.id, self.run = number, fields["point"], fields["run"]
        self.name, self.chunk_size = fields["vm"], fields["chunk_size"]
        self.manifest, self.reach = fields["manifest"], reach
        self.mode, self.until = fields["lock"]["mode"], fields["lock"]["until"]
        self.holds = set()


class State:
    """The leaves replayed: points, locks, holds, reach, segments, keys, officers."""

    def __init__(self, report):
        self.report = report
        self.clock, self.signer, self.number = None, None, 0
        self.points, self.segments, self.keys, self.volumes = {}, {}, {}, {0}
        self.officers, self.overrides = {}, True
        self.compacted, self.removed, self.pending, self.kept = [], (), {}, 0

    def apply(self, number, leaf, repository):
        """One leaf. Damage: it says what no leaf may say; Refused: it might be a lock."""
        if leaf.get("v") != 2:
            raise Refused(f"ledger, leaf {number}: version {leaf.get('v')!r:.20} is unknown")
        event = field(leaf, "event", lambda e: e if isinstance(e, dict) else record_of()(e))
        kind = field(event, "type", text)
        if kind not in EVENTS:
            raise Refused(f"ledger, leaf {number}: the event {kind!r:.40} is unknown")
        self.number = number
        need((number == 0) == (kind == "created"), f"`{kind}` as leaf {number}")
        field(leaf, "wall", signed)
        clock = field(leaf, "clock", uint())
        backwards, self.clock = self.clock is not None and clock < self.clock, max(
            clock, self.clock or 0)
        effect, shape = EVENTS[kind]
        fields = shape(event)
        if effect:
            effect(self, fields, repository)
        need(not backwards, f"the retention clock goes back to {clock}")

    def odd(self, what):
        """A deed the rules forbid. The ledger is sound; what it tells is not."""
        self.report.add(f"ledger, leaf {self.number}", what)

    def point(self, point):
        need(point in self.points, f"there is no point {point.hex()}")
        return self.points[point]

    def created(self, fields, repository):
        self.signer = fields["signer"]
        need(fields["repository"] == repository.id, "the ledger of another repository")

    def new_signer(self, fields, _):
        self.signer = fields["key"]

    def officer(self, fields, _):
        self.officers[fields["name"]] = set(fields["rights"])

    def dismiss(self, fields, _):
        if self.officers.pop(fields["name"], None) is None:
            self.odd(f"there is no officer {fields['name']!r:.60}")

    def key(self, fields, _):
        if fields["epoch"] in self.keys:
            self.odd(f"the key of epoch {fields['epoch']} twice")
        self.keys[fields["epoch"]] = fields["hash"]

    def volume(self, fields, _):
        self.volumes.add(fields["number"])

    def segment(self, fields, _):
        serial = fields["serial"]
        if serial in self.segments or contains(self.removed, serial):
            self.odd(f"segment {serial} was there before")
        self.segments[serial] = Segment(serial, fields)

    def reach(self, fields, _):
        waiting = self.pending.setdefault(fields["point"], [(), ()])
        waiting[0] = union(waiting[0], fields["add"])
        waiting[1] = union(waiting[1], fields["drop"])

    def commit(self, fields, _):
        add, drop = self.pending.pop(fields["point"], [(), ()])
        base = fields["reach"]["base"]
        reach = () if base is None else self.point(base).reach
        reach = without(reach, union(drop, fields["reach"]["drop"]))
        reach = union(reach, union(add, fields["reach"]["add"]))
        need(fields["point"] not in self.points, f"point {fields['point'].hex()} twice")
        self.keep(len(reach))
        self.points[fields["point"]] = Point(self.number, fields, reach)

    def keep(self, count):
        """Bounds what the reaches of all points may take of memory."""
        self.kept += count
        if self.kept > RUNS_KEPT:
            self.kept = count + sum(len(point.reach) for point in self.points.values())
        if self.kept > RUNS_KEPT:
            raise Refused("the points reach more runs of segments than fit in memory")

    def extend(self, fields, _):
        point = self.point(fields["point"])
        if fields["until"] < point.until:
            self.odd("a lock that is made shorter")
        point.until = max(point.until, fields["until"])

    def tighten(self, fields, _):
        self.point(fields["point"]).mode = "compliance"

    def hold(self, fields, _):
        self.point(fields["point"]).holds.add(fields["matter"])

    def unhold(self, fields, _):
        point = self.point(fields["point"])
        if fields["matter"] not in point.holds:
            self.odd("ends a hold that is not there")
        if not self._officers(fields["by"], "release-hold"):
            self.odd("no officer signed the end of the hold")
        point.holds.discard(fields["matter"])

    def override(self, fields, _):
        point = self.point(fields["point"])
        if not self.overrides or point.mode == "compliance":
            self.odd("a lock that nobody may override ends")
        if self._officers(fields["by"], "override") < 2:
            self.odd("a lock is overridden without two officers")
        point.until = min(point.until, self.clock)

    def overrides_off(self, _fields, _):
        self.overrides = False

    def _officers(self, names, right):
        return sum(right in self.officers.get(name, ()) for name in set(names))

    def compact(self, fields, _):
        self.compacted.append((fields["from"], fields["to"]))
        for point in self.points.values():
            rest = without(point.reach, fields["from"])
            if rest == point.reach:
                continue
            if point.until > self.clock or point.holds:
                self.odd(f"compacts segments of point {point.id.hex()}, which is locked or held")
            point.reach = union(rest, fields["to"])
            self.keep(len(point.reach))

    def delete(self, fields, _):
        for ident in fields["points"]:
            point = self.point(ident)
            if point.until > self.clock:
                self.odd(f"deletes point {ident.hex()}, which is locked until {point.until}")
            if point.holds:
                self.odd(f"deletes point {ident.hex()}, which is held")
            del self.points[ident]
        for epoch in fields["keys"]:
            self.keys.pop(epoch, None)
        self.removed = union(self.removed, fields["segments"])
        for first, last in fields["segments"]:
            few = last - first < len(self.segments)
            for serial in range(first, last + 1) if few else list(self.segments):
                if first <= serial <= last:
                    self.segments.pop(serial, None)

    def targets(self, serial):
        """The segments in which chunks of a compacted one may lie now."""
        at = ((serial, serial),)
        for source, target in self.compacted:
            rest = without(at, source)
            if rest != at:
                at = union(rest, target)
        return without(at, ((serial, serial),))


def class_number(value):
    """The class of a segment as leaves name it, as a number as segments do."""
    need(isinstance(value, str) and value in CLASSES, f"{value!r:.40} is no class of segments")
    return CLASSES[value]


CLASSES = {"data": 1, "metadata": 2}
names = list_of(text)
point_only = record_of(point=point_id)
EVENTS = {
    "created": (State.created, record_of(repository=point_id, chunk_size=uint(), bounds=record_of(
        min_seconds=uint(), max_seconds=uint()), signer=vkey)),
    "signer": (State.new_signer, record_of(key=vkey)),
    "officer": (State.officer, record_of(name=text, key=lambda v: unbase64(text(v), 32),
                                         rights=names, by=names)),
    "dismiss": (State.dismiss, record_of(name=text, by=names)),
    "bounds": (None, record_of(min_seconds=uint(), max_seconds=uint(), by=names)),
    "key": (State.key, record_of(epoch=uint(SERIAL_MAX, 1), hash=hex_bytes(32))),
    "volume": (State.volume, record_of(number=uint(255, 1))),
    "segment": (State.segment, lambda event: {
        **record_of(serial=uint(SERIAL_MAX, 1), volume=uint(255), cohort=uint(255),
                    bytes=uint(SEGMENT_MAX), seal=hex_bytes(32), epoch=uint(SERIAL_MAX))(event),
        "class": field(event, "class", class_number)}),
    "reach": (State.reach, record_of(point=point_id, add=runs, drop=runs)),
    "commit": (State.commit, record_of(
        point=point_id, run=point_id, vm=vm_name, started=signed, finished=signed,
        chunk_size=uint(), manifest=pointer, lock=record_of(mode=text, until=uint()),
        reach=record_of(base=optional(point_id), add=runs, drop=runs))),
    "extend": (State.extend, record_of(point=point_id, until=uint())),
    "tighten": (State.tighten, point_only),
    "hold": (State.hold, record_of(point=point_id, matter=text)),
    "unhold": (State.unhold, record_of(point=point_id, matter=text, by=names)),
    "override": (State.override, record_of(point=point_id, reason=text, by=names)),
    "overrides-off": (State.overrides_off, record_of()),
    "compact": (State.compact, lambda event: {"from": field(event, "from", runs),
                                              "to": field(event, "to", runs)}),
    "delete": (State.delete, record_of(points=list_of(point_id), segments=runs,
                                       keys=list_of(uint(SERIAL_MAX, 1)))),
    **{kind: (None, record_of()) for kind in (
        "clock", "clock-event", "refused", "verified", "scrubbed", "quarantined", "repaired",
        "exported", "alarm", "deleted")},
}
