"""A process that has imported DeePMD-kit and forks for each ``dp`` or ``dpa4``: imports take most of a short run.

It listens on the socket that its argument names for orders of :mod:`tests.support.stand_in`. Every command runs in a
process of its own that has imported DeePMD-kit as ``dp`` does and run nothing of it. The process ends with its input.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

# the first one as in the command itself: it loads the argument schemas
DEEPMD = (
    "deepmd.main",
    "deepmd.entrypoints.main",
    "deepmd.infer",
    "deepmd.pt.entrypoints.main",
    "deepmd.pt.infer.deep_eval",
)
# what commands import when they need it; not all of it is installed everywhere
LATER = (
    "array_api_compat.numpy",
    "array_api_compat.torch",
    "deepmd_dpa4.checkpoint.summary",
    "deepmd_dpa4.cli",
    "deepmd_dpa4.tools.plots.parity",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "multiprocessing.pool",
    "rich.console",
    "rich.table",
    "torch.utils.serialization",
    "vesin.torch",
)


def execute(program: str, arguments: list[str], folder: str) -> None:
    """Run a command in this process, and end it."""
    os.chdir(folder)
    sys.argv = [program, *arguments]
    code = 0
    try:
        if program == "dp":
            from deepmd.main import main

            main()
        else:
            from deepmd_dpa4.cli import main as own

            code = own()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def listen(path: str) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([server, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = server.accept()
        order, streams, _, _ = socket.recv_fds(connection, 4096, 2)
        child = os.fork()
        if child == 0:
            obey(order.decode(), streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        connection.close()


def obey(path: str, streams: list[int]) -> None:
    """Run the command that a file describes, with the environment and the streams of the one who asks."""
    order = json.loads(Path(path).read_text())
    signal.alarm(order["seconds"])
    os.environ.clear()
    os.environ.update(order["environment"])
    for stream, target in zip(streams, (1, 2), strict=True):
        os.dup2(stream, target)
    execute(order["program"], order["arguments"], order["folder"])


def prepare() -> None:
    """Do once what every command would do on its own."""
    for module in DEEPMD:
        importlib.import_module(module)
    for module in LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    from deepmd.utils.argcheck import gen_args

    gen_args()  # the first time, it resolves the annotations of all options
    # garbage collection in a forked process would copy the memory of all objects that it looks at
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    prepare()
    listen(sys.argv[1])
