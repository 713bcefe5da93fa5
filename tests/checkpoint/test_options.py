"""The options that files are sorted by are those of the two implementations."""

import json
import os
import subprocess
import sys

import pytest

from deepmd_dpa4.checkpoint.options import MODEL_OTHERS, PLUGIN_FITTING, PLUGIN_MODEL, read_options
from tests.support import inputs

DUMP = """
import json
from deepmd.utils.argcheck import fitting_args_plugin, model_args, model_args_plugin

dpa4 = model_args_plugin.get_argument("dpa4")
model = {**model_args().sub_fields, **dpa4.sub_fields}
fitting = fitting_args_plugin.get_argument("dpa4_ener").sub_fields
print(json.dumps([sorted(model), sorted(fitting)]))
"""
SECTIONS = {"type", "type_map", "descriptor", "fitting_net", "spin"}


@pytest.fixture(scope="module")
def official() -> list[set[str]]:
    """Names of the options of a DPA4 model and of its fitting net, without this package."""
    environment = {**os.environ, "DEEPMD_DPA4": "builtin"}
    run = subprocess.run([sys.executable, "-c", DUMP], capture_output=True, text=True, env=environment, check=True)
    return [set(names) for names in json.loads(run.stdout.splitlines()[-1])]


def test_options_of_the_model(official: list[set[str]]) -> None:
    known = {*read_options(inputs.model()).model, *MODEL_OTHERS}
    assert official[0] - SECTIONS <= known
    # the trainer adds the mode
    assert known - official[0] == {*PLUGIN_MODEL, "hessian_mode"}


def test_options_of_the_fitting_net(official: list[set[str]]) -> None:
    assert set(read_options(inputs.model()).fitting) - official[1] == set(PLUGIN_FITTING)


def test_unknown_ones_have_their_full_name() -> None:
    params = inputs.model({"sharpness": 1}, {"depth": 1}, lora={"rank": 2, "beta": 1}, novel=1)
    assert set(read_options(params).unknown) == {
        "model/novel",
        "model/lora/beta",
        "descriptor/sharpness",
        "fitting_net/depth",
    }


def test_defaults_are_not_changes() -> None:
    params = inputs.model()
    full = read_options(params)
    spelled = {**params, **full.model, "descriptor": full.descriptor, "fitting_net": full.fitting}
    assert read_options(spelled).changed == full.changed
    assert read_options(spelled).unknown == read_options(spelled).builtin_only == ()
