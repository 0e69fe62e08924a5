"""The parity of a segment, computed anew from its protected bytes. FORMAT.md 4.3.

Numbers of 16 bits are elements of GF(2^16), written in a basis in which the code is a short sum.
To multiply by a constant is linear over bits, so a column is multiplied by four byte-wise
translations; columns are added as long integers.
"""

import functools

from .basics import BLOCK

ZONE_COLUMNS, COLUMN = 240, 65536
POLYNOMIAL = 0x1002D  # x^16 + x^5 + x^3 + x^2 + 1
BASIS = (0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012,
         0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E)


@functools.cache
def coordinates():
    """The number in the basis of each element of the field."""
    elements = [0]
    for vector in BASIS:
        elements += [element ^ vector for element in elements]
    numbers = [0] * 65536
    for number, element in enumerate(elements):
        numbers[element] = number
    return elements, numbers


def product(one, other):
    """Of two polynomials over GF(2), reduced."""
    result = 0
    while other:
        if other & 1:
            result ^= one
        one, other = one << 1, other >> 1
        if one & 0x10000:
            one ^= POLYNOMIAL
    return result


@functools.cache
def translations(factor):
    """For the low and the high byte of a number: the low and the high byte of its product."""
    elements, numbers = coordinates()
    bits = [numbers[product(vector, elements[factor])] for vector in BASIS]
    tables = []
    for half in (bits[:8], bits[8:]):
        products = [0]
        for bit in half:
            products += [value ^ bit for value in products]
        tables += [bytes(value & 0xFF for value in products),
                   bytes(value >> 8 for value in products)]
    return tables


@functools.cache
def masks(length):
    """The low and the high halves in a column: 32 bytes of each, in turn."""
    one = b"\xff" * 32 + bytes(32)
    low = int.from_bytes(one * (length // 64), "little")
    return low, low << 256


def times(column, factor):
    """Each number of a column multiplied; a long integer."""
    low, high = masks(len(column))
    low_low, low_high, high_low, high_high = (
        int.from_bytes(column.translate(table), "little") for table in translations(factor))
    return ((low_low & low) ^ (high_high & high)
            ^ (low_high & low) << 256 ^ (high_low & high) >> 256)


def zone_parity(zone):
    """The two parity columns of one zone, one behind the other."""
    size = column_size(len(zone))
    columns = [zone[at:at + size].ljust(size, b"\0") for at in range(0, len(zone), size)]
    if len(columns) == 1:
        return columns[0] * 2
    first = both = 0
    columns.append(bytes(size))
    for pair in range(0, len(columns) - 1, 2):
        left, right = (int.from_bytes(column, "little") for column in columns[pair:pair + 2])
        total = left ^ right
        first ^= left ^ times(total.to_bytes(size, "little"), pair + 2)
        both ^= total
    return first.to_bytes(size, "little") + (first ^ both).to_bytes(size, "little")


def column_size(zone):
    """Bytes of a column in a zone of so many bytes."""
    if zone == ZONE_COLUMNS * COLUMN:
        return COLUMN
    return -(-zone // ZONE_COLUMNS // BLOCK) * BLOCK if zone else 0


def zones(protected, parity_at):
    """(offset, length, offset of its parity) of each zone."""
    for at in range(0, protected, ZONE_COLUMNS * COLUMN):
        length = min(ZONE_COLUMNS * COLUMN, protected - at)
        yield at, length, parity_at
        parity_at += 2 * column_size(length)
