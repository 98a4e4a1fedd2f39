"""Which entry a lipmaalink names, and which entries certify one.

The links are the anti-monotone binary graph of Buldas and Laud (1998) as the Bamboo
specification defines it: any two entries have a path of logarithmic length between them,
and from no two entries do links cross, so the greedy path is a shortest one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator


@functools.lru_cache(maxsize=4096)
def lipmaa(number: int) -> int:
    """The number that the lipmaalink of entry `number` names; `number` is 1 or more.

    Let v(k) = (3^k - 1) / 2: 1, 4, 13, 40... A number v(k), whose ternary digits are all
    1, names v(k - 1), one digit 1 less. Any other loses the largest v(k) below it, again
    and again, until what is left is such a v(g), and then jumps back by v(g).
    """
    jump = _last_jump(number)
    return (number - 1) // 3 if jump == number else number - jump


@functools.lru_cache(maxsize=4096)
def has_lipmaalink(number: int) -> bool:
    """Whether the entry spells its lipmaalink out: not where it would repeat the backlink."""
    return number > 1 and lipmaa(number) != number - 1


def path(start: int, goal: int) -> tuple[int, ...]:
    """The shortest way along links from `start` down to `goal`, both included."""
    way = [start]
    while way[-1] > goal:
        jump = lipmaa(way[-1])
        way.append(jump if jump >= goal else way[-1] - 1)
    return tuple(way)


def certificate_pool(number: int) -> tuple[int, ...]:
    """The numbers, ascending, of what certifies entry `number`, itself included.

    The path from it to entry 1, and the path to it from the next v(k). Those above it may
    not exist yet; they are only needed once the log is longer. The union of two pools
    holds a path between the two entries.
    """
    top = 1
    while top < number:
        top = 3 * top + 1
    return tuple(sorted({*path(top, number), *path(number, 1)}))


def named_by(number: int, height: int) -> Iterator[int]:
    """The entries up to `height` whose lipmaalink names entry `number`, in any order.

    A number is a sum of v(k) that do not ascend, taken greedily; its lipmaalink drops the
    last of them. So what names `number` is `number` and one more v(g), not larger than its
    own last one; and after v(k) itself also v(k + 1).
    """
    power, jump = 1, 1  # 3^k and v(k)
    last = _last_jump(number)
    while jump <= last and number + jump <= height:
        if lipmaa(number + jump) == number:
            yield number + jump
        power *= 3
        jump += power
    if last == number and 3 * number + 1 <= height:
        yield 3 * number + 1


def _last_jump(number: int) -> int:
    """The last of the v(k) that `number` is the sum of."""
    power, all_ones = 1, 1
    while all_ones < number:
        power *= 3
        all_ones += power
    rest = number
    while rest != all_ones:
        while all_ones > rest:
            all_ones -= power
            power //= 3
        if all_ones != rest:
            rest -= all_ones
    return all_ones
