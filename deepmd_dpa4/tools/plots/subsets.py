"""Errors of the subsets of a data set, and one number for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from deepmd_dpa4.tools.plots.parity import Comparison


@dataclass(frozen=True)
class SubsetError:
    """Mean absolute errors of a subset by quantity, in the unit of each, and its number of frames."""

    name: str
    frames: int
    mae: dict[str, float]


def subset_errors(comparisons: Sequence[Comparison]) -> list[SubsetError]:
    """Average the absolute errors of each subset, in the order in which subsets appear.

    Every energy counts once, and so does every component of a force or virial, whatever the size of its frame.
    """
    names = dict.fromkeys(name for item in comparisons for name in item.subsets)
    found = []
    for name in names:
        mae = {}
        for item in comparisons:
            errors = [
                np.abs(predicted - label)
                for label, predicted, own in zip(item.labels, item.predictions, item.subsets)
                if own == name
            ]
            if errors:
                mae[item.name] = float(np.concatenate(errors).mean())
        frames = max(item.subsets.count(name) for item in comparisons)
        found.append(SubsetError(name, frames, mae))
    return found


def geometric_mean(values: Iterable[float]) -> float:
    r"""Average logarithms: :math:`\exp(\frac1n \sum_i \ln x_i)` of positive numbers.

    Of the errors of subsets it is their logarithm-weighted average (LWAMAE), in which a subset with small errors counts
    as much as one with large errors.
    """
    return float(np.exp(np.mean(np.log(list(values)))))
