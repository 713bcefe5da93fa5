"""What lies beside a compiled library to tell whether it is whole; without importing torch."""

import hashlib
import subprocess
import sys
from pathlib import Path

from deepmd_dpa4.files import write_text

_LOADING = "import sys, torch; torch.ops.load_library(sys.argv[1])"


def record_path(library: Path) -> Path:
    """Return the path of the size and the SHA-256 of a library."""
    return library.with_suffix(".sha256")


def write_record(library: Path) -> None:
    """Write size and SHA-256 of a library that was just made."""
    write_text(record_path(library), _described(library))


def damage(library: Path) -> str | None:
    """Say what is wrong with a library, or None if it is the one that was recorded.

    The loader of the operating system ends the process if a library is cut, so this has to be asked first.
    """
    if not library.is_file():
        return "is missing"
    try:
        recorded = record_path(library).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"cannot be checked, since {record_path(library).name} beside it cannot be read"
    size = library.stat().st_size
    if recorded.split(" ")[0] != str(size):
        return f"is damaged: it has {size} bytes but must have {recorded.split(' ')[0][:20]}"
    if recorded != _described(library):
        return "is damaged: its SHA-256 is not the one recorded when it was compiled"
    return None


def refusal(library: Path) -> str | None:
    """Say why a library cannot be loaded, or None if it can; another process tries it."""
    reason = damage(library)
    if reason is not None:
        return reason
    command = [sys.executable, "-c", _LOADING, str(library)]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if run.returncode == 0:
        return None
    last = (run.stderr.strip().splitlines() or [f"the process ended with status {run.returncode}"])[-1]
    return f"cannot be loaded: {last}"


def _described(library: Path) -> str:
    content = library.read_bytes()
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}\n"
