"""Complete inputs: one network, one recipe, and the data of one or more branches."""

import math
from dataclasses import dataclass
from typing import Any

from deepmd_dpa4.tools.presets import recipe, small
from deepmd_dpa4.tools.presets.robust import DESCRIPTOR, bridging, comment
from deepmd_dpa4.tools.presets.sizes import FITTING, Size

Section = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Data with labels from one method: folders, and whether there are labels of the virial."""

    training: tuple[str, ...]
    validation: tuple[str, ...] = ()
    virial: bool = True


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the user wants: a network for some types, trained for ``steps`` on batches of ``batch_size``.

    ``sel`` is the hint of the number of neighbours, none for the default; ``robust`` adds the options of
    :mod:`deepmd_dpa4.tools.presets.robust`, for data whose closest pair is ``closest`` sums of covalent radii apart.
    """

    size: Size
    type_map: tuple[str, ...]
    steps: int
    batch_size: int | str = "auto:128"
    seed: int = 1
    sel: int | str | None = None
    robust: bool = False
    closest: float = math.inf

    def descriptor(self) -> Section:
        """Write the section of the network."""
        hint = {} if self.sel is None else {"sel": self.sel}
        parts = [f"published: {self.size.title}", *self.changes(), "sel is a hint, no neighbour is left out"]
        return (
            {"_comment": "; ".join(parts)}
            | self.size.descriptor()
            | (DESCRIPTOR if self.robust else {})
            | hint
            | {"seed": self.seed}
        )

    def changes(self) -> list[str]:
        """Say what differs from the published network."""
        return [comment(self.bridging())] if self.robust else []

    def fitting(self) -> Section:
        """Write the section of the fitting net."""
        return {**FITTING, "seed": self.seed}

    def model(self) -> Section:
        """Write the section of a model with one branch."""
        return {
            "type": "dpa4",
            "type_map": list(self.type_map),
            "descriptor": self.descriptor(),
            "fitting_net": self.fitting(),
            **self.bridging(),
        }

    def bridging(self) -> Section:
        """Write the options of zone bridging, none if they are not wanted or the data leave no room for them."""
        return bridging(self.type_map, self.closest) if self.robust else {}

    def parameters(self, branches: int) -> int:
        """Count the trained parameters of the network."""
        frequencies: int = self.size.options["n_radial"] if self.robust else 0
        return self.size.parameters(len(self.type_map), branches) - frequencies

    def data(self, branch: Branch) -> Section:
        """Write the sections of training and validation data."""
        sections = {"training_data": {"systems": list(branch.training), "batch_size": self.batch_size}}
        if branch.validation:
            sections["validation_data"] = {
                "systems": list(branch.validation),
                "batch_size": self.batch_size,
                "numb_btch": 4,
            }
        return sections


def energy_input(plan: Plan, branch: Branch) -> Section:
    """Write the training of one model from random weights."""
    return {
        "model": plan.model(),
        "learning_rate": recipe.learning_rate(plan.size.start_lr),
        "optimizer": recipe.optimizer(),
        "loss": recipe.loss(branch.virial),
        "training": plan.data(branch) | recipe.training(plan.steps, plan.seed),
    }


def finetune_input(plan: Plan, branch: Branch) -> Section:
    """Write a training that starts from a pretrained model of the same network, given by ``--finetune``."""
    return energy_input(plan, branch) | {"learning_rate": recipe.finetune_learning_rate()}


def small_input(plan: Plan, branch: Branch) -> Section:
    """Write the training of one model on few data, from random weights."""
    return energy_input(plan, branch) | {
        "learning_rate": small.learning_rate(plan.steps),
        "optimizer": small.optimizer(),
    }


def multitask_input(plan: Plan, branches: dict[str, Branch]) -> Section:
    """Write the training of one network on several branches.

    All weights are shared; the fitting net is told the branch by FiLM, and every branch has an energy bias of its own.
    """
    model: Section = {
        "_comment": "one network for all branches; case_film_embd tells the fitting net the branch",
        "shared_dict": {
            "type_map": list(plan.type_map),
            "descriptor": {"type": "dpa4", **plan.descriptor()},
            "fitting_net": {
                "type": "dpa4_ener",
                **plan.fitting(),
                "dim_case_embd": len(branches),
                "case_film_embd": True,
            },
        },
        "model_dict": {
            name: {
                "type": "dpa4",
                "type_map": "type_map",
                "descriptor": "descriptor",
                "fitting_net": "fitting_net",
                **plan.bridging(),
            }
            for name in branches
        },
    }
    return {
        "model": model,
        "learning_rate": recipe.learning_rate(plan.size.start_lr),
        "optimizer": recipe.optimizer(),
        "loss_dict": {name: recipe.loss(branch.virial) for name, branch in branches.items()},
        "training": {
            "model_prob": {name: round(1 / len(branches), 6) for name in branches},
            "data_dict": {name: plan.data(branch) for name, branch in branches.items()},
            **recipe.training(plan.steps, plan.seed, len(branches)),
        },
    }
