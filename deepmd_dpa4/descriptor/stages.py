"""The order of the stages of a potential, written once.

A stage reads and writes named tensors, so that one list serves three drivers: direct evaluation runs it from start to
end (:meth:`deepmd_dpa4.model.potential.PotentialMethods.evaluate`), tiled evaluation divides what acts on each edge or
node alone (:mod:`deepmd_dpa4.model.tiles`), compiled evaluation makes code of each unit
(:mod:`deepmd_dpa4.compiled.energies`).
"""

from typing import NamedTuple


class Stage(NamedTuple):
    """A step of the evaluation."""

    name: str
    """What is done; the potential and its network have the code."""
    block: int
    """Position of the block, 0 outside of blocks."""
    over: str
    """What the stage can be divided into: ``edges`` with their receivers, ``nodes``, ``sums`` over the edges of a
    receiver that read other nodes, or nothing, ``whole``."""
    unit: str
    """Stages of one unit are compiled together; those of ``eager`` are not."""
    reads: list[str]
    """Tensors that it needs, as far as the network has them."""
    writes: list[str]
    """Tensors that it makes, as far as the network has them."""


def axes_of() -> dict[str, str]:
    """List the axes of all named tensors.

    Returns
    -------
    dict[str, str]
        One letter for each axis: ``e`` edges, ``n`` owned nodes, ``m`` all nodes, ``-`` a size of the network.
    """
    return {
        "vector": "e-",
        "roll": "e-",
        "charge_spin": "--",
        "fparam": "n-",
        "aparam": "n-",
        "types": "m-",
        "gate": "e",
        "weight": "e",
        "compact": "e-",
        "rotation": "e--",
        "hidden": "e-",
        "degree": "n",
        "environment": "n--",
        "moments": "n--",
        "normalizer": "n",
        "x": "-n-",
        "wide": "-n-",
        "senders": "m--",
        "summed": "n--",
        "features": "n-",
        "isolated": "--",
        "last_hidden": "n-",
        "energy": "n",
    }


def network_stages(bridged: bool, seeded: bool, served: list[bool], shared_rotation: bool) -> list[Stage]:
    """List the stages from edge vectors to features.

    Parameters
    ----------
    bridged : bool
        Whether there is zone bridging.
    seeded : bool
        Whether the first state knows the environment of the atoms besides their types.
    served : list[bool]
        Whether one operation forms the messages of each block, from the compact rotation.
    shared_rotation : bool
        Whether the rotation with its zeros is made once for all blocks, or anew, edge by edge, where it is read.
    """
    stages = [Stage("types", 0, "whole", "eager", ["charge_spin"], ["types"])]
    if bridged:
        stages.append(Stage("gate", 0, "whole", "edges", ["vector"], ["gate"]))
    made = ["weight", "compact", "hidden", "degree", "environment", "moments"]
    stages.append(Stage("edges", 0, "edges", "edges", ["vector", "roll", "gate"], made))
    if shared_rotation and not all(served):
        stages.append(Stage("rotation", 0, "edges", "edges", ["compact"], ["rotation"]))
    stages.append(Stage("normalizer", 0, "whole", "nodes", ["degree"], ["normalizer"]))
    read = ["types", "normalizer", "environment", "moments"] if seeded else ["types"]
    stages.append(Stage("first_state", 0, "whole", "nodes", read, ["x"]))
    for block in range(len(served)):
        stages += block_stages(block, served[block], shared_rotation)
    stages.append(Stage("read_out", 0, "nodes", "energies", ["x"], ["features"]))
    return stages


def block_stages(block: int, served: bool, shared_rotation: bool) -> list[Stage]:
    """List the stages of one block, from node features to node features."""
    stages = [
        Stage("widen", block, "whole", "block", ["x"], ["wide"]),
        Stage("send", block, "whole", "block", ["wide"], ["senders"]),
    ]
    if not served and not shared_rotation:
        stages.append(Stage("rotation", block, "sums", "block", ["compact"], ["rotation"]))
    rotation = "compact" if served else "rotation"
    read = ["senders", "weight", rotation, "hidden", "gate", "types"]
    stages.append(Stage("sum", block, "sums", "block", read, ["summed"]))
    stages.append(Stage("update", block, "nodes", "block", ["x", "wide", "summed", "normalizer"], ["x"]))
    return stages


def potential_stages(network: list[Stage], repulsive: bool, referred: bool) -> list[Stage]:
    """Continue the stages of the network to energies; ``referred`` to those of atoms without neighbours."""
    read = ["features", "fparam", "aparam"]
    stages: list[Stage] = []
    if referred:
        stages.append(Stage("isolated", 0, "whole", "eager", [], ["isolated"]))
        read.append("isolated")
    stages = stages + network + [Stage("energies", 0, "nodes", "energies", read, ["energy", "last_hidden"])]
    if repulsive:
        stages.append(Stage("repulsion", 0, "edges", "eager", ["vector", "energy"], ["energy"]))
    return stages


def reads_of(group: list[Stage]) -> list[str]:
    """List what consecutive stages read of the stages before them."""
    found: list[str] = []
    made: list[str] = []
    for stage in group:
        for name in stage.reads:
            if name not in made and name not in found:
                found.append(name)
        made += stage.writes
    return found


def results_of(group: list[Stage], later: list[Stage], wanted: list[str]) -> list[str]:
    """List what consecutive stages make that later ones read before it is made again, or that is ``wanted``."""
    read = reads_of(later)
    remade: list[str] = []
    for stage in later:
        remade += stage.writes
    found: list[str] = []
    for stage in group:
        for name in stage.writes:
            if name not in found and (name in read or (name in wanted and name not in remade)):
                found.append(name)
    return found


def note_moving(group: list[Stage], moving: dict[str, bool]) -> None:
    """Update the names of the tensors that depend on the edge vectors."""
    for stage in group:
        moves = False
        for name in stage.reads:
            moves = moves or name in moving
        for name in stage.writes:
            if moves:
                moving[name] = True
            elif name in moving:
                moving.pop(name)
