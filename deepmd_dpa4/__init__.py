"""DPA4, an SE(3)-equivariant interatomic potential, as a plugin for DeePMD-kit.

Importing this package loads nothing heavy and changes nothing outside it. DeePMD-kit finds the model through the entry
points declared in ``pyproject.toml``; see :mod:`deepmd_dpa4.register`.

For Python there are :class:`Evaluator` and :class:`Structure`.
"""

from typing import TYPE_CHECKING, Any

from deepmd_dpa4.deprecated_paths import find_moved_modules

if TYPE_CHECKING:
    from deepmd_dpa4.inference.evaluator import Evaluator
    from deepmd_dpa4.inference.structure import Structure

__version__ = "0.1.0"
__all__ = ["Evaluator", "Structure", "__version__"]

find_moved_modules()


def __getattr__(name: str) -> Any:
    """Import :class:`Evaluator` or :class:`Structure` when it is first asked for."""
    if name == "Evaluator":
        from deepmd_dpa4.inference.evaluator import Evaluator

        return Evaluator
    if name == "Structure":
        from deepmd_dpa4.inference.structure import Structure

        return Structure
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
