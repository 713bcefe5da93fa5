"""DPA4, an SE(3)-equivariant interatomic potential, as a plugin for DeePMD-kit.

Importing this package changes nothing outside it. DeePMD-kit finds the model through the entry points
declared in ``pyproject.toml``; see :mod:`deepmd_dpa4.host.register`.
"""

__version__ = "0.1.0"
