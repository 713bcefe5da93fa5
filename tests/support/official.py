"""The DPA4 that DeePMD-kit ships, with the same weights, and the comparison of both."""

from typing import Any, NamedTuple

import deepmd.pt  # noqa: F401  (registers the operators that the official model needs)
import pytest
import torch
from torch import Tensor

from deepmd_dpa4.host.builtin import available, build
from deepmd_dpa4.host.compat import READS_CHARGE_SPIN
from deepmd_dpa4.model.potential import Potential
from tests.support.frames import TYPE_MAP, Frame
from tests.support.models import GOLDEN_BIAS, build_potential, graph_of, relative_error
from tests.support.options import Options
from tests.support.weights import fill_golden

needs_official = pytest.mark.skipif(not available(), reason="this DeePMD-kit ships no DPA4 to compare with")
needs_charge_spin = pytest.mark.skipif(
    not READS_CHARGE_SPIN, reason="this DeePMD-kit does not read charge and spin of a frame"
)
PREFIX = "atomic_model."
# Tables of the official model that carry no trained numbers; this package builds its own.
RECOMPUTED = ("wigner_calc", "gie.", "_idx", "_indices", "kernel_", "mean", "stddev", "expand_index")


class Deviation(NamedTuple):
    """Largest differences from the official model, relative to the largest entry."""

    energy: float
    force: float
    virial: float
    gradient: float
    tensor: str = ""
    """Parameter with the largest gradient deviation."""


def official_model(options: Options, fitting: Options, bridging: tuple[float, float] | None) -> Any:
    """Official model in double precision with golden weights."""
    params = {
        "type": "dpa4",
        "type_map": TYPE_MAP,
        "descriptor": {"type": "dpa4", **options},
        "fitting_net": {"type": "dpa4_ener", "precision": "float64", "seed": 1, **fitting},
    }
    if bridging:
        params |= {"bridging_method": "zbl", "bridging_r_inner": bridging[0], "bridging_r_outer": bridging[1]}
    model = build(params).double().eval()
    fill_golden(model.named_parameters())
    with torch.no_grad():
        model.atomic_model.out_bias.copy_(torch.tensor(GOLDEN_BIAS).view(1, 2, 1))
    return model


def copy_weights(official: Any, potential: Potential) -> None:
    """Load the official state into ``potential``; both must have the same trainable tensors."""
    state = {key.removeprefix(PREFIX): value for key, value in official.state_dict().items()}
    for part in ("descriptor", "fitting_net"):
        own = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
        outcome = getattr(potential, part).load_state_dict(own, strict=False)
        assert not outcome.missing_keys
        assert [key for key in outcome.unexpected_keys if not any(name in key for name in RECOMPUTED)] == []
    potential.out_bias.copy_(state["out_bias"])
    theirs = {key.removeprefix(PREFIX): tuple(p.shape) for key, p in official.named_parameters()}
    assert {key: tuple(p.shape) for key, p in potential.named_parameters()} == theirs


def pair_of_models(
    options: Options, fitting: Options | None = None, bridging: tuple[float, float] | None = None
) -> tuple[Potential, Any]:
    """This package's potential and the official model, same weights."""
    official = official_model(options, fitting or {}, bridging)
    potential = build_potential(options, {"precision": "float64", **(fitting or {})}, bridging)
    copy_weights(official, potential)
    return potential, official


def deviation(
    potential: Potential,
    official: Any,
    frame: Frame,
    rcut: float = 6.0,
    gradients: bool = True,
    negligible: float = 1e-9,
) -> Deviation:
    """Compare one frame.

    The gradient is that of the energy plus random projections of forces and virial, with respect to every parameter:
    it contains all second derivatives. Tensors whose gradient is below ``negligible`` of the largest overall are
    rounding noise and are left out; each other tensor is compared relative to its own largest entry.
    """
    potential.train(gradients)
    official.train(gradients)
    out = potential(graph_of(frame, rcut), 1)
    box = None if frame.cell is None else frame.cell.view(1, 9)
    reference = official(frame.coord.unsqueeze(0), frame.types.unsqueeze(0), box=box)
    force, virial = out["force"], out["virial"].view(3, 3)
    reference_virial = reference["virial"].view(3, 3)
    worst, tensor = 0.0, ""
    if gradients:
        generator = torch.Generator().manual_seed(7)
        weights = torch.randn(force.shape[1] + 3, 3, generator=generator, dtype=torch.float64)

        def loss(energy: Tensor, force: Tensor, virial: Tensor) -> Tensor:
            return energy.sum() + (force[0] * weights[3:]).sum() + (virial * weights[:3]).sum()

        own = _gradients(loss(out["energy"], force, virial), dict(potential.named_parameters()))
        names = {key.removeprefix(PREFIX): p for key, p in official.named_parameters()}
        theirs = _gradients(loss(reference["energy"], reference["force"], reference_virial), names)
        largest = max(float(gradient.abs().max()) for gradient in theirs.values())
        for name, gradient in theirs.items():
            if gradient.abs().max() >= negligible * largest:
                worst, tensor = max((worst, tensor), (relative_error(own[name], gradient), name))
    return Deviation(
        relative_error(out["energy"], reference["energy"]),
        relative_error(force, reference["force"]),
        relative_error(virial, reference_virial),
        worst,
        tensor,
    )


def _gradients(loss: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
    }


def assert_close(found: Deviation, result: float = 1e-11, gradient: float = 1e-10) -> None:
    """Energy, forces and virial within ``result``, parameter gradients within ``gradient``."""
    assert max(found.energy, found.force, found.virial) < result, found
    assert found.gradient < gradient, found
