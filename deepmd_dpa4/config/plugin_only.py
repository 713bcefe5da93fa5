"""Options and values that make another function of the same weights, and that the built-in DPA4 does not know."""

from collections.abc import Callable, Mapping
from typing import Any

from deepmd_dpa4.config.descriptor import FIXED
from deepmd_dpa4.config.option import ConfigError

NEWER: dict[str, dict[str, Callable[[Any], bool]]] = {
    "descriptor": {
        "basis_type": lambda value: isinstance(value, str) and value.endswith(FIXED),
        "env_exp": lambda value: isinstance(value, int),
    },
    "fitting_net": {"vacuum_ref": bool},
    "": {"bridging_unit": lambda value: value != "angstrom", "bridging_end": lambda value: value != "step"},
}
"""By section of a model and option, a test of its value; the model itself has no name."""


def newer_values(model: Mapping[str, Any], where: str = "model") -> list[str]:
    """List the options of a ``model`` section with such a value, each as path and value."""
    return [
        f"`{'/'.join(filter(None, (where, part, key)))}` is {section[key]!r}"
        for part, tests in NEWER.items()
        if isinstance(section := model.get(part) if part else model, Mapping)
        for key, is_newer in tests.items()
        if key in section and is_newer(section[key])
    ]


def check_builtin(model: Mapping[str, Any], reason: str, where: str = "model") -> None:
    """Refuse a value that the built-in DPA4 does not know, for a model that needs it.

    Parameters
    ----------
    model : mapping
        The ``model`` section of one branch.
    reason : str
        Why the model needs the built-in DPA4.
    where : str
        Path of the section in the input, for messages.

    Raises
    ------
    ConfigError
        If there is such a value; it names all of them.
    """
    found = newer_values(model, where)
    if found:
        raise ConfigError(
            f"{', '.join(found)} but DeePMD-kit's built-in DPA4 has no such value, and the model needs that "
            f"implementation: {reason}"
        )
