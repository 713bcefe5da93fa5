"""The switch of the plugin: the environment variable ``DEEPMD_DPA4``."""

import os

SWITCH = "DEEPMD_DPA4"
OFF = "builtin"


def plugin_enabled() -> bool:
    """Tell whether the package registers itself with DeePMD-kit.

    It does not if the environment variable ``DEEPMD_DPA4`` is ``builtin``; DeePMD-kit then behaves
    as without us.
    """
    return os.environ.get(SWITCH, "") != OFF
