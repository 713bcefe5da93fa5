"""``dpa4 convert``: options, tensors, branches, and what is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmd_dpa4.checkpoint.archive import FileError
from deepmd_dpa4.checkpoint.canonical_options import BUILTIN, PLUGIN
from deepmd_dpa4.checkpoint.convert import Conversion, convert, write
from deepmd_dpa4.checkpoint.read import Checkpoint, read_checkpoint
from deepmd_dpa4.checkpoint.summary import summarize
from deepmd_dpa4.cli import main
from deepmd_dpa4.config import ConfigError, UnsupportedOption
from deepmd_dpa4.host import builtin as builtin_models
from deepmd_dpa4.host.build import build_model
from tests.checkpoint.conftest import untrained
from tests.support import inputs
from tests.support.checkpoints import ALL, MODELS, PUBLISHED
from tests.support.disks import small_disk
from tests.support.frames import golden_frame
from tests.support.models import relative_error
from tests.support.predict import assert_same, predict
from tests.support.runs import Data, Run, train
from tests.support.weights import perturb

RELEASED = {name: ALL[name] for name in (*PUBLISHED, *MODELS)}


def noisy_official(params: inputs.Section) -> Any:
    """Model of official with noise on all weights, so that every branch is active."""
    model = builtin_models.build(params)
    perturb(model, scale=0.3)
    return model


def forces(model: Any) -> torch.Tensor:
    frame = golden_frame()
    conditions: dict[str, Any] = {}
    if model.get_dim_aparam() > 0:
        conditions["aparam"] = torch.linspace(0, 1, 6, dtype=torch.float64).view(1, 6, 1)
    model.eval()
    return model(frame.coord.unsqueeze(0), frame.types.unsqueeze(0), frame.cell.view(1, 9), **conditions)["force"]


def state(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return checkpoint.branch_tensors("Default")


@pytest.mark.parametrize("name", RELEASED)
def test_official_models_run_here_and_come_back(name: str, tmp_path: Path) -> None:
    source = read_checkpoint(untrained(tmp_path, copy.deepcopy(RELEASED[name]), noisy_official))
    ours = convert(source, Conversion(PLUGIN)).checkpoint
    model = build_model(copy.deepcopy(ours.params))
    model.load_state_dict(state(ours))
    reference = builtin_models.build(copy.deepcopy(source.params))
    reference.load_state_dict(state(source))
    assert relative_error(forces(model), forces(reference)) < 2e-4
    write(ours, tmp_path / "ours.pt")
    back = convert(read_checkpoint(tmp_path / "ours.pt"), Conversion(BUILTIN)).checkpoint
    assert state(back).keys() == state(source).keys()
    for key, value in state(source).items():
        assert torch.equal(state(back)[key], value), key
    again = builtin_models.build(copy.deepcopy(back.params))
    again.load_state_dict(state(back))
    assert torch.equal(forces(again), forces(reference))


def short(params: inputs.Section | None = None, folder: Path | None = None, build: Any = build_model) -> Checkpoint:
    assert folder is not None
    return read_checkpoint(untrained(folder, params or inputs.model(), build))


class TestOptions:
    def test_names_of_ours_become_official(self, tmp_path: Path) -> None:
        params = inputs.model({"type": "emfa"}, {"type": "emfa_ener"}, kernels="plain") | {"type": "emfa"}
        result = convert(short(params, tmp_path), Conversion(BUILTIN))
        found = result.checkpoint.params
        assert (found["type"], found["descriptor"]["type"], found["fitting_net"]["type"]) == (
            "dpa4",
            "dpa4",
            "dpa4_ener",
        )
        assert "kernels" not in found
        assert "`model/type` emfa is called dpa4" in result.notes
        assert "`model/kernels` = plain is left out" in result.notes

    def test_names_of_official(self, tmp_path: Path) -> None:
        params = inputs.model({"type": "sezm"}, {"type": "sezm_ener"}) | {"type": "SeZM"}
        source = short(params, tmp_path, builtin_models.build)
        found = convert(source, Conversion(PLUGIN)).checkpoint.params
        assert (found["type"], found["descriptor"]["type"], found["fitting_net"]["type"]) == (
            "dpa4",
            "dpa4",
            "dpa4_ener",
        )
        assert type(build_model(copy.deepcopy(found))).__module__.startswith("deepmd_dpa4")

    def test_sections_that_were_left_out(self, tmp_path: Path) -> None:
        params = {"type": "dpa4", "type_map": ["O", "H"], "descriptor": {"channels": 8, "n_blocks": 1}}
        found = convert(short(params, tmp_path), Conversion(BUILTIN)).checkpoint.params
        assert found["descriptor"]["channels"] == 8
        assert found["descriptor"]["lmax"] == 3
        assert found["fitting_net"]["neuron"] == [0]

    def test_old_names(self, tmp_path: Path) -> None:
        params = inputs.model()
        params["descriptor"]["so2_layers"] = params["descriptor"].pop("mixing_layers")
        result = convert(short(params, tmp_path), Conversion(BUILTIN))
        assert result.checkpoint.params["descriptor"]["mixing_layers"] == 2
        assert "so2_layers" not in result.checkpoint.params["descriptor"]
        assert "`descriptor/so2_layers` is called `mixing_layers`" in result.notes

    def test_unknown_ones_are_named(self, tmp_path: Path) -> None:
        source = short(None, tmp_path)
        source.params["descriptor"]["sharpness"] = 2
        for to in (BUILTIN, PLUGIN):
            with pytest.raises(ConfigError, match=r"`descriptor/sharpness`: neither implementation"):
                convert(source, Conversion(to))

    def test_those_of_official_alone(self, tmp_path: Path) -> None:
        source = short(inputs.model({"layer_scale": True}), tmp_path, builtin_models.build)
        with pytest.raises(UnsupportedOption, match=r"`descriptor/layer_scale = True`: only DeePMD-kit's built-in"):
            convert(source, Conversion(PLUGIN))
        kept = convert(source, Conversion(BUILTIN)).checkpoint
        builtin_models.build(copy.deepcopy(kept.params)).load_state_dict(state(kept))

    def test_zone_bridging_as_a_sum_of_models(self, tmp_path: Path) -> None:
        source = short(ALL["zone bridging"], tmp_path, builtin_models.build)
        learned = {key: value for key, value in source.params.items() if not key.startswith("bridging")}
        inner = {"type": "inner_potential", "mode": "zbl", "r_inner": 0.6, "r_outer": 0.9}
        source.params.clear()
        source.params.update(
            {"type": "linear_ener", "type_map": ["O", "H"], "weights": "sum", "models": [learned, inner]}
        )
        found = convert(source, Conversion(PLUGIN)).checkpoint.params
        assert (found["type"], found["bridging_method"], found["bridging_r_outer"]) == ("dpa4", "zbl", 0.9)
        source.params["weights"] = "mean"
        with pytest.raises(ConfigError, match="`model/models` must be the sum"):
            convert(source, Conversion(PLUGIN))

    @pytest.mark.parametrize("key", ["channels", "n_radial", "ffn_neurons"])
    def test_sizes_that_no_file_could_hold(self, key: str, tmp_path: Path) -> None:
        """They are not allocated."""
        source = short(None, tmp_path)
        source.params["descriptor"][key] = 10**12
        with pytest.raises(ConfigError, match=rf"`model/descriptor/{key}` is 1000000000000 but the file holds"):
            convert(source, Conversion())

    def test_other_models(self, tmp_path: Path) -> None:
        source = short(None, tmp_path)
        source.params["type"] = "standard"
        with pytest.raises(ConfigError, match="`model/type` is 'standard'"):
            convert(source, Conversion())


class TestTensors:
    def test_missing_tables_are_added(self, tmp_path: Path) -> None:
        source = short(None, tmp_path, builtin_models.build)
        whole = state(source)
        for key in list(source.tensors):
            if key.endswith(("m0_idx", "l1_perm", "min_nbor_dist", "dens_force_rmsd", "version_tensor")):
                del source.tensors[key]
        result = convert(source, Conversion(BUILTIN))
        assert state(result.checkpoint).keys() == whole.keys()
        assert any("tables are added" in note for note in result.notes)
        # the rules of a file that tells no version are the oldest
        assert float(state(result.checkpoint)["atomic_model.descriptor.version_tensor"]) == 1.0

    def test_tables_of_older_versions_are_left_out(self, tmp_path: Path) -> None:
        source = short(None, tmp_path)
        source.tensors["model.Default.atomic_model.descriptor.old_grid.table"] = torch.zeros(3)
        result = convert(source, Conversion())
        assert "atomic_model.descriptor.old_grid.table" not in state(result.checkpoint)
        assert any("old_grid.table" in note for note in result.notes)

    def test_missing_weights(self, tmp_path: Path) -> None:
        source = short(None, tmp_path)
        del source.tensors["model.Default.atomic_model.descriptor.radial_basis.adam_freqs"]
        with pytest.raises(FileError, match=r"it lacks .*adam_freqs"):
            convert(source, Conversion())

    def test_other_shapes(self, tmp_path: Path) -> None:
        source = short(None, tmp_path)
        source.params["descriptor"]["n_radial"] = 5
        with pytest.raises(FileError, match=r"has the shape \(.*\), not \(.*5.*\)"):
            convert(source, Conversion())

    def test_foreign_tensors(self, tmp_path: Path) -> None:
        source = short(None, tmp_path)
        source.tensors["model.Default.atomic_model.other.weight"] = torch.zeros(3)
        with pytest.raises(FileError, match=r"it also holds atomic_model.other.weight"):
            convert(source, Conversion())

    def test_a_denoising_head_is_official(self, tmp_path: Path) -> None:
        def with_head(params: inputs.Section) -> Any:
            model = builtin_models.build(params)
            model.atomic_model._ensure_dens_fitting_net()
            return model

        path = untrained(tmp_path, inputs.model(), with_head)
        assert summarize(path)["branches"]["Default"]["official_only"] == ["loss/type = dens"]
        with pytest.raises(UnsupportedOption, match="loss/type = dens"):
            convert(read_checkpoint(path), Conversion(PLUGIN))


@pytest.mark.parametrize(
    ("named", "change"),
    [
        (
            "fitting_net/vacuum_ref = True",
            {"fitting": {"vacuum_ref": True}, "preset_out_bias": {"energy": [1.0, 2.0]}},
        ),
        ("model/bridging_unit = contact", {"bridging_method": "zbl", "bridging_unit": "contact"}),
        ("model/bridging_end = cutoff", {"bridging_method": "zbl", "bridging_end": "cutoff"}),
    ],
)
def test_other_functions_do_not_go_to_official(named: str, change: dict[str, Any], tmp_path: Path) -> None:
    params = inputs.model(**change)
    source = read_checkpoint(untrained(tmp_path, params))
    name, shown = named.split("/")[1].split(" = ")
    value = {"True": True}.get(shown, shown)
    (branch,) = summarize(tmp_path / "untrained.pt")["branches"].values()
    assert str(branch["changed"][named.split(" = ")[0]]) == shown and not branch["unknown"]
    with pytest.raises(UnsupportedOption, match=f"{name}` is {value!r} but the built-in DPA4"):
        convert(source, Conversion(BUILTIN))
    assert convert(source, Conversion(PLUGIN)).checkpoint.tensors.keys() == source.tensors.keys()
    with pytest.raises(ConfigError, match=f"{name}` is {value!r} but DeePMD-kit's built-in DPA4"):
        build_model(params | {"spin": {"use_spin": [True, False]}})


class TestBranches:
    def test_one_branch(self, tasks: Run) -> None:
        source = read_checkpoint(tasks.checkpoint)
        found = convert(source, Conversion(BUILTIN, branch="two", weights_only=True)).checkpoint
        assert not found.multi_task
        assert found.optimizer is None and found.ema is None
        assert found.train_infos == source.train_infos
        for key, value in source.branch_tensors("two").items():
            assert torch.equal(state(found)[key], value), key
        assert state(found)["atomic_model.fitting_net.case_embd"].tolist() == [0.0, 1.0]

    def test_by_another_name(self, tasks: Run) -> None:
        source = read_checkpoint(tasks.checkpoint)
        source.branches["two"]["model_branch_alias"] = ["second"]
        found = convert(source, Conversion(branch="second", weights_only=True)).checkpoint
        assert torch.equal(state(found)["atomic_model.out_bias"], source.branch_tensors("two")["atomic_model.out_bias"])

    def test_all_branches_go_on_sharing(self, tasks: Run, tmp_path: Path) -> None:
        for averaged in (False, True):
            result = convert(read_checkpoint(tasks.checkpoint), Conversion(BUILTIN, None, averaged, averaged))
            write(result.checkpoint, tmp_path / "all.pt")
            before, after = summarize(tasks.checkpoint), summarize(tmp_path / "all.pt")
            assert after["parameters"] == before["parameters"]
            assert after["branches"]["one"]["shared"] == before["branches"]["one"]["shared"]
        kinds = {
            section.get("type") for section in result.checkpoint.params["shared_dict"].values() if "type" in section
        }
        assert kinds == {"dpa4", "dpa4_ener"}

    def test_averaged_weights(self, tasks: Run) -> None:
        source = read_checkpoint(tasks.checkpoint)
        averages = read_checkpoint(tasks.folder / "model_ema.ckpt.pt")
        found = convert(source, Conversion(branch="one", weights_only=True, averaged=True)).checkpoint
        for key, value in averages.branch_tensors("one").items():
            assert torch.equal(state(found)[key], value), key

    def test_wrong_branches(self, tasks: Run, tmp_path: Path) -> None:
        source = read_checkpoint(tasks.checkpoint)
        with pytest.raises(ConfigError, match="`--branch` is 'three' but must be one of one, two"):
            convert(source, Conversion(branch="three", weights_only=True))
        with pytest.raises(ConfigError, match="has no branches"):
            convert(short(None, tmp_path), Conversion(branch="one", weights_only=True))

    def test_without_averages(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"`--ema` is given but .* holds no averaged weights"):
            convert(short(None, tmp_path), Conversion(weights_only=True, averaged=True))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["missing.pt", "-o", "out.pt"], "`FILE` is missing.pt"),
        (["untrained.pt", "-o", "untrained.pt"], "`--output` is untrained.pt, which is also"),
        (["untrained.pt", "-o", "out.pth"], "`--output` is out.pth but must end in .pt"),
        (["untrained.pt", "-o", "no/out.pt"], "`--output` is no/out.pt but the folder no does not exist"),
        (["untrained.pt", "-o", "out.pt", "--branch", "one"], "`--branch` is given without `--weights-only`"),
        (["untrained.pt", "-o", "out.pt", "--ema"], "`--ema` is given without `--weights-only`"),
    ],
)
def test_errors_of_the_command(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    untrained(tmp_path, inputs.model())
    before = sorted(tmp_path.iterdir())
    assert main(["convert", *words]) == 1
    error = capsys.readouterr().err
    assert f"dpa4: error: {named}" in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def updated(ours: Run, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A low-rank fine-tuning."""
    content = {"model": inputs.model(lora={"rank": 2, "alpha": 3.0})} | inputs.training(data.train, None, 3, 1e-2)
    return train(tmp_path_factory.mktemp("lora"), content, "--finetune", str(ours.checkpoint))


