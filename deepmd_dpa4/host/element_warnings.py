"""Warnings about elements without training data: a type map of all 118 has parameters for them, drawn at random."""

import functools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepmd_dpa4.checkpoint.trained_elements import untrained_elements

log = logging.getLogger("deepmd.dpa4")


@dataclass
class Untrained:
    """Elements of a model that its training data lacked, and the warning about each, given once.

    Parameters
    ----------
    name : str
        The model, for messages.
    type_map : list[str]
        Names of its types.
    elements : set[str]
        Those without training data that nobody was warned of.
    """

    name: str
    type_map: list[str]
    elements: set[str] = field(default_factory=set)

    def warn(self, symbols: Iterable[str]) -> None:
        """Warn of those of ``symbols`` that the model was not trained for."""
        found = sorted(self.elements.intersection(symbols), key=self.type_map.index)
        if found:
            self.elements.difference_update(found)
            log.warning(MESSAGE, self.name, ", ".join(found))

    def warn_of_types(self, types: Any) -> None:
        """Warn of types given by their indices; negative ones are padding."""
        if self.elements:
            self.warn(self.type_map[index] for index in np.unique(types).tolist() if 0 <= index < len(self.type_map))


MESSAGE = "%s had no training data with %s: what it predicts for structures that hold it is meaningless"


def untrained_of(name: str, potential: Any) -> Untrained:
    """Find the elements without training data of an open file.

    Parameters
    ----------
    name : str
        The file, for messages.
    potential : Any
        DeePMD-kit's ``DeepPot`` or ``DeepEval`` of it.
    """
    evaluator = getattr(potential, "deep_eval", potential)
    known: Untrained | None = getattr(evaluator, "untrained", None)
    if known is not None:
        return known
    # of a multi-task checkpoint the script holds all branches, the other attribute the one in use
    section = getattr(evaluator, "input_param", None) or evaluator.get_model_def_script()
    names = [str(symbol) for symbol in evaluator.get_type_map()]
    observed = (section.get("info") or {}).get("observed_type")
    if not observed and hasattr(evaluator, "dp"):
        # files of DeePMD-kit before 3.1 have no such list
        listed = getattr(evaluator.dp.model["Default"], "get_observed_type_list", None)
        observed = listed() if listed else None
    params = {"type_map": names, "info": {"observed_type": observed}}
    return Untrained(name, names, set(untrained_elements(params, [])))


def warning_on_evaluation(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``DeepEval.eval`` warn of elements without training data, for models of this package."""

    @functools.wraps(evaluate)
    def evaluate_with_warning(self: Any, coords: Any, cells: Any, atom_types: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "untrained", None) is not None:
            self.untrained.warn_of_types(atom_types)
        return evaluate(self, coords, cells, atom_types, *args, **kwargs)

    return evaluate_with_warning
