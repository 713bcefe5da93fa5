"""``dp`` or ``dpa4`` for scripts that start them: hands the command to a warm process, see :mod:`tests.support.warm`.

Copied under the name of the program, beside the socket ``server``; it needs the standard library alone.
"""

import json
import os
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def ask(
    server: Path,
    program: str,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    output: int,
    errors: int,
    seconds: int = 0,
) -> int:
    """Let a warm process run a command that writes to two files, for some seconds at most; returns its exit code."""
    order = {
        "program": program,
        "arguments": list(arguments),
        "folder": str(folder),
        "environment": dict(environment),
        "seconds": seconds,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file, socket.socket(socket.AF_UNIX) as connection:
        json.dump(order, file)
        file.flush()
        connection.connect(str(server))
        socket.send_fds(connection, [file.name.encode()], [output, errors])
        return int(connection.recv(16))


if __name__ == "__main__":
    name = Path(sys.argv[0])
    code = ask(name.absolute().with_name("server"), name.name, sys.argv[1:], Path.cwd(), os.environ, 1, 2)
    sys.exit(code if code >= 0 else 128 - code)
