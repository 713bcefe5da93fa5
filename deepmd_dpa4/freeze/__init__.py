"""Frozen files: how they are written, and how they are checked against the checkpoint.

The adapters are imported here first, and with them the host, which the modules below need as the adapters do.
"""

import deepmd_dpa4.host  # noqa: F401
