"""Three branches whose data know different elements in different orders, with shared and private fitting nets."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.host.builtin import available
from tests.host.test_train import weights
from tests.support import inputs
from tests.support.commands import dp, errors
from tests.support.official import needs_official
from tests.support.predict import deep_pot
from tests.support.runs import Run, train
from tests.support.toy import TYPES, Frames, toy_frames, write_system

TYPE_MAP = ["H", "C", "O", "Cu"]
# branch: names of the two elements of its data, in the order of its type_map.raw
DATA = {"water": ("O", "H"), "oxide": ("Cu", "O"), "coal": ("C", "H")}
QUANTITIES = ("rmse", "rmse_e", "rmse_f", "rmse_v")
SHARED, PRIVATE = "water", "coal"


def content(folders: dict[str, Path], steps: int, **options: Any) -> inputs.Section:
    """Input of three branches with one descriptor: two share a fitting net, one has its own; validation for two."""
    whole = inputs.training(Path("-"), steps=steps, **options)
    del whole["training"]["training_data"]
    fitting = inputs.FITTING | {"dim_case_embd": len(DATA)}
    whole["model"] = {
        "shared_dict": {"types": TYPE_MAP, "net": inputs.SMALL, "fit": fitting | {"case_film_embd": True}},
        "model_dict": {
            name: {
                "type": "dpa4",
                "type_map": "types",
                "descriptor": "net",
                "fitting_net": {**fitting, "seed": 3} if name == PRIVATE else "fit",
            }
            for name in DATA
        },
    }
    loss = whole.pop("loss")
    whole["loss_dict"] = {name: dict(loss) for name in DATA}
    data = {name: {"systems": [str(folder)], "batch_size": 1} for name, folder in folders.items()}
    whole["training"]["data_dict"] = {
        name: {"training_data": section} | ({} if name == "oxide" else {"validation_data": dict(section)})
        for name, section in data.items()
    }
    whole["training"]["model_prob"] = {"water": 0.6, "oxide": 0.4, "coal": 0.0}
    return whole


@pytest.fixture(scope="module")
def frames() -> dict[str, Frames]:
    return {name: toy_frames(4, seed=number) for number, name in enumerate(DATA)}


@pytest.fixture(scope="module")
def folders(frames: dict[str, Frames], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data of each branch, with a type map of its own two elements."""
    root = tmp_path_factory.mktemp("branches")
    return {name: write_system(root / name, frames[name], type_map=DATA[name]) for name in DATA}


