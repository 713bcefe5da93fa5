"""The job scripts of ``examples/slurm``, with stand-ins for the commands of Slurm."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support import inputs
from tests.support.commands import BIN, ROOT, call, environment
from tests.support.official import needs_official
from tests.support.runs import Data

FOLDER = ROOT / "examples" / "slurm"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
# runs the command as Slurm would, on each "node" of the job at once
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for node in $(seq "$SLURM_JOB_NUM_NODES"); do "$@" & waiting+=($!); done
for process in "${waiting[@]}"; do wait "$process" || exit; done
"""
DP = f"""#!/bin/bash
[ "$1 $2" = "--pt train" ] || exit 2
exec {sys.executable} -m tests.support.parallel_train "${{@:3}}"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """Environment of a job with stand-ins of ``srun``, ``scontrol``, and ``dp`` on CPUs."""
    commands = {"srun": SRUN, "scontrol": "#!/bin/bash\necho localhost\necho localhost\n", "dp": DP}
    (tmp_path / "bin").mkdir()
    for name, text in commands.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "2"}
    paths = {"PATH": f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return environment() | job | paths


def test_there_are_scripts() -> None:
    assert [path.stem for path in SCRIPTS] == ["lammps_nodes", "train_cpu", "train_node", "train_nodes"]
    for path in SCRIPTS:
        call(["bash", "-n", path], ROOT)
        assert f"`{path.name}`" in (FOLDER / "README.md").read_text()


@needs_official
@pytest.mark.slow
@pytest.mark.parametrize(("script", "nodes", "jobs"), [("train_node", 1, 2), ("train_nodes", 2, 1)])
def test_training(cluster: dict[str, str], data: Data, tmp_path: Path, script: str, nodes: int, jobs: int) -> None:
    """Two processes train one model, on one node or two, and a second job goes on where the first ended."""
    content = {"model": inputs.model(), **inputs.training(data.train)}
    for steps in (2, 4)[:jobs]:
        content["training"]["numb_steps"] = steps
        (tmp_path / "input.json").write_text(json.dumps(content))
        call(["bash", FOLDER / f"{script}.sh", "input.json"], tmp_path, cluster | two_processes(nodes), seconds=900)
        assert (tmp_path / f"model.ckpt-{steps}.pt").exists()
        assert {path.name for path in tmp_path.glob("rank-*.pt")} == {"rank-0.pt", "rank-1.pt"}


@pytest.mark.parametrize(("script", "nodes"), [("train_cpu", 1), ("train_node", 1), ("train_nodes", 2)])
def test_a_job_goes_on(cluster: dict[str, str], tmp_path: Path, script: str, nodes: int) -> None:
    """Where a checkpoint is named, it is the one to restart from; ``torchrun`` is given what it should start."""
    started_by = {"dp": 'echo "$@" >> started\n', "torchrun": 'while [[ $1 != dp ]]; do shift; done; "$@"\n'}
    for name, text in {**started_by, "dpa4": '[ "$1" = build ]\n'}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    for start in ("", " --restart model.ckpt-2.pt"):
        call(["bash", FOLDER / f"{script}.sh", "my.json"], tmp_path, cluster | two_processes(nodes))
        started = (tmp_path / "started").read_text().splitlines()
        assert started == [f"--pt train my.json{start}"] * nodes
        (tmp_path / "started").unlink()
        (tmp_path / "checkpoint").write_text("model.ckpt-2.pt")


def two_processes(nodes: int) -> dict[str, str]:
    return {"SLURM_JOB_NUM_NODES": str(nodes), "SLURM_GPUS_ON_NODE": str(2 // nodes)}


def test_lammps_gets_its_arguments(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "lmp").write_text("#!/bin/bash\necho threads $OMP_NUM_THREADS: $@\n")
    (tmp_path / "bin" / "lmp").chmod(0o755)
    env = cluster | {"SLURM_JOB_NUM_NODES": "1"}
    assert call(["bash", FOLDER / "lammps_nodes.sh", "my.in"], tmp_path, env) == "threads 2: -in my.in\n"
