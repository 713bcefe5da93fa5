"""Modules that were documented under another path: the old one works with a warning until the next release."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "deepmd_dpa4.host.evaluate": "deepmd_dpa4.inference.evaluator",
    "deepmd_dpa4.host.register": "deepmd_dpa4.register",
    "deepmd_dpa4.host.structure": "deepmd_dpa4.inference.structure",
    "deepmd_dpa4.plots": "deepmd_dpa4.tools.plots",
    "deepmd_dpa4.plots.lcurve": "deepmd_dpa4.tools.plots.lcurve",
    "deepmd_dpa4.plots.parity": "deepmd_dpa4.tools.plots.parity",
}
"""New path by the old one."""


class MovedModules(MetaPathFinder, Loader):
    """Finds the old paths, as modules that hand on the attributes of the new ones."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Answer for the old paths alone."""
        return ModuleSpec(name, self, is_package=True) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Import the new module and warn."""
        old = module.__name__
        new = importlib.import_module(MOVED[old])
        message = f"{old} is {new.__name__} now; the old path goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)

        def get(name: str) -> Any:
            return getattr(new, name)

        module.__getattr__ = get  # type: ignore[method-assign]


def find_moved_modules() -> None:
    """Let Python find the old paths, before it takes folders that an update left without files for packages."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())
