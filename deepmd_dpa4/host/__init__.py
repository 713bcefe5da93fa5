"""Adapters to DeePMD-kit.

The host is imported here first: it loads this package's entry point while it is only half imported itself, and the
modules below need it in that state (see docs/host.md).
"""

import deepmd.pt  # noqa: F401
