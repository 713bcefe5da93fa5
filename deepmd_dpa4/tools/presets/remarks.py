"""What a user should know of the data before the training."""

from collections.abc import Iterator, Mapping
from typing import Any

from deepmd_dpa4.tools.presets.branches import shared_systems
from deepmd_dpa4.tools.presets.systems import CHARGE_SPIN, Contents


def lacking(contents: Mapping[str, Mapping[str, Contents]]) -> Iterator[str]:
    """Tell what the data lack."""
    data, validation = contents["--data"], contents["--validation"]
    if not data:
        return
    if not validation:
        yield (
            "no validation data: the log will show errors on training data alone; `dpa4 data split` sets frames aside "
            "for `--validation`"
        )
    if shared := shared_systems(data, validation):
        yield (
            f"{len(shared)} systems are training and validation data at once, such as {shared[0]}: the log will show "
            "errors on training data; `dpa4 data split` sets frames aside for `--validation`"
        )
    for label, ending in (("energy", "e"), ("force", "f")):
        if not all(label in found.labels for found in data.values()):
            yield (
                f"no {label}.npy in the data: the training asks for it unless `start_pref_{ending}` and "
                f"`limit_pref_{ending}` of the loss are 0"
            )
    if not all("virial" in found.labels for found in data.values()):
        yield "no virial in the data: pressures are not trained; check them by `dpa4 eos` before constant pressure"


def unread(contents: Mapping[str, Mapping[str, Contents]], model: Mapping[str, Any]) -> Iterator[str]:
    """Tell of charges and spins in the data that the network does not ask for."""
    if any(CHARGE_SPIN in found.labels for found in contents["--data"].values()) and not reads_states(model):
        yield (
            "charge_spin.npy in the data is not read, so all charges and spins of a geometry get one energy: "
            "the option `add_chg_spin_ebd` of the descriptor tells them apart"
        )


def reads_states(section: Mapping[str, Any]) -> bool:
    """Tell whether a section, or one in it, asks for charge and spin."""
    inner = [part for part in section.values() if isinstance(part, Mapping)]
    return section.get("add_chg_spin_ebd") is True or any(map(reads_states, inner))
