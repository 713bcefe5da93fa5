"""``dp`` or ``dpa4`` for scripts that start them: hands the command to a warm process, see :mod:`tests.support.warm`.

Copied under the name of the program, beside the socket ``server``; it needs the standard library alone.
"""

import json
import os
import socket
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    program = Path(sys.argv[0])
    order = {
        "program": program.name,
        "arguments": sys.argv[1:],
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file, socket.socket(socket.AF_UNIX) as server:
        json.dump(order, file)
        file.flush()
        server.connect(str(program.absolute().with_name("server")))
        socket.send_fds(server, [file.name.encode()], [1, 2])
        code = int(server.recv(16))
    sys.exit(code if code >= 0 else 128 - code)
