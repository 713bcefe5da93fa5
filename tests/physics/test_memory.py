"""Too little memory is an error that names what is needed and what there is."""

import deepmd.pt  # noqa: F401  (registers the operator of the ghost exchange)
import pytest
import torch

from deepmd_dpa4.graph.graph import Graph
from deepmd_dpa4.model import memory
from deepmd_dpa4.model.memory import available_bytes, enough_memory, least_bytes
from deepmd_dpa4.model.potential import Potential
from tests.support.frames import golden_frame
from tests.support.models import active_potential, evaluate_atoms, graph_of
from tests.support.options import MINI

NEED = r"6 atoms with \d+ neighbours within the cutoff need [\d.e+-]+ GiB at least"


@pytest.fixture(scope="module")
def potential() -> Potential:
    return active_potential(MINI)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_of(golden_frame())


def evaluate(potential: Potential, graph: Graph, tiled: bool) -> None:
    evaluate_atoms(potential, graph, tiled=tiled, tile_edges=50)


def test_too_much_is_refused_before_it_is_tried(
    potential: Potential, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = least_bytes(potential.descriptor, graph)
    monkeypatch.setattr(memory, "available_bytes", lambda device: need)
    evaluate(potential, graph, tiled=True)
    monkeypatch.setattr(memory, "available_bytes", lambda device: need - 1)
    monkeypatch.setattr(Potential, "run_tiled", lambda *_: pytest.fail("it was tried"))
    with pytest.raises(MemoryError, match=f"^out of memory: {NEED}.*, and [\\d.e+-]+ GiB are available"):
        evaluate(potential, graph, tiled=True)
    evaluate(potential, graph, tiled=False)


@pytest.mark.parametrize("kind", [RuntimeError, torch.cuda.OutOfMemoryError])
def test_a_failed_allocation_keeps_its_type_and_text(potential: Potential, graph: Graph, kind: type[Exception]) -> None:
    """DeePMD-kit looks at both before it tries a smaller batch."""
    raised = pytest.raises(kind, match=f"^CUDA out of memory. Tried(?s:.*){NEED}")
    with raised as caught, enough_memory(potential.descriptor, graph, tiled=False):
        raise kind("CUDA out of memory. Tried to allocate 9 GiB")
    assert type(caught.value) is kind


def test_an_allocation_that_really_fails(potential: Potential, graph: Graph) -> None:
    with pytest.raises(RuntimeError, match=NEED), enough_memory(potential.descriptor, graph, tiled=True):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass(potential: Potential, graph: Graph) -> None:
    with pytest.raises(RuntimeError, match=r"^shapes$"), enough_memory(potential.descriptor, graph, tiled=True):
        raise RuntimeError("shapes")


def test_the_estimate_is_a_lower_bound(potential: Potential, graph: Graph) -> None:
    """It counts what tiles keep: less than all tensors that one evaluation makes, more than the edge vectors."""
    assert (
        48 * len(graph.ends.sender) < least_bytes(potential.descriptor, graph) < 170e3 * 2 * len(graph.ends.sender) / 91
    )


def test_available_memory_is_known_here() -> None:
    found = available_bytes(torch.device("cpu"))
    assert found is not None and found > 0
