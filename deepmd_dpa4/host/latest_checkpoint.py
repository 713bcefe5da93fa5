"""The name of the newest checkpoint."""

import os
from pathlib import Path
from typing import Any

from deepmd_dpa4.files import write_text


class Publisher:
    """Points ``model.ckpt.pt`` at a checkpoint without a moment in which it is missing.

    Parameters
    ----------
    store : Any
        DeePMD-kit's ``CheckpointStore``, or what has its ``prefix``, ``suffix`` and ``pointer_file``.
    """

    def __init__(self, store: Any) -> None:
        self.store = store

    def __call__(self, path: Path) -> None:
        """Make the link, and the file with the path of the newest checkpoint if there is to be one."""
        link = Path(f"{self.store.prefix}{self.store.suffix}")
        link.parent.mkdir(parents=True, exist_ok=True)
        partial = link.with_name(f".{link.name}.partial")
        partial.unlink(missing_ok=True)
        partial.symlink_to(os.path.relpath(path, link.parent))
        partial.replace(link)
        if self.store.pointer_file is not None:
            write_text(Path(self.store.pointer_file), str(path))
