"""A frozen file is compared with its checkpoint before it appears under its name."""

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepmd_dpa4.freeze import choose_kernels as choice
from deepmd_dpa4.freeze import freeze as freezing
from deepmd_dpa4.freeze.choose_kernels import choose_kernels
from deepmd_dpa4.freeze.freeze import freeze
from deepmd_dpa4.freeze.random_structures import neighbor_table, random_structure
from deepmd_dpa4.freeze.runners import Prediction
from deepmd_dpa4.freeze.verify import SMALLEST, TOLERANCE, Disagreement, Reference, reference_of, verify
from deepmd_dpa4.graph.neighbors import search
from deepmd_dpa4.host.build import build_model
from deepmd_dpa4.host.kernels import overriding
from deepmd_dpa4.ops.backends import backend_of
from deepmd_dpa4.ops.operation import has_triton
from tests.support import inputs
from tests.support.commands import BIN, call
from tests.support.disks import small_disk
from tests.support.runs import Run
from tests.support.weights import perturb

save_script = freezing.save_script


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A path that holds a good file already."""
    path = tmp_path / "model.pth"
    path.write_text("good")
    return path


def assert_untouched(output: Path) -> None:
    assert output.read_text() == "good"
    assert list(output.parent.iterdir()) == [output]


def spoil(model: Any) -> None:
    """Change one weight by one part in a hundred."""
    matrices = [parameter for parameter in model.atomic_model.fitting_net.parameters() if parameter.dim() == 2]
    with torch.no_grad():
        matrices[-1].view(-1)[0] *= 1.01


def test_it_says_what_it_checked(trained: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "deepmd.dpa4"):
        freeze(str(trained.checkpoint), str(tmp_path / "model.pth"))
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Checked")]
    for runner in ("`forward`", "`forward_lower` as LAMMPS calls it", "DeepPot"):
        assert runner in line
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def test_a_changed_weight_is_found(trained: Run, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(tester: Any, path: Path, native: bool) -> None:
        spoil(tester.model)
        save_script(tester, path, native)

    monkeypatch.setattr(freezing, "save_script", save)
    with pytest.raises(Disagreement, match=r"model.pth was deleted: \w+ by .* differ from those of the checkpoint by"):
        freeze(str(trained.checkpoint), str(output))
    assert_untouched(output)


def test_a_file_that_cannot_be_read_is_found(trained: Run, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "save_script", lambda tester, path, native: path.write_bytes(b"half a file"))
    with pytest.raises(Disagreement, match=r"model.pth was deleted: it cannot be evaluated"):
        freeze(str(trained.checkpoint), str(output))
    assert_untouched(output)


@pytest.mark.parametrize("kilobytes", [64, 512])
def test_a_full_disk_is_told_in_one_line(trained: Run, tmp_path: Path, kilobytes: int) -> None:
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        printed = call(
            [BIN / "dp", "--pt", "freeze", "-c", trained.checkpoint, "-o", disk / "m.pth"], tmp_path, fails=True
        )
        assert f"dp: error: {disk}/m.pth cannot be written: No space left on device" in printed.splitlines()
        assert list(disk.iterdir()) == []


def test_a_missing_folder_is_named(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`--output` is '.*absent/model.pth' but the folder .*absent does not"):
        freeze(str(trained.checkpoint), str(tmp_path / "absent" / "model.pth"))


@pytest.fixture(scope="module")
def reference() -> Reference:
    model = build_model(inputs.model(kernels="plain"))
    perturb(model, scale=0.3)
    return reference_of(model)


def answering(reference: Reference, **changes: float) -> Any:
    """A runner that gives the numbers of the checkpoint, quantities in ``changes`` shifted."""
    known = dict(zip((s.name for s in reference.structures), reference.predictions, strict=True))

    def runner(structure: Any) -> Prediction:
        values = vars(known[structure.name])
        return Prediction(**{name: value + changes.get(name, 0.0) for name, value in values.items()})

    return runner


def test_equal_numbers_pass(reference: Reference) -> None:
    assert verify({"right": answering(reference)}, reference) == 0.0


@pytest.mark.parametrize("quantity", ["energy", "forces", "virial"])
@pytest.mark.parametrize("wrong", [2.0, float("nan")])
def test_every_quantity_of_every_door_counts(reference: Reference, quantity: str, wrong: float) -> None:
    shift = wrong * max(allowances[quantity].value for allowances in reference.allowances)
    runners = {"right": answering(reference), "wrong": answering(reference, **{quantity: shift})}
    with pytest.raises(Disagreement, match=f"{quantity} by wrong differ from those of the checkpoint by"):
        verify(runners, reference)
    verify({"close": answering(reference, **{quantity: 0.1 * TOLERANCE[torch.float32] * SMALLEST})}, reference)


def test_a_constant_bias_does_not_hide_differences() -> None:
    model = build_model(inputs.model(kernels="plain"))
    expected = reference_of(model).allowances
    model.atomic_model.out_bias += 1e4
    for found, allowance in zip(reference_of(model).allowances, expected, strict=True):
        assert found["energy"].largest == pytest.approx(allowance["energy"].largest, rel=1e-3)


def test_a_checkpoint_without_finite_forces_is_refused() -> None:
    model = build_model(inputs.model(kernels="plain"))
    with torch.no_grad():
        next(model.atomic_model.descriptor.parameters()).fill_(torch.nan)
    with pytest.raises(Disagreement, match="not finite for periodic structure of 11 atoms"):
        reference_of(model)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("atoms", "ntypes"), [(11, 2), (13, 3), (119, 118)])
def test_structures_are_sane(periodic: bool, atoms: int, ntypes: int) -> None:
    structure = random_structure(atoms, range(ntypes), periodic, seed=1)
    assert set(structure.types) == set(range(ntypes))
    table = neighbor_table(structure, 4.0)
    rows, columns = np.nonzero(table.neighbors >= 0)
    vectors = table.coord[table.neighbors[rows, columns]] - table.coord[rows]
    assert np.linalg.norm(vectors, axis=1).min() > 1.4
    cell = None if structure.cell is None else torch.tensor(structure.cell[None])
    graph = search(torch.tensor(structure.coord[None]), torch.tensor(structure.types[None]), cell, 4.0, ntypes, None)
    assert len(vectors) == len(graph.vector) > 0
    found, expected = (np.sort(np.linalg.norm(v, axis=1)) for v in (vectors, graph.vector.numpy()))
    np.testing.assert_allclose(found, expected)


def test_a_file_says_what_it_is(trained: Run) -> None:
    with zipfile.ZipFile(trained.frozen) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("extra/dpa4.json")]
        about = json.loads(archive.read(name))
    assert about["precision"] == "float32"
    assert about["device"] == "any"
    assert about["type_map"] == ["O", "H"]
    assert about["model"]["descriptor"]["channels"] == inputs.DESCRIPTOR["channels"]
    assert {"kernels", "torch", "deepmd_kit", "deepmd_dpa4"} < set(about)


def test_a_head_of_a_single_model_is_refused(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`--head` is 'one' but must be left out: .* holds one model"):
        freeze(str(trained.checkpoint), str(tmp_path / "model.pth"), head="one")


class TestKernels:
    """Which kernels a file gets, on a machine with a card and without."""

    @pytest.mark.parametrize("wanted", [None, "plain", "triton"])
    @pytest.mark.parametrize("precision", ["float32", "float64"])
    def test_compiled_on_a_card(self, wanted: str | None, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choice, "DEVICE", torch.device("cuda", 0))
        section = inputs.model({"precision": precision})
        for of_model in ("auto", "triton"):
            with overriding("plain"):
                model = build_model(section | {"kernels": of_model})
            model.model_def_script = json.dumps(section | {"kernels": of_model})
            if precision == "float64" and wanted == "triton":
                with pytest.raises(ValueError, match=r"must be 'plain' for model\.pt: Triton or a C"):
                    choose_kernels(wanted, model, True, "model.pt", "model.pt2")
                continue
            served = precision == "float32" and has_triton()
            expected = "triton" if served and "triton" in (wanted or of_model) else "plain"
            assert choose_kernels(wanted, model, True, "model.pt", "model.pt2") == expected
            assert backend_of(model) == "plain"

    def test_portable_files_are_plain_unless_asked(self) -> None:
        model = build_model(inputs.model(kernels="plain"))
        model.model_def_script = json.dumps(inputs.model(kernels="triton"))
        assert choose_kernels(None, model, False, "model.pt", "model.pth") == "plain"
        assert choose_kernels("native", model, False, "model.pt", "model.pth") == "native"
        with pytest.raises(ValueError, match=r"triton kernels are for models of deepmd-dpa4 in \.pt2 files"):
            choose_kernels("triton", model, False, "model.pt", "model.pth")

    def test_without_a_card(self) -> None:
        model = build_model(inputs.model(kernels="plain"))
        model.model_def_script = json.dumps(inputs.model(kernels="triton"))
        assert choose_kernels(None, model, True, "model.pt", "model.pt2") == "plain"
        with pytest.raises(ValueError, match="on cpu: kernels in Triton are for CUDA devices"):
            choose_kernels("triton", model, True, "model.pt", "model.pt2")
