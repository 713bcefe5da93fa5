"""Whether the package registers itself with DeePMD-kit."""

import os

SWITCH = "DEEPMD_DPA4"
OFF = "builtin"


def wanted() -> bool:
    """False if the environment variable ``DEEPMD_DPA4`` is ``builtin``: DeePMD-kit then behaves as without us."""
    return os.environ.get(SWITCH, "") != OFF
