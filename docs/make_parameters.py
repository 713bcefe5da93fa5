"""Write ``parameters.md`` from the configuration classes, which also validate inputs.

``make generate`` runs this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from deepmd_dpa4.config import BridgingConfig, DescriptorConfig, FittingConfig
from deepmd_dpa4.config.model import ExecutionConfig, LowRankConfig, TrainingConfig
from deepmd_dpa4.config.parse import ALIASES, OFFICIAL_ONLY_DESCRIPTOR, OFFICIAL_ONLY_FITTING

TARGET = Path(__file__).with_name("parameters.md")

HEAD = """# Parameters

Written by `docs/make_parameters.py` from the classes that check inputs (`deepmd_dpa4/config`); do not edit.
`dp doc-train-input` prints the same texts among the options of DeePMD-kit.

Names, defaults and meanings are those of DPA4 in DeePMD-kit 3.2.0; a `basis_type` with `/fix` and a single number in
`env_exp` are those of its coming version. An unknown option is an error that names the closest known one, and so is a
value that is not allowed. Every option may be left out, and so may the sections `descriptor` and `fitting_net`. Where
an option takes a value or a list, the single value stands for all entries of the list, except in `env_exp`.
"""

TAIL = """## Options of the built-in DPA4 only

These options are accepted with the value listed here, which switches the part off. With any other value the model is
handed to the implementation in DeePMD-kit, with a warning that names the option (see [host.md](host.md)). The same
holds for `model/spin`, a descriptor without blocks (`n_blocks` 0), fitting nets other than energy, and the loss `dens`.

"""


def render() -> str:
    """The whole file."""
    parts = [HEAD]
    for title, groups in sections():
        parts.append(f"## {title}\n")
        for group in groups:
            heading = f"### {summary(group)}\n\n" if len(groups) > 1 else ""
            parts.append(heading + table(group))
    parts.append(TAIL + builtin_only())
    return "\n".join(parts)


def sections() -> Iterator[tuple[str, list[type]]]:
    """Title and configuration classes of each section of an input."""
    yield "`model/descriptor`, type `dpa4`", list(get_type_hints(DescriptorConfig).values())
    yield "`model/fitting_net`, type `dpa4_ener`", [FittingConfig]
    yield "`model`, type `dpa4`", [BridgingConfig, ExecutionConfig, TrainingConfig]
    yield "`model/lora`", [LowRankConfig]


def summary(group: type) -> str:
    """First line of the documentation of a group, without its reference and full stop."""
    first = (group.__doc__ or "").splitlines()[0]
    return re.sub(r"\s*\(theory [^)]*\)", "", first).rstrip(".")


def table(group: type) -> str:
    """One row for each option of a group."""
    hints = get_type_hints(group)
    aliases = {new: old for old, new in ALIASES.items()}
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for item in fields(group):
        text = item.metadata["doc"].replace("|", "\\|")
        if item.name in aliases:
            text += f" Also called `{aliases[item.name]}`."
        rows.append(f"| `{item.name}` | {type_name(hints[item.name])} | `{value_text(item.default)}` | {text} |")
    return "\n".join(rows) + "\n"


def type_name(hint: Any) -> str:
    """Type as it is written in JSON."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(type_name(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return f"list of {plural(type_name(inner))}"
    return {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}[hint]


def plural(name: str) -> str:
    """Plural of a type name."""
    head, *rest = name.split(" ", 1)
    return " ".join([f"{head}s", *rest])


def value_text(value: Any) -> str:
    """Value as it is written in JSON."""
    return json.dumps(value)


def builtin_only() -> str:
    """Options that exist here only with their neutral value."""
    parts: list[tuple[str, Mapping[str, tuple[Any, ...]]]] = [
        ("descriptor", OFFICIAL_ONLY_DESCRIPTOR),
        ("fitting_net", OFFICIAL_ONLY_FITTING),
    ]
    rows = ["| option | accepted value |", "|---|---|"]
    rows += [f"| `{part}/{key}` | `{value_text(kept[0])}` |" for part, keys in parts for key, kept in keys.items()]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render())
    print(f"wrote {TARGET}")
