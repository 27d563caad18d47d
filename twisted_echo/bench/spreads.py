"""
Medians, and their confidence intervals.

Pure.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["CONFIDENCE", "Spread", "median_interval", "paired_ratios"]

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """
    The median of some values, and the interval that holds the true median.
    """

    median: float
    least: float
    most: float


def median_interval(values: Sequence[float]) -> Spread:
    """
    The median, and the interval that holds the true one with 95 %, whatever the
    distribution: from the k-th least value to the k-th largest. Of fewer than six
    values that is the least and the most, and says less.
    """
    found = sorted(values)
    count = len(found)
    outside, probability = 0, 0.0
    for index in range(count // 2):
        # How many values are below the median has a binomial distribution.
        probability += math.comb(count, index) / 2**count
        if 2 * probability > 1 - CONFIDENCE:
            break
        outside = index
    return Spread(statistics.median(found), found[outside], found[-1 - outside])


def paired_ratios(over: Mapping[int, float], under: Mapping[int, float]) -> list[float]:
    """
    The ratios of two series of values, round by round: what slows the whole machine
    for a while slows both sides of a ratio.

    @param over: the numerators, by round; C{under} has the denominators.
    @return: those of the rounds that both have.
    """
    return [over[each] / under[each] for each in over if each in under]
