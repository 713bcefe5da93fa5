"""Do released checkpoints run as they are in every command, and to DeePMD-kit's own numbers?

Takes checkpoints .pt of DPA4, as they were downloaded: weights are not part of this repository (docs/released.md says
where they are). Every command reads the file itself. Then the predictions of both implementations are compared on the
structures of `crystals.py`, in the file's precision and with all weights and arithmetic in double precision. Two sums
of the same numbers in another order differ by rounding times the stiffness of the model, so each difference stands
beside the change of the model's own forces when its atoms move by 1e-6 Angstrom. Four to seven minutes for each file.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import crystals
import numpy as np
import torch
from ase import Atoms
from compare import HERE, beside_python
from worker import described, machine

from deepmd_dpa4.checkpoint.match_keys import is_parameter
from deepmd_dpa4.checkpoint.read import read_checkpoint
from deepmd_dpa4.freeze.parity_report import Side, predict
from deepmd_dpa4.freeze.random_structures import RandomStructure, displaced
from deepmd_dpa4.freeze.verify import MARGIN, ROUNDING, STEP

ALLOY = HERE.parent / "examples" / "alloy" / "data"
RELATIVE = {"float32": 1e-5, "float64": 1e-8}
"""Allowed difference by precision: of the energy per atom in eV, of forces relative to the largest or 1 eV/Angstrom."""
STEPS = 50


@dataclass(frozen=True)
class Outcome:
    """A command: whether it ended well, its seconds and the last line it printed."""

    command: str
    passed: bool
    seconds: float
    last: str


@dataclass(frozen=True)
class Difference:
    """Predictions of both implementations for one structure."""

    structure: str
    precision: str
    energy: float
    """Difference of the energy per atom, eV."""
    force: float
    """Largest difference of a force component, eV/Angstrom."""
    largest: float
    """Largest force component."""
    answer: float
    """Largest change of a component when all atoms move by 1e-6 Angstrom, in arithmetic of this precision."""

    @property
    def passed(self) -> bool:
        rounding = MARGIN * self.answer * ROUNDING[getattr(torch, self.precision)] / STEP
        allowed = RELATIVE[self.precision]
        return self.energy <= max(allowed, rounding) and self.force <= max(allowed * max(self.largest, 1.0), rounding)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="checkpoint .pt, as downloaded")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of fine-tuning; default %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "released.json")
    options = parser.parse_args(arguments)
    record: dict[str, Any] = {"question": __doc__, "machine": machine(), "files": {}}
    failed = False
    for file in options.files:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = list(run_commands(file.resolve(), Path(folder), options.steps))
            differences = list(compare(file.resolve(), Path(folder)))
        record["files"][file.name] = {
            "commands": [asdict(row) for row in outcomes],
            "differences": [asdict(row) for row in differences],
        }
        failed |= not all(row.passed for row in [*outcomes, *differences])
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        options.output.with_suffix(".md").write_text(page(record), encoding="utf-8")
    sys.exit(failed)


def page(record: dict[str, Any]) -> str:
    """Tables of what was recorded, in Markdown."""
    lines = ["# Released models", "", f"Written by `released.py`. {described(record['machine'])}."]
    for name, found in record["files"].items():
        lines += ["", f"## {name}", "", "| command | | seconds |", "|---|---|---|"]
        lines += [
            f"| `{row['command']}` | {'runs' if row['passed'] else row['last']} | {row['seconds']:.1f} |"
            for row in found["commands"]
        ]
        lines += ["", "Differences to DeePMD-kit's built-in DPA4; in parentheses the largest force component.", ""]
        lines += ["| structure | precision | energy, eV/atom | forces, eV/Å | change of forces for 1e-6 Å, eV/Å |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {row['structure']} | {row['precision']} | {row['energy']:.1e} | {row['force']:.1e} "
            f"({row['largest']:.3g}) | {row['answer']:.1e} |"
            for row in found["differences"]
        ]
    return "\n".join(lines) + "\n"


def run_commands(file: Path, folder: Path, steps: int) -> Iterator[Outcome]:
    """Run every command on a file, in a folder of its own."""
    systems = ALLOY / "valid"
    write_inputs(file, folder, steps)
    plain, native = folder / "plain.pth", folder / "native.pth"
    for words in (
        f"dpa4 info {file}",
        f"dp --pt test -m {file} -s {systems} -n 2",
        f"dp --pt freeze -c {file} -o {plain}",
        f"dpa4 freeze {file} -o {native} --kernels native",
        f"dp --pt test -m {native} -s {systems} -n 2",
        f"dp --pt eval-desc -m {file} -s {systems / 'Cu32'} -o desc",
        f"dp --pt change-bias {file} -s {systems / 'Cu32'} -o shifted.pt",
        f"dp --pt model-devi -m {plain} {native} -s {systems / 'Cu32'} -o devi.out",
        f"dp --pt show {file} type-map descriptor fitting-net",
        f"dpa4 convert {file} -o converted.pt --report",
        f"dpa4 parity {file} {systems} --frames 4",
        f"dpa4 dimer {file} Cu Al --points 40",
        f"dpa4 eos {file} cu.xyz --points 5",
        f"dp --pt train init.json --init-model {file} --skip-neighbor-stat",
        f"dp --pt train finetune.json --finetune {file} --skip-neighbor-stat",
        f"dp --pt train restart.json --restart {file} --skip-neighbor-stat",
        "dp --pt freeze -c finetuned.ckpt.pt -o finetuned.pth",
        "lmp -in in.lammps -log plain.log -var model plain.pth",
        "lmp -in in.lammps -log native.log -var model native.pth",
        "lmp -in in.lammps -log finetuned.log -var model finetuned.pth",
    ):
        yield told(run(words, folder, file))
    yield told(falling_error(folder))
    yield told(lammps_equals_ase(file, folder))


def run(words: str, folder: Path, file: Path) -> Outcome:
    """Run one command."""
    program, *rest = words.split()
    start = time.perf_counter()
    process = subprocess.run([beside_python(program), *rest], cwd=folder, capture_output=True, text=True, check=False)
    lines = [line for line in (process.stdout + process.stderr).splitlines() if line.strip()]
    shown = words.replace(str(file), "FILE").replace(str(folder) + "/", "").replace(str(ALLOY), "DATA")
    last = lines[-1].replace(str(Path.home()), "~") if lines else ""
    return Outcome(shown, process.returncode == 0, time.perf_counter() - start, last)


def told(outcome: Outcome) -> Outcome:
    """Print a row as it comes."""
    note = "" if outcome.passed else f"  {outcome.last}"
    print(f"{'ok' if outcome.passed else 'FAILED':6} {outcome.seconds:6.1f} s  {outcome.command}{note}", flush=True)
    return outcome


def write_inputs(file: Path, folder: Path, steps: int) -> None:
    """Write inputs with the network of the checkpoint, a crystal, and a script for LAMMPS."""
    checkpoint = read_checkpoint(file)
    model = {key: value for key, value in checkpoint.params.items() if key != "info"}
    systems = sorted(str(path.parent) for path in (ALLOY / "train").rglob("type.raw"))
    done = (checkpoint.train_infos.get("step") or 0) + 1
    for name, total in (("init", 2), ("finetune", steps), ("restart", done + 2)):
        content = {
            "model": model,
            "learning_rate": {"type": "cosine", "start_lr": 1e-3, "stop_lr": 1e-5},
            "optimizer": {"type": "AdamW"},
            "loss": {"type": "ener", "start_pref_e": 1, "limit_pref_e": 1, "start_pref_f": 10, "limit_pref_f": 10},
            "training": {
                "training_data": {"systems": systems, "batch_size": 1},
                "validation_data": {"systems": [str(ALLOY / "valid")], "batch_size": 8},
                "numb_steps": total,
                "disp_freq": max(1, total // 10) if name != "restart" else 1,
                "save_ckpt": f"{name}d.ckpt" if name == "finetune" else f"{name}.ckpt",
                "disp_file": f"{name}.out",
                "seed": 1,
            },
        }
        (folder / f"{name}.json").write_text(json.dumps(content))
    crystal().write(folder / "cu.xyz")
    box = crystal()
    box.write(folder / "box.data", format="lammps-data", specorder=["Al", "Cu"], masses=True)
    (folder / "in.lammps").write_text(
        "units metal\natom_style atomic\nread_data box.data\npair_style deepmd ${model}\npair_coeff * * Al Cu\n"
        "thermo_style custom step pe\nthermo_modify format float %20.12f\n"
        "dump d all custom 1 ${model}.dump id fx fy fz\ndump_modify d sort id format float %.12g\nrun 0\n"
    )


def crystal() -> Atoms:
    """A distorted cubic cell of copper with an aluminium atom."""
    atoms = crystals.displaced(crystals.MAKERS["Cu"]() * (2, 2, 2))
    atoms.symbols[3] = "Al"
    return atoms


def falling_error(folder: Path) -> Outcome:
    """The validation error of forces at the end of fine-tuning, beside that of its first line."""
    log = (folder / "finetune.out").read_text().splitlines() if (folder / "finetune.out").exists() else []
    rows = [line.split() for line in log if line and not line.startswith("#")]
    if len(rows) < 2:
        return Outcome("the error falls in fine-tuning", False, 0.0, "no learning curve")
    names = next(line for line in log if line.startswith("#")).split()[1:]
    column = names.index("rmse_f_val")
    first, last = float(rows[0][column]), float(rows[-1][column])
    text = f"{first:.3f} to {last:.3f} eV/A in step {rows[-1][0]}"
    return Outcome(f"the validation force error falls in fine-tuning: {text}", last < first, 0.0, text)


def lammps_equals_ase(file: Path, folder: Path) -> Outcome:
    """Energy and forces of LAMMPS, plain and native, beside those of the checkpoint in ASE."""
    from deepmd_dpa4.engines.ase import DPA4Calculator

    box = crystal()
    box.calc = DPA4Calculator(file)
    largest, passed = 0.0, True
    for kernels in ("plain", "native"):
        log, dump = folder / f"{kernels}.log", folder / f"{kernels}.pth.dump"
        if not dump.exists():
            return Outcome("LAMMPS equals ASE", False, 0.0, f"no {dump.name}")
        found = re.search(r"PotEng\s*\n\s*0\s+(\S+)", log.read_text())
        forces = np.loadtxt(dump.read_text().splitlines()[9:])[:, 1:]
        off = float(np.abs(forces - box.get_forces()).max())
        largest = max(largest, off)
        passed &= found is not None and abs(float(found[1]) / box.get_potential_energy() - 1) < 1e-5
        passed &= off <= 1e-5 * float(np.abs(box.get_forces()).max()) + 1e-5
    text = f"forces to {largest:.1e} eV/A"
    return Outcome(f"LAMMPS, plain and native, equals ASE: {text}", bool(passed), 0.0, text)


def compare(file: Path, folder: Path) -> Iterator[Difference]:
    """Compare both implementations on all structures, in the file's precision and in double precision."""
    type_map = read_checkpoint(file).params["type_map"]
    names, trials = zip(*((name, trial(atoms, type_map)) for name, atoms in crystals.structures().items()), strict=True)
    double = folder / "double.pt"
    in_double_precision(file, double)
    for precision, path in (("float32", file), ("float64", double)):
        moved = [displaced(structure, STEP) for structure in trials]
        theirs_all = predict(Side(path, None, True), [*trials, *moved])
        ours = predict(Side(path, None, False), list(trials))
        for index, name in enumerate(names):
            theirs, shifted, own = theirs_all[index], theirs_all[index + len(names)], ours[index]
            row = Difference(
                name,
                precision,
                float(np.abs(own["energy"] - theirs["energy"]).max()) / len(trials[index].types),
                *(
                    float(np.abs(value).max())
                    for value in (
                        own["forces"] - theirs["forces"],
                        theirs["forces"],
                        shifted["forces"] - theirs["forces"],
                    )
                ),
            )
            print(
                f"{'ok' if row.passed else 'FAILED':6} {precision} {name:20} dE {row.energy:.1e} eV/atom, "
                f"dF {row.force:.1e} of {row.largest:.3g} eV/A, rounding makes {row.answer:.1e}",
                flush=True,
            )
            yield row


def trial(atoms: Atoms, type_map: list[str]) -> RandomStructure:
    """Structure for :func:`deepmd_dpa4.freeze.parity_report.predict`."""
    types = np.array([type_map.index(symbol) for symbol in atoms.symbols])
    return RandomStructure(
        atoms.positions, types, np.array(atoms.cell[:]) if atoms.pbc.all() else None, None, None, None
    )


def in_double_precision(file: Path, output: Path) -> None:
    """Write the checkpoint with weights and arithmetic in double precision."""
    content = torch.load(file, map_location="cpu", weights_only=True)
    state = content.get("model", content)
    for section in ("descriptor", "fitting_net"):
        state["_extra_state"]["model_params"][section]["precision"] = "float64"
    for key, value in list(state.items()):
        if key == "_extra_state" or value.dtype != torch.float32:
            continue
        state[key] = value.double()
        _, inside, name = key.partition(".descriptor.")
        if inside and value.numel() > 0 and not is_parameter(name):
            del state[key]  # a constant that was rounded; both implementations compute it anew
    torch.save(content, output)


if __name__ == "__main__":
    main()
