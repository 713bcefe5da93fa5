"""Options of the user, which win over those of a preset."""

import json
from dataclasses import dataclass
from typing import Any

RIVALS = {
    "warmup_steps": ("warmup_ratio",),
    "warmup_ratio": ("warmup_steps",),
    "stop_lr_ratio": ("stop_lr",),
    "numb_epoch": ("numb_steps",),
    "num_epoch_dict": ("numb_steps", "model_prob"),
}
"""Options of a preset that give way to another one: DeePMD-kit takes only one of them."""


@dataclass(frozen=True)
class Override:
    """One ``--set PATH=VALUE``."""

    text: str
    path: tuple[str, ...]
    value: Any

    @staticmethod
    def parse(text: str) -> "Override":
        """Read ``model.descriptor.rcut=5.0``; the value is JSON, and anything else a string.

        Raises
        ------
        ValueError
            If there is no path or no equals sign.
        """
        path, sign, value = text.partition("=")
        keys = tuple(path.strip().split("."))
        if not sign or not all(keys):
            raise ValueError(f"`--set` is {text!r} but must be PATH=VALUE, such as model.descriptor.rcut=5.0")
        try:
            return Override(text, keys, json.loads(value))
        except json.JSONDecodeError:
            return Override(text, keys, value)

    def apply(self, document: dict[str, Any]) -> None:
        """Put the value in its place; sections that are missing are made.

        Raises
        ------
        ValueError
            If the path goes through something that is not a section.
        """
        section = document
        for depth, key in enumerate(self.path[:-1]):
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                place = ".".join(self.path[: depth + 1])
                raise ValueError(f"`--set` is {self.text!r} but `{place}` is {section!r} and has no options")
        section[self.path[-1]] = self.value
        for rival in RIVALS.get(self.path[-1], ()):
            section.pop(rival, None)

    def changes_network(self) -> bool:
        """Tell whether the number of parameters may be another afterwards."""
        return self.path[0] == "model"
