"""Our own names ``emfa`` and ``emfa_ener``, to which no rule of DeePMD-kit about ``dpa4`` applies."""

from pathlib import Path

import pytest

from deepmd_dpa4.host.builtin import available
from tests.support import inputs
from tests.support.commands import dp
from tests.support.lammps import assert_matches, orthogonal, run_lammps
from tests.support.predict import assert_same, predict
from tests.support.runs import Data, train

EMFA = inputs.SMALL | {"type": "emfa", "sel": 60}
ENER = {"type": "ener", "neuron": [8], "seed": 1}

MODELS = {
    "model": {"type": "emfa", "descriptor": EMFA, "fitting_net": inputs.FITTING | {"type": "emfa_ener"}},
    "standard": {"type": "standard", "descriptor": EMFA, "fitting_net": ENER},
    "hybrid": {"type": "standard", "descriptor": {"type": "hybrid", "list": [EMFA, inputs.SE_A]}, "fitting_net": ENER},
    "linear": {
        "type": "linear_ener",
        "weights": "mean",
        "models": [
            {"type_map": ["O", "H"], "descriptor": EMFA, "fitting_net": ENER},
            {"type_map": ["O", "H"], "descriptor": EMFA | {"lmax": 2, "rcut": 4.0}, "fitting_net": ENER},
        ],
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_train_freeze_predict(name: str, data: Data, tmp_path: Path) -> None:
    section = {"type_map": ["O", "H"], **MODELS[name]}
    run = train(tmp_path, {"model": section} | inputs.training(data.train, steps=4, rate=1e-2))
    dp("freeze", "-o", "model.pth", folder=tmp_path)
    expected = predict(run.checkpoint, data.frames)
    assert_same(predict(run.frozen, data.frames), expected)
    printed = dp("test", "-m", run.frozen, "-s", data.valid, "-n", "2", folder=tmp_path)
    assert "Force" in printed
    box = orthogonal()
    if name == "hybrid" and not available():
        pytest.skip("in DeePMD-kit 3.1 a hybrid descriptor does not hand on what LAMMPS gives it")
    found = run_lammps(tmp_path / "lammps", run.frozen, box)
    assert_matches(found, predict(run.checkpoint, box.frames, box.types), box)


@pytest.mark.parametrize("fitting", ["dos", "dipole", "property"])
def test_other_properties_in_a_standard_model(fitting: str) -> None:
    """``dos`` and ``property`` need scalars only; ``dipole`` needs the rotation matrix that we do not return."""
    import torch
    from deepmd.pt.model.model import get_model

    options = {"dos": {"numb_dos": 3}, "property": {"property_name": "gap", "task_dim": 2}, "dipole": {}}[fitting]
    section = {
        "type": "standard",
        "type_map": ["O", "H"],
        "descriptor": EMFA,
        "fitting_net": {"type": fitting, "neuron": [8], **options},
    }
    model = get_model(section)
    coord = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 1.1, 0.3]]], dtype=torch.float64)
    types = torch.tensor([[0, 1, 1]])
    if fitting == "dipole":
        with pytest.raises(
            (ValueError, RuntimeError, AssertionError, NotImplementedError), match=r"rotation|dipole|gr"
        ):
            model(coord, types)
    else:
        assert all(torch.isfinite(value).all() for value in model(coord, types).values())
