"""The k largest numbers of each row, without sorting: bounds by bisection, candidates, and bisection among them.

Positive floating-point numbers are in the order of their bits, read as signed integers, and all others are below 1.
So the k-th largest is found by halving an interval of integers, at most 31 or 63 times whatever the numbers are:
all equal, sorted, or with many ties.  To look at few numbers, units are taken in groups: the k-th largest of the
groups' maxima is a bound that at least k units of the row reach, and seldom many more.
All rows of a panel are done at once, in the lanes of registers.

Imported by the constructor of the top-k kernel, since it imports numba.
"""

from __future__ import annotations

from typing import Any

from sparsae_backends.numba.compilation import helper
from sparsae_backends.numba.emit import at
from sparsae_backends.numba.sparse import count_reaching, lowest_bit, raise_maxima, reaching

STEPS = 20  # of the first bisection, which only has to find a bound


@helper
def bounds_of(maxima: Any, groups: int, k: int, low: Any, high: Any, middle: Any, count: Any) -> None:
    """Set `low` (width,) to bounds that at least k of each row's maxima (address, groups) reach, or to 1."""
    width = len(low)
    low[:] = 1
    high[:] = 1
    raise_maxima((maxima, groups), at(high, 0))
    for _ in range(STEPS if groups > k else 0):
        for lane in range(width):
            middle[lane] = low[lane] + ((high[lane] - low[lane] + 1) >> 1)
        count_reaching((maxima, groups), at(middle, 0), at(count, 0))
        left = 0
        for lane in range(width):
            enough = count[lane] >= k
            low[lane] = middle[lane] if enough else low[lane]
            high[lane] = high[lane] if enough else middle[lane] - 1
            high[lane] = low[lane] if count[lane] == k else high[lane]
            left += high[lane] > low[lane]
        if left == 0:
            break


@helper
def collect(z: Any, low: Any, units: Any, values: Any, counts: Any) -> None:
    """List the units of each row that reach its bound, in ascending order, and their numbers; z is a panel."""
    width = len(low)
    p = len(z) // width
    room = len(units) // width
    counts[:] = 0
    for unit in range(p):
        rows = reaching(at(z, unit * width), at(low, 0))
        while rows != 0:
            lane = lowest_bit(rows)
            rows &= rows - 1
            place = lane * room + counts[lane]
            units[place] = unit
            values[place] = z[unit * width + lane]
            counts[lane] += 1


@helper
def bound_of(values: Any, k: int) -> Any:
    """Return a number that at least k of the values reach, and of which those above it are fewer than k, or all k."""
    low, high = values[0], values[0]
    for i in range(len(values)):
        low, high = min(low, values[i]), max(high, values[i])
    while high > low:  # at least k values reach low, fewer reach high + 1
        middle = low + ((high - low + 1) >> 1)
        count = 0
        for i in range(len(values)):
            count += values[i] >= middle
        if count >= k:
            low = middle
            if count == k:
                break
        else:
            high = middle - 1
    return low


@helper
def keep_largest(units: Any, values: Any, k: int, kept: Any) -> int:
    """Copy to `kept` the units of the k largest values, ties to the lower unit; returns how many there are.

    Units are in ascending order; values are integers of at least 1.
    """
    most = len(values)
    if most <= k:
        for i in range(most):
            kept[i] = units[i]
        return most
    low = bound_of(values, k)
    greater = 0
    for i in range(most):
        greater += values[i] > low
    room, place = k - greater, 0
    for i in range(most):
        tied = values[i] == low and room > 0
        if values[i] > low or tied:
            kept[place] = units[i]
            place += 1
            room -= tied
    return place


@helper
def keep_row(row: int, k: int, found: Any, found_bits: Any, panel: Any, hidden: Any) -> Any:
    """Write what a row keeps of its candidates, `found` with their values as bits; returns how many units these are.

    panel is (z, rows of the panel, place of the row in it), hidden (units, values, total): k places of each row, and
    the sum of the activations over the rows.
    """
    z, width, lane = panel
    units, values, total = hidden
    many = keep_largest(found, found_bits, k, units[row * k : (row + 1) * k])
    for i in range(many):
        unit = units[row * k + i]
        values[row * k + i] = z[unit * width + lane]
        total[unit] += z[unit * width + lane]
    return many
