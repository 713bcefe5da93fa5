"""The import graph of the package: one direction, and heavy packages only where they belong."""

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import deepmd_dpa4

ROOT = Path(deepmd_dpa4.__file__).parent
PACKAGE = "deepmd_dpa4"

# What each part may import of this package, besides itself and the package root.
ALLOWED: dict[str, set[str]] = {"errors": set(), "config": {"errors", "type_names"}, "so3": set()}
ALLOWED["files"] = {"errors"}
ALLOWED["breakdown"] = ALLOWED["charge_spin"] = set()
ALLOWED["graph"] = {"config", "so3"}
ALLOWED["ops"] = {"config", "so3", "graph", "errors", "files"}
ALLOWED["nn"] = ALLOWED["ops"] | {"ops"}
ALLOWED["descriptor"] = ALLOWED["fitting"] = ALLOWED["nn"] | {"nn"}
ALLOWED["model"] = ALLOWED["descriptor"] | {"descriptor", "fitting", "charge_spin"}
ALLOWED["type_names"] = set()
ALLOWED["checkpoint"] = ALLOWED["model"] | {"model", "errors", "type_names"}
ALLOWED["compiled"] = ALLOWED["model"] | {"model"}
ALLOWED["host"] = ALLOWED["checkpoint"] | {"checkpoint", "compiled", "breakdown"}
ALLOWED["freeze"] = ALLOWED["host"] | {"host", "switch", "uncertainty"}
ALLOWED["uncertainty"] = {"checkpoint", "errors", "files"}
ALLOWED["inference"] = {"charge_spin", "config", "graph", "model", "checkpoint", "host", "errors", "uncertainty"}
ALLOWED["register"] = {"config", "host", "freeze", "schema", "switch", "type_names"}
ALLOWED["engines"] = {"config", "graph", "inference"}
ALLOWED["switch"] = set()
ALLOWED["detection"] = {"checkpoint"}
ALLOWED["wait_policy"] = set()
ALLOWED["schema"] = {"config", "switch", "detection", "errors", "type_names", "wait_policy"}
ALLOWED["lammps_plugin"] = {"ops", "wait_policy"}
ALLOWED["tools.data"] = {"charge_spin", "config", "errors", "files"}
ALLOWED["tools.plots"] = {"breakdown", "config", "graph", "model", "inference", "tools.data", "files"}
ALLOWED["tools.presets"] = {"config", "tools.data", "schema"}
ALLOWED["tools.check"] = {"config", "files", "model", "inference", "tools.data", "tools.plots"}
ALLOWED["tools.descriptors"] = {"inference", "tools.data", "tools.plots"}
ALLOWED["tools.logs"] = {"tools.data", "tools.plots"}
ALLOWED["tools.uncertainty"] = {"inference", "tools.data", "tools.plots", "uncertainty"}
ALLOWED["tools.commands"] = {
    *("tools.check", "tools.data", "tools.descriptors", "tools.logs", "tools.plots", "tools.presets"),
    "tools.uncertainty",
    *(
        "checkpoint",
        "freeze",
        "inference",
        "ops",
        "lammps_plugin",
        "wait_policy",
        "files",
        "errors",
        "breakdown",
        "uncertainty",
    ),
}
ALLOWED["tools.__init__"] = set()
ALLOWED["cli"] = {"tools.commands", "errors", "wait_policy"}
ALLOWED["deprecated_paths"] = set()
ALLOWED["testing"] = {"freeze"}
ALLOWED["__init__"] = {"deprecated_paths", "inference"}

MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def part(module: Path) -> str:
    """File or folder at the top, but each folder of ``tools`` by itself."""
    return name_of(module.with_suffix("").parts)


def name_of(parts: Sequence[str]) -> str:
    return ".".join(parts[: 2 if parts[0] == "tools" else 1])


def imports(module: Path) -> set[str]:
    """Full names of everything that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def top_level(module: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_one_way(module: Path) -> None:
    own = part(module)
    used = {name_of(name.split(".")[1:]) for name in imports(module) if name.startswith(f"{PACKAGE}.")}
    assert own in ALLOWED, f"{own} is not in the table above"
    assert (used & {part(other) for other in MODULES}) - {own} <= ALLOWED[own]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_the_adapters_import_the_host_package(module: Path) -> None:
    if part(module) in ("host", "freeze", "inference", "register"):
        return
    from_host = {name for name in imports(module) if name.split(".")[0] == "deepmd"}
    if part(module) == "detection":
        assert all(name.startswith("deepmd.backend.") for name in from_host)
    elif part(module) == "schema":
        assert all(name.startswith("deepmd.utils.argcheck") for name in from_host)
        assert top_level(module) - set(sys.stdlib_module_names) <= {"dargs", "deepmd", PACKAGE}
    else:
        assert from_host == set()


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_e3nn_is_not_needed(module: Path) -> None:
    assert "e3nn" not in top_level(module)


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) == "config"], ids=str)
def test_config_needs_the_standard_library_only(module: Path) -> None:
    assert top_level(module) <= set(sys.stdlib_module_names) | {PACKAGE}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (f"import {PACKAGE}", ["torch", "deepmd", "numpy"]),
        (f"import {PACKAGE}.config", ["torch", "deepmd", "numpy"]),
        (f"import {PACKAGE}.model.potential", ["deepmd", "e3nn"]),
        (f"from {PACKAGE}.cli import make_parser; make_parser()", ["torch", "deepmd", "numpy"]),
        (f"from {PACKAGE}.lammps_plugin import prepare; prepare()", ["torch", "deepmd", "numpy"]),
    ],
)
def test_what_an_import_loads(statement: str, absent: list[str]) -> None:
    code = f"{statement}; import sys; print([name for name in {absent!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("package", sorted(name for name in ALLOWED["register"] if (ROOT / name).is_dir()))
def test_what_is_registered_can_be_imported_first(package: str) -> None:
    """The host registers this package while it is imported, which fails if a module of it imported the host.

    So packages with such modules import the host before any of them.
    """
    modules = [module for module in MODULES if module.parts[0] == package]
    if any("deepmd" in top_level(module) for module in modules):
        assert imports(Path(package, "__init__.py")) & {"deepmd.pt", f"{PACKAGE}.host"}


def test_trainings_do_not_import_what_evaluates() -> None:
    """It takes two seconds of every start."""
    code = "import sys, deepmd.pt.entrypoints.main; print('deepmd.pt.infer.deep_eval' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False"


def test_the_command_that_freezes_registers_everything() -> None:
    """It imports our module before the host."""
    code = "import deepmd_dpa4.freeze.freeze; from deepmd.backend.pytorch import PyTorchBackend as Backend"
    code += "; print(Backend().deep_eval.eval.__code__.co_name)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "could not register itself" not in run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "evaluate_with_warning"
