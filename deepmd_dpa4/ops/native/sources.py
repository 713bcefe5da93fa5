"""What C++ sources include, and names that change with them."""

import hashlib
import re
from pathlib import Path

BINDING = "binding.h"
"""Header of what knows torch."""
_INCLUDE = re.compile(r'^#include "(.+)"', re.MULTILINE)


def with_headers(source: Path) -> set[Path]:
    """Find a source and the headers beside it that it includes, directly or not."""
    found, new = set[Path](), {source.resolve()}
    while new:
        found |= new
        new = {(path.parent / name).resolve() for path in new for name in _INCLUDE.findall(path.read_text("utf-8"))}
        new = {path for path in new - found if path.exists()}
    return found


def hash_of(parts: list[str], folder: Path, files: list[Path]) -> str:
    """Hash words, and the names in a folder and contents of files."""
    state = hashlib.sha256("\0".join(parts).encode())
    for path in sorted(files):
        state.update(path.relative_to(folder.resolve()).as_posix().encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def is_binding(source: Path) -> bool:
    """Tell whether a source includes, directly or not, the header of those that know torch."""
    return any(path.name == BINDING for path in with_headers(source))


def costly_first(sources: list[Path]) -> list[Path]:
    """Order sources so that all cores stay busy to the end: bindings first, then by size with headers."""
    parts = {source: with_headers(source) for source in sources}
    sizes = {source: sum(path.stat().st_size for path in paths) for source, paths in parts.items()}
    return sorted(sources, key=lambda source: (not is_binding(source), -sizes[source]))
