"""The archive of a compiled file, ``.pt2``: torch's entries, DeePMD-kit's and ours."""

import zipfile
from pathlib import Path

ROOT = "model"
"""Folder of the archive that holds everything; torch names it after the file that it writes, without the suffix."""
EXTRA = f"{ROOT}/extra"
RANKS = f"{ROOT}/ranks/extra/forward_lower_with_comm.pt2"
"""Entry with the graph for several ranks.

torch's Python reader decodes every file below :data:`EXTRA` as text, where DeePMD-kit's exporter puts this archive. Its
C++ reader looks for an entry that ends with ``/extra/forward_lower_with_comm.pt2``, wherever that is.
"""


def rearrange(source: Path, target: Path, additions: dict[str, str]) -> None:
    """Copy an archive, the graph for several ranks at a place where every reader can live with it.

    Parameters
    ----------
    source, target : Path
        As DeePMD-kit wrote it, with :data:`ROOT` as its root, and the copy.
    additions : dict[str, str]
        Texts by name of their entries, for the folder :data:`EXTRA`.
    """
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "w") as written:
        for entry in given.infolist():
            ranks = entry.filename == f"{EXTRA}/{Path(RANKS).name}"
            written.writestr(RANKS if ranks else entry.filename, given.read(entry))
        for name, text in additions.items():
            written.writestr(f"{EXTRA}/{name}", text)
