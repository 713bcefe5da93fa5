"""Register a frozen model with the pipeline of Matbench Discovery, and check the files that the pipeline writes.

`write` puts `models/<family>/<key>.yml` into a clone of janosh/matbench-discovery and prints the line that belongs into
its `matbench_discovery/calculators.py`; its calculators of DeePMD-kit take a `.pth` as `dpa4 freeze` writes it. The
pipeline then runs by its own commands, which are printed. `check` looks at what they wrote: names, contents, coverage,
and with `--wbm` the classification of stable crystals. Both take seconds, the pipeline itself days of GPUs.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import yaml
from combined_score import score
from matbench_files import (
    CRYSTALS,
    DISCOVERY,
    GEOMETRY,
    KAPPA_CRYSTALS,
    PHONONS,
    FormatError,
    conductivities,
    failed,
    formation_energies,
    read_table,
    relaxed,
    role,
    scores,
)

from deepmd_dpa4.checkpoint.summary import summarize

TASKS = {"discovery": DISCOVERY, "geo_opt": GEOMETRY, "phonons": PHONONS}
REQUIRED = (
    *("model_name", "model_key", "model_version", "dates", "lifecycle", "authors", "repo", "doi", "paper", "pr_url"),
    *("checkpoint_url", "license", "environment", "openness", "architecture_types", "train_task", "test_task"),
    *("targets", "training_sets", "model_params", "hyperparams", "metrics"),
)
"""Keys of a registered model."""
MISSING = "missing"
RUNNERS = ("run_discovery", "run_kappa")


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    if options.command == "write":
        print(write(options))
    else:
        print(check(options))


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("write", "check"):
        command = commands.add_parser(name)
        command.add_argument("clone", type=Path, help="clone of janosh/matbench-discovery")
        command.add_argument("--key", required=True, help="name in addresses: small letters, digits, - and .")
        command.add_argument("--family", default="deepmd", help="folder below models/; default %(default)s")
        if name == "check":
            command.add_argument("--wbm", type=Path, help="summary of WBM (.csv.gz), to score the predictions")
            continue
        add = command.add_argument
        add("model", type=Path, help="frozen file .pth")
        add("--name", required=True, help="name for people")
        add("--author", nargs="+", required=True, help="names")
        add("--email", required=True, help="of the first author")
        add("--training-sets", nargs="+", required=True, help="keys of data/datasets.yml there, such as MPtrj OMat24")
        add("--licence", required=True, help="of the weights, such as CC-BY-4.0")
        add("--checkpoint-url", default=MISSING, help="address of the file, without login")
        add("--paper", default="https://arxiv.org/abs/2606.02419")
        add("--pr-url", default=MISSING)
    return parser.parse_args(arguments)


def write(options: argparse.Namespace) -> str:
    """Write the file of a model and tell what to do next.

    Raises
    ------
    ValueError
        If the model is not one that the pipeline can load, or the clone is none.
    """
    calculators = registry(options.clone)
    path = options.clone / "models" / options.family / f"{options.key}.yml"
    entry = described(options, summarize(options.model))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(entry, allow_unicode=True, sort_keys=False))
    lines = [f"{path}: {entry['model_params']:,} parameters"]
    if not registered(calculators, options.key):
        name = python_name(options.key)
        lines.append(f'add to CALCULATORS in {calculators}:\n    "{name}": _deepmd_spec("{name}"),')
    for runner in RUNNERS:
        start = f"uv run models/{runner}.py --print-cmd --model {options.key}"
        lines += [f"{start} --dry-run", f'eval "$({start})"', f'eval "$({start} --merge-shards --write-yaml)"']
    return "\n".join(lines)


def described(options: argparse.Namespace, summary: dict[str, Any]) -> dict[str, Any]:
    """Fill the file of a model from what the frozen file tells.

    Raises
    ------
    ValueError
        If the model is no frozen file that runs without this package, or the key is not allowed.
    """
    if options.key != options.key.lower() or not all(c.isalnum() or c in "-." for c in options.key):
        raise ValueError(f"`--key` is {options.key!r} but must have small letters, digits, - and . alone")
    if summary["frozen"] is None or options.model.suffix != ".pth":
        raise ValueError(f"the model is {options.model} but must be a frozen file .pth: `dpa4 freeze` writes it")
    if summary["frozen"]["kernels"] == "native":
        raise ValueError(f"{options.model} holds native kernels: freeze it again with `--kernels plain`")
    (branch,) = summary["branches"].values()
    version, today = summary["versions"]["DeePMD-kit"] or "3.2.0", time.strftime("%Y-%m-%d")
    files = {task: prediction(options, suffix, today) for task, suffix in TASKS.items()}
    people = [{"name": name} for name in options.author]
    people[0] |= {"email": options.email}
    return {
        "model_name": options.name,
        "model_key": options.key,
        "model_version": f"v{today.replace('-', '.')}",
        "dates": {"benchmark_added": today, "paper_published": today},
        "lifecycle": "active",
        "authors": people,
        "repo": "https://github.com/deepmodeling/deepmd-kit",
        "doi": "https://doi.org/10.48550/arXiv.2606.02419",
        "paper": options.paper,
        "pr_url": options.pr_url,
        "checkpoint_url": options.checkpoint_url,
        "license": {"code": "LGPL-3.0", "checkpoint": options.licence},
        "environment": {"dependencies": [f"deepmd-kit[torch]=={version}", "ase"], "python_version": "3.12"},
        "openness": "OSOD",
        "architecture_types": ["gnn"],
        "train_task": "S2EFS",
        "test_task": "IS2RE-SR",
        "targets": "EFS_G",
        "training_sets": options.training_sets,
        "model_params": int(summary["parameters"]["total"]),
        "hyperparams": {
            "evaluation": {
                "max_force": 0.02,
                "max_steps": 500,
                "ase_optimizer": "FIRE",
                "cell_filter": "FrechetCellFilter",
                "kappa": {"protocol": "phonondb-v1", "displacement_distance": 0.03, "save_forces": True},
            },
            "architecture": {
                "graph_construction_radius": float(branch["options"]["descriptor"].get("rcut", 6.0)),
                "max_neighbors": MISSING,
            },
        },
        "metrics": {
            **{task: {"pred_file": files[task]} for task in ("discovery", "geo_opt")},
            "phonons": {"kappa_103": {"pred_file": files["phonons"]}},
        },
    }


def prediction(options: argparse.Namespace, suffix: str, date: str) -> dict[str, str]:
    """Name a file of predictions; its address follows when it has been uploaded."""
    return {"name": f"models/{options.family}/{options.key}/{date}-{suffix}", "url": MISSING}


def check(options: argparse.Namespace) -> str:
    """Check the registration and all files of predictions, and summarize them.

    Raises
    ------
    FormatError
        If the pipeline would refuse one of them.
    """
    path = options.clone / "models" / options.family / f"{options.key}.yml"
    entry = yaml.safe_load(path.read_text())
    absent = [key for key in REQUIRED if key not in entry]
    if absent:
        raise FormatError(f"{path} lacks {', '.join(absent)}")
    if entry["model_key"] != options.key:
        raise FormatError(f"{path}: `model_key` is {entry['model_key']!r} but must be {options.key!r}")
    if not registered(registry(options.clone), options.key):
        raise FormatError(f"matbench_discovery/calculators.py does not name {python_name(options.key)!r}")
    lines, energies = [f"{path.name}: {len(entry)} keys"], {}
    for file in sorted(path.with_suffix("").glob("*.gz")):
        kind = role(file.name)
        if kind == DISCOVERY:
            energies = formation_energies(file)
            lines.append(f"{file.name}: {coverage(len(energies), CRYSTALS)}, {missing(energies)} without a prediction")
        elif kind == GEOMETRY:
            found = [record["converged"] for record in relaxed(file)]
            lines.append(f"{file.name}: {coverage(len(found), CRYSTALS)}, {sum(found)} converged")
        else:
            records = conductivities(file)
            bad = sum(map(failed, records.values()))
            lines.append(f"{file.name}: {coverage(len(records), KAPPA_CRYSTALS)}, {bad} count as wrong")
    if options.wbm is not None:
        lines += classified(energies, options.wbm, entry["metrics"])
    return "\n".join(lines)


def classified(energies: dict[str, float], wbm: Path, metrics: dict[str, Any]) -> list[str]:
    """Score the predictions, and combine the score with what the pipeline wrote about the other two parts."""
    if not energies:
        raise FormatError(f"no file <yyyy-mm-dd>-{DISCOVERY} to compare with {wbm}")
    found = scores(energies, read_table(wbm), unique=True)
    lines = [
        f"unique prototypes: F1 {found.f1:.3f}, precision {found.precision:.3f}, recall {found.recall:.3f}, accuracy "
        f"{found.accuracy:.3f}, MAE {1000 * found.mae:.1f} meV/atom, {found.missing} missing"
    ]
    srme = metrics["phonons"]["kappa_103"].get("κ_SRME")
    rmsd = metrics["geo_opt"].get("symprec=1e-2", {}).get("rmsd")
    if srme is not None and rmsd is not None:
        lines.append(f"combined score: {score(found.f1, srme, rmsd):.3f}")
    return lines


def coverage(found: int, wanted: int) -> str:
    """Say how many crystals there are, of how many."""
    return f"{found:,} of {wanted:,} crystals" if found != wanted else f"all {wanted:,} crystals"


def missing(energies: dict[str, float]) -> int:
    """Count the crystals without a number."""
    return sum(value != value for value in energies.values())


def registry(clone: Path) -> Path:
    """Find the file that lists the calculators.

    Raises
    ------
    ValueError
        If the folder is not a clone of the project.
    """
    path = clone / "matbench_discovery" / "calculators.py"
    if not path.exists():
        raise ValueError(f"{clone} must be a clone of janosh/matbench-discovery, with {path.relative_to(clone)}")
    return path


def registered(calculators: Path, key: str) -> bool:
    """Tell whether the list of calculators has a model."""
    return f'"{python_name(key)}":' in calculators.read_text()


def python_name(key: str) -> str:
    """Write a key as Python names it there."""
    return key.replace("-", "_").replace(".", "_")


if __name__ == "__main__":
    main()
