"""A process that has imported DeePMD-kit and forks for each ``dp`` or ``dpa4``: imports take most of a short run.

Reads ``{"program", "arguments", "folder", "output"}`` as one line of JSON and answers with the exit code. Every command
runs in a process of its own that has imported DeePMD-kit as ``dp`` does and run nothing else.
"""

import json
import os
import signal
import sys
import traceback


def run(program: str, arguments: list[str], folder: str, output: str) -> None:
    os.chdir(folder)
    signal.alarm(300)
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
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


def serve() -> None:
    import deepmd.entrypoints.main
    import deepmd.infer
    import deepmd.main  # first, as in the command itself: it loads the argument schemas
    import deepmd.pt.entrypoints.main
    import deepmd.pt.infer.deep_eval  # noqa: F401

    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            run(**order)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=replies, flush=True)


if __name__ == "__main__":
    serve()
