"""A program written from the theory page returns the golden energies, so the page says what the model is."""

import numpy as np
import pytest

from tests.golden.from_theory import Model
from tests.golden.test_models import CASES
from tests.support.frames import golden_frame
from tests.support.models import GOLDEN_BIAS, golden_potential

PREFIXES = {"descriptor.": "", "fitting_net.filter_layers.networks.0.": "fitting."}


@pytest.mark.parametrize("case", CASES)
def test_energy(case: str) -> None:
    options, bridging, energy, *_ = CASES[case]
    weights = {}
    for name, parameter in golden_potential(options, bridging).named_parameters():
        (prefix,) = [prefix for prefix in PREFIXES if name.startswith(prefix)]
        weights[PREFIXES[prefix] + name.removeprefix(prefix)] = parameter.detach().numpy()
    frame = golden_frame()
    assert frame.cell is not None
    model = Model(options, weights, np.array(GOLDEN_BIAS), bridging)
    value = model.energy(frame.coord.numpy(), frame.types.numpy(), frame.cell.numpy())
    assert value == pytest.approx(float(energy), abs=0, rel=1e-11)