class TestLowRank:
    def test_updates_are_kept_with_the_optimizer(self, updated: Run) -> None:
        source = read_checkpoint(updated.checkpoint)
        found = convert(source, Conversion(BUILTIN)).checkpoint
        assert found.tensors.keys() == source.tensors.keys()
        assert found.params["lora"] == {"rank": 2, "alpha": 3.0}
        assert found.optimizer is source.optimizer

    def test_updates_are_folded_into_weights_alone(self, updated: Run, data: Data, tmp_path: Path) -> None:
        result = convert(read_checkpoint(updated.checkpoint), Conversion(BUILTIN, weights_only=True))
        assert "low-rank updates are folded into the weights" in result.notes
        assert result.checkpoint.params["lora"] is None
        plain = builtin_models.build(copy.deepcopy(result.checkpoint.params))
        plain.load_state_dict(state(result.checkpoint))
        write(result.checkpoint, tmp_path / "folded.pt")
        expected = predict(updated.checkpoint, data.frames)
        assert_same(predict(tmp_path / "folded.pt", data.frames), expected)


def test_a_full_disk_is_told_in_one_line(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "disk", 128) as disk:
        assert main(["convert", str(trained.checkpoint), "-o", str(disk / "out.pt")]) == 1
        told = f"dpa4: error: {disk}/out.pt cannot be written: No space left on device"
        assert told in capsys.readouterr().err.splitlines()
        assert list(disk.iterdir()) == []
