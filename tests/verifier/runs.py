"""Sets of segment serials as runs: ((first, last), ...), ascending, both ends included.

A run of four billion serials costs as much as a run of one; the serials are never listed.
"""

import bisect

from .basics import SERIAL_MAX, need
from .fields import list_of, uint


def runs(value):
    """The JSON form: ascending, both ends included, no overlap."""
    pairs = list_of(list_of(uint(SERIAL_MAX, 1)))(value)
    last = 0
    for pair in pairs:
        need(len(pair) == 2 and last < pair[0] <= pair[1], "runs that are not ascending")
        last = pair[1]
    return union((), [tuple(pair) for pair in pairs])


def union(one, other):
    """Both together; runs that touch become one."""
    if not other:
        return tuple(one)
    result = []
    for first, last in sorted([*one, *other]):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return tuple(result)


def without(one, other):
    """What of `one` is not in `other`."""
    result, at = [], 0
    for first, last in one:
        while at < len(other) and other[at][1] < first:
            at += 1
        cut = at
        while cut < len(other) and other[cut][0] <= last:
            if first < other[cut][0]:
                result.append((first, other[cut][0] - 1))
            first = max(first, other[cut][1] + 1)
            cut += 1
        if first <= last:
            result.append((first, last))
    return tuple(result)


def contains(one, serial):
    at = bisect.bisect_right(one, (serial, SERIAL_MAX)) - 1
    return at >= 0 and one[at][0] <= serial <= one[at][1]


def show_runs(one):
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in one[:20])
    return shown + (" ..." if len(one) > 20 else "")


def runs_of(serials):
    """A sequence of numbers as runs."""
    return union((), [(serial, serial) for serial in serials])