@pytest.fixture(scope="module")
def run(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training that never visits `coal`."""
    return train(tmp_path_factory.mktemp("run"), content(folders, 12, rate=5e-3, save_freq=1, max_ckpt_keep=100))


def test_elements_are_found_by_name(run: Run, frames: dict[str, Frames], folders: dict[str, Path]) -> None:
    """``dp test`` reads types through ``type_map.raw``: its errors are those of atoms given by their names."""
    for name, elements in DATA.items():
        types = [TYPE_MAP.index(elements[kind]) for kind in TYPES]
        model = deep_pot(run.checkpoint, head=name)
        cells = frames[name].cell.reshape(-1, 9)
        _, force, _ = model.eval(frames[name].coord, cells, types)
        printed = dp("test", "-m", run.checkpoint, "--head", name, "-s", folders[name], folder=run.folder)
        assert errors(printed)["Force"] == pytest.approx(np.sqrt(((force - frames[name].force) ** 2).mean()), rel=1e-4)
        _, swapped, _ = model.eval(frames[name].coord, cells, types[1:] + types[:1])
        assert np.abs(swapped - force).max() > 1e-2


def test_mean_energies_are_those_of_the_data_of_a_branch(run: Run, frames: dict[str, Frames]) -> None:
    """Elements without data have no energy; the composition is fixed, so only the energy of a molecule is known."""
    for name, elements in DATA.items():
        bias = weights(run.checkpoint)[f"model.{name}.atomic_model.out_bias"].flatten()
        known = [TYPE_MAP.index(element) for element in elements]
        assert all(bias[number] == 0 for number in range(len(TYPE_MAP)) if number not in known)
        assert float(sum(bias[known[kind]] for kind in TYPES)) == pytest.approx(frames[name].energy.mean(), rel=1e-6)


def test_a_data_set_with_an_unknown_element_is_refused(
    folders: dict[str, Path], frames: dict[str, Frames], tmp_path: Path
) -> None:
    other = write_system(tmp_path / "other", frames["coal"], type_map=("C", "N"))
    name = inputs.write(tmp_path, content(folders | {"coal": other}, 1))
    printed = dp("train", name, folder=tmp_path, fails=True)
    assert f"must hold 'N' too, which {other}/type_map.raw names" in printed


@pytest.mark.skipif(not available(), reason="DeePMD-kit 3.1 leaves out validation errors where another branch has none")
def test_every_branch_has_its_errors(run: Run) -> None:
    """In the log and in ``lcurve.out``, for a branch without steps too; validation where there are data for it."""
    names = (run.folder / "lcurve.out").read_text().split("\n")[0].split()
    expected = [
        f"{quantity}_{part}_{branch}"
        for branch in DATA
        for quantity in QUANTITIES
        for part in (("trn",) if branch == "oxide" else ("val", "trn"))
    ]
    assert sorted(names[2:-1]) == sorted(expected)
    values = np.array(curve(run.folder), dtype=float)
    assert values.shape == (12, len(names) - 1) and np.isfinite(values).all()
    for branch in DATA:
        assert run.log.count(f"{branch}_trn: rmse") == 12
        assert run.log.count(f"{branch}_val: rmse") == (0 if branch == "oxide" else 12)


def test_a_branch_without_steps_keeps_its_own_weights(run: Run) -> None:
    first, last = (weights(run.folder / f"model.ckpt-{step}.pt") for step in (2, 12))
    for key, value in first.items():
        if key.startswith(f"model.{PRIVATE}.") and ".fitting_net." in key:
            assert torch.equal(value, last[key]), key
    changed = {key for key, value in first.items() if not same({key: value}, last)}
    assert any(".descriptor." in key for key in changed)
    assert any(key.startswith(f"model.{SHARED}.") and ".fitting_net." in key for key in changed)


def test_branches_are_drawn_as_often_as_asked(folders: dict[str, Path], tmp_path: Path) -> None:
    """A step of one branch leaves the private net of the other alone, so checkpoints tell which branch it was."""
    section = content(folders, 40, save_freq=1, disp_freq=100, max_ckpt_keep=100)
    section["training"]["model_prob"] = {"water": 1.0, "oxide": 1.0, "coal": 6.0}
    for name in DATA:
        section["training"]["data_dict"][name].pop("validation_data", None)
    train(tmp_path, section)
    files = [weights(tmp_path / f"model.ckpt-{step}.pt") for step in range(2, 41)]
    key = next(name for name in files[0] if f"{PRIVATE}.atomic_model.fitting_net" in name and "matrix" in name)
    values = [file[key] for file in files]
    steps = sum(not torch.equal(*pair) for pair in itertools.pairwise(values))
    # 38 draws of probability 3/4: within four standard deviations
    assert abs(steps - 28.5) < 4 * np.sqrt(38 * 3 / 16)


@needs_official
def test_restart_is_exact(frames: dict[str, Frames], tmp_path: Path) -> None:
    """Weights, averages, optimizer and losses, to the last bit.

    A restart draws branches and batches anew, so every branch has a single frame, and steps after the first ones are
    all of one branch.
    """
    single = {name: Frames(*(values[:1] for values in vars(part).values())) for name, part in frames.items()}
    folders = {name: write_system(tmp_path / name, single[name], type_map=DATA[name]) for name in DATA}

    def section(steps: int, **probabilities: float) -> inputs.Section:
        result = content(folders, steps, rate=5e-3, enable_ema=True, ema_decay=0.9, save_freq=1, max_ckpt_keep=100)
        result["training"]["model_prob"] = probabilities
        return result

    start = train(tmp_path / "start", section(8, water=1, oxide=1, coal=1))
    whole = train(tmp_path / "whole", section(12, water=1, oxide=0, coal=0), "--restart", str(start.checkpoint))
    middle = whole.folder / "model.ckpt-10.pt"
    again = train(tmp_path / "again", section(12, water=1, oxide=0, coal=0), "--restart", str(middle))
    for name in ("model.ckpt.pt", "model_ema.ckpt.pt"):
        expected, found = (weights(run.folder / name) for run in (whole, again))
        assert same(expected, found), name
    assert not same(weights(middle), weights(whole.checkpoint))
    assert not same(weights(whole.folder / "model_ema.ckpt.pt"), weights(whole.checkpoint))
    moments = [torch.load(run.checkpoint, weights_only=True)["optimizer"]["state"] for run in (whole, again)]
    assert moments[0].keys() == moments[1].keys()
    for number, state in moments[0].items():
        assert all(torch.equal(value, moments[1][number][key]) for key, value in state.items()), number
    assert curve(again.folder)[-1] == curve(whole.folder)[-1]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether all tensors of two checkpoints are."""
    return all(torch.equal(value, other[key]) for key, value in one.items() if key != "_extra_state")


def curve(folder: Path) -> list[list[str]]:
    """Rows of ``lcurve.out`` as they are written."""
    return [line.split() for line in (folder / "lcurve.out").read_text().splitlines() if not line.startswith("#")]
