"""Which code reaches which error on real data, and how soon?

Trains networks on acetylacetone, silicon and molybdenum with the same split and the same time, and evaluates every
checkpoint on the validation frames. A short run before each kind of training measures the seconds of a step; the number
of steps follows from the budget, so that the learning rate has come down when the time is over. Time counts from the
start of the command. What is finished is kept, and an interrupted training goes on from its last checkpoint.

MACE, NequIP and eSEN are trained in environments of their own, named by `--environment mace=/path/to/environment`, with
the settings that they document.

`--test` evaluates the last checkpoint of every finished training on the test file: once, when nothing else is chosen
any more. `accuracy_page.py` makes table and plot.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from clock import CLOCKS
from codes import CODES, FineTuned, Predicted, Task, Trainable
from networks import RECIPES
from program_esen import ESEN
from program_mace import Mace
from program_nequip import NequIP
from programs import Program
from splits import DATA, test_frames, validation_frames, write

from deepmd_dpa4.tools.data.frame import Frame

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "accuracy"
PROGRAMS: dict[str, type[Program]] = {program.name: program for program in (Mace, NequIP, ESEN)}


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    # so that a training ends together with this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    codes = named(options)
    for task in tasks(options, codes):
        path, code = options.results / f"{task.name}.json", codes[task.code]
        if not path.exists():
            print(f"{task.name}: training", flush=True)
            save(path, trained(task, code, options.data, options.work))
        if options.test:
            record = json.loads(path.read_text())
            if "test" not in record:
                frames, last = test_frames(task.data, options.data), record["curve"][-1]["checkpoint"]
                (found,) = code.evaluate(options.work / task.name, [last], frames)
                save(path, record | {"test": errors(found, frames)})
        told(path)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with acac/ and mlearn/")
    parser.add_argument("--sets", nargs="+", choices=DATA, default=["acac", "si"])
    parser.add_argument("--codes", nargs="+", choices=(*CODES, FineTuned.name, *PROGRAMS), default=["deepmd-dpa4"])
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["nano", "mini", "small"],
        help="those that the code has; the first one of a code that has none of them; default %(default)s",
    )
    parser.add_argument(
        "--environment",
        nargs="+",
        default=[],
        metavar="CODE=DIR",
        help=f"virtual environments of {', '.join(PROGRAMS)}",
    )
    parser.add_argument(
        "--pretrained",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="checkpoints to fine-tune, with `--codes fine-tuned`; their own networks stand for `--networks`",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--budget", type=float, default=3600, help="seconds of a training; default %(default)s")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: on a machine that others use")
    parser.add_argument(
        "--recipe", choices=RECIPES, default="adamw", help="optimizer, loss and rate; default %(default)s"
    )
    parser.add_argument("--batch", type=int, default=60, help="atoms of a batch, at least; default %(default)s")
    parser.add_argument("--saves", type=int, default=12, help="points of the curve; default %(default)s")
    parser.add_argument("--work", type=Path, default=Path("accuracy_work"), help="inputs and checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--test", action="store_true", help="evaluate the test files too")
    return parser.parse_args(arguments)


def named(options: argparse.Namespace) -> dict[str, Trainable]:
    """Make the codes that were asked for.

    Raises
    ------
    ValueError
        If an environment is missing, or belongs to no code.
    """
    environments = paths("--environment", options.environment, "CODE=DIR")
    if unknown := environments.keys() - PROGRAMS.keys():
        raise ValueError(f"`--environment` names {min(unknown)!r} but must be CODE=DIR, CODE of {', '.join(PROGRAMS)}")
    pretrained = paths("--pretrained", options.pretrained, "NAME=FILE")
    codes: dict[str, Trainable] = {}
    for name in options.codes:
        if name in CODES:
            codes[name] = CODES[name]
        elif name == FineTuned.name:
            if not pretrained:
                raise ValueError(f"`--codes {name}` needs `--pretrained NAME=FILE`")
            codes[name] = FineTuned(networks=tuple(pretrained), checkpoints=pretrained)
        else:
            program = PROGRAMS[name](environments.get(name))
            assert program.python.exists()
            codes[name] = program
    return codes


def paths(option: str, words: Sequence[str], form: str) -> dict[str, Path]:
    """Read the values ``NAME=PATH`` of an option, for instance ``{"mace": Path("/environments/mace")}``.

    Raises
    ------
    ValueError
        If a value has another form.
    """
    found = {}
    for word in words:
        name, sign, path = word.partition("=")
        if not name or not sign or not path:
            raise ValueError(f"`{option}` is {word!r} but must be {form}")
        found[name] = Path(path).absolute()
    return found


def tasks(options: argparse.Namespace, codes: Mapping[str, Trainable]) -> Iterator[Task]:
    """Every training: seed by seed, so that an early end leaves a whole comparison."""
    for seed in options.seeds:
        for data in options.sets:
            for name, code in codes.items():
                for network in chosen_networks(code, options):
                    yield Task(
                        name,
                        network,
                        data,
                        seed,
                        options.budget,
                        code.recipe or options.recipe,
                        options.batch,
                        options.clock,
                        options.saves,
                    )


def chosen_networks(code: Trainable, options: argparse.Namespace) -> Sequence[str]:
    """Choose among the networks of a code those that were asked for; all that it fine-tunes."""
    if isinstance(code, FineTuned):
        return code.networks
    return [word for word in code.networks if word in options.networks] or code.networks[:1]


def trained(task: Task, code: Trainable, data: Path, work: Path) -> dict[str, Any]:
    """Train, evaluate all checkpoints, and describe how."""
    folders, folder = write(task.data, data, work / "data"), work / task.name
    speed = work / f"{task.kind}.speed.json"
    if not speed.exists():
        start, step = code.calibrate(task, folders, work / f"{task.kind}.calibration")
        save(speed, {"start_s": round(start, 2), "step_s": round(step, 4)})
    planned = json.loads(speed.read_text())
    planned["steps"] = max(task.saves, int((task.budget - planned["start_s"]) / planned["step_s"]))
    seconds = code.run(task, folders, folder, planned["steps"], task.saves)
    frames = validation_frames(folders)
    marks = sorted((mark for mark in seconds if (folder / mark).exists()), key=lambda mark: code.step(folder, mark))
    curve = [
        {"checkpoint": mark, "step": code.step(folder, mark), "seconds": seconds[mark], **errors(found, frames)}
        for mark, found in zip(marks, code.evaluate(folder, marks, frames))
    ]
    from worker import machine

    return {
        "task": asdict(task),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        **code.about(folder, marks[-1], task),
        "plan": planned,
        "curve": curve,
    }


def errors(predictions: Sequence[Predicted], frames: Sequence[Frame]) -> dict[str, float]:
    """Errors of energies per atom in meV and of force components in meV/Angstrom."""
    energy, force = [], []
    for frame, prediction in zip(frames, predictions, strict=True):
        assert frame.energy is not None and frame.force is not None
        energy.append((prediction.energy - frame.energy) / len(frame.symbols))
        force.append((prediction.forces - frame.force).ravel())
    found = {}
    for name, values in (("energy", np.array(energy)), ("force", np.concatenate(force))):
        found[f"{name}_mae"] = round(1000 * float(np.abs(values).mean()), 4)
        found[f"{name}_rmse"] = round(1000 * float(np.sqrt(np.mean(values**2))), 4)
    return found


def save(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def told(path: Path) -> None:
    """Say what a training came to."""
    last = json.loads(path.read_text())["curve"][-1]
    print(
        f"{path.stem}: {last['seconds']:.0f} s, {last['step']} steps, validation RMSE "
        f"{last['energy_rmse']:.2f} meV/atom, {last['force_rmse']:.1f} meV/Å",
        flush=True,
    )


if __name__ == "__main__":
    sys.path.append(str(HERE.parent))
    main()
