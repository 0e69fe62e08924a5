"""JSON from an unknown hand: strict parsing, and checks that turn fields into values.

A check takes a value and gives what it means, or raises Damage. Checks are put together into
larger ones, as in `record_of(point=point_id, until=uint())`.
"""

import json
import re

from .basics import Damage, need


def parse_json(data):
    def unique(pairs):
        result = dict(pairs)
        need(len(result) == len(pairs), "JSON with a name twice in one object")
        return result

    def constant(name):
        raise Damage(f"JSON with {name}")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique,
                           parse_constant=constant)
    except (ValueError, RecursionError):
        raise Damage("not UTF-8 JSON") from None
    need(isinstance(value, dict), "JSON that is no object")
    return value


def uint(most=(1 << 63) - 1, least=0):
    def check(value):
        need(type(value) is int and least <= value <= most,
             f"{value!r:.40} is no number of {least} to {most}")
        return value
    return check


signed = uint(least=-(1 << 63))


def text(value):
    need(isinstance(value, str), f"{value!r:.40} is no text")
    need(not any("\ud800" <= letter <= "\udfff" for letter in value), "half a character")
    return value


def hex_bytes(length):
    def check(value):
        need(isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{2 * length}}}", value),
             f"{value!r:.80} is not {2 * length} hex digits")
        return bytes.fromhex(value)
    return check


def optional(check):
    return lambda value: None if value is None else check(value)


def list_of(check):
    def check_all(value):
        need(isinstance(value, list), f"{value!r:.40} is no list")
        return [check(item) for item in value]
    return check_all


def record_of(**checks):
    def check_all(value):
        need(isinstance(value, dict), f"{value!r:.40} is no object")
        return {name: field(value, name, check) for name, check in checks.items()}
    return check_all


def field(value, name, check):
    """A field by its check. One that is missing counts as null."""
    try:
        return check(value.get(name))
    except Damage as damage:
        raise Damage(f"{name}: {damage}") from None


point_id = hex_bytes(16)
pointer = record_of(id=hex_bytes(32), place=uint((1 << 64) - 1))


def vm_name(value):
    """The name of a VM: the text itself, or the field of an object."""
    return text(value) if isinstance(value, str) else record_of(name=text)(value)["name"]
