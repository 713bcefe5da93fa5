"""Adapters to DeePMD-kit.

The host is imported here first: it loads this package's entry point while it is only half imported itself, and the
modules below need it in that state (see docs/host.md).
"""

import torch

# DeePMD-kit imports e3nn for its own DPA4. Older versions, such as the one that mace-torch asks for, keep constants in
# a file with slices, which torch reads only if it is told that they are harmless.
torch.serialization.add_safe_globals([slice])

import deepmd.pt  # noqa: E402, F401
