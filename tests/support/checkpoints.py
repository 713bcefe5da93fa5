"""Models of every option that checkpoints of both implementations share, small."""

from typing import Any

from tests.parity.test_options import CHANGES, FITTING
from tests.support import inputs, options

Section = dict[str, Any]

# Widths are reduced, degrees, blocks and everything that decides about keys are those of the published models.
NARROW = {"channels": 8, "n_radial": 4, "precision": "float32"}
PUBLISHED: dict[str, Section] = {
    "nano": options.NANO,
    "mini": options.MINI,
    "neo": options.NEO,
    "air": options.AIR,
    "plus": options.PLUS,
    "pro": options.PRO,
    "paper air": options.PAPER_AIR,
    "paper plus": options.PAPER_PLUS,
    "paper 4.0-pro": options.PAPER_PRO_40,
    "paper 4.0.1-pro": options.PAPER_PRO_401,
    "molecular": options.MINI | {"add_chg_spin_ebd": True, "default_chg_spin": [0.0, 1.0]},
}
MODELS: dict[str, Section] = {
    "frame and atomic parameters": inputs.model(
        fitting={"numb_fparam": 2, "numb_aparam": 1, "default_fparam": [1.0, 2.0]}
    ),
    "zone bridging": inputs.model(bridging_method="zbl"),
    "excluded types": inputs.model({"exclude_types": [[0, 1]]}, atom_exclude_types=[1]),
}


def narrow(descriptor: Section, fitting: Section | None = None, **others: Any) -> Section:
    """A ``model`` section with few channels."""
    wide = {key: value for key, value in descriptor.items() if key not in ("channels", "focus_dim")}
    focus = {"focus_dim": 12} if descriptor.get("focus_dim") else {}
    section = inputs.model(fitting=fitting, **others)
    section["descriptor"] = {"type": "dpa4", **wide, **NARROW, **focus}
    return section


ALL: dict[str, Section] = (
    {name: narrow(descriptor) for name, descriptor in PUBLISHED.items()}
    | {name: narrow(options.MINI | change) for name, change in CHANGES.items()}
    | {name: narrow(options.MINI, change) for name, change in FITTING.items()}
    | MODELS
)
