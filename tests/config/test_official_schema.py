"""Names and defaults of the options are those of DeePMD-kit's own input schema.

That schema is read in a process of its own, where this package has not extended it.
"""

import json
import os
import subprocess
import sys
from dataclasses import MISSING, fields
from typing import Any

import pytest

from deepmd_dpa4.config import DescriptorConfig, FittingConfig, parse_descriptor
from deepmd_dpa4.config.parse import ALIASES, OFFICIAL_ONLY_DESCRIPTOR, OFFICIAL_ONLY_FITTING
from deepmd_dpa4.host.builtin import available

if not available():
    pytest.skip("this DeePMD-kit has no schema of DPA4 to compare with", allow_module_level=True)

DUMP = """
import json
from deepmd.utils.argcheck import descrpt_args_plugin, fitting_args_plugin

def defaults(plugin, name):
    table = plugin._ArgsPlugin__plugin.plugins
    (build,) = [build for key, build in table.items() if key[0] == name]
    return {argument.name: argument.default for argument in build() if argument.optional}

both = [defaults(descrpt_args_plugin, "dpa4"), defaults(fitting_args_plugin, "dpa4_ener")]
# an optional argument without default holds a marker
print(json.dumps(both, default=lambda marker: None))
"""


def official_defaults() -> list[dict[str, Any]]:
    environment = {**os.environ, "DEEPMD_DPA4": "builtin"}
    run = subprocess.run([sys.executable, "-c", DUMP], capture_output=True, text=True, env=environment, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def plain(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def own_fitting_defaults() -> dict[str, Any]:
    return {item.name: plain(item.default) for item in fields(FittingConfig) if item.default is not MISSING}


DESCRIPTOR, FITTING = official_defaults()


def test_every_official_option_is_known() -> None:
    flat = DescriptorConfig().flat()
    known = {*flat, *OFFICIAL_ONLY_DESCRIPTOR, *ALIASES}
    assert set(DESCRIPTOR) <= known
    assert set(flat) <= set(DESCRIPTOR)
    known = {*own_fitting_defaults(), *OFFICIAL_ONLY_FITTING, *ALIASES}
    assert set(FITTING) <= known


@pytest.mark.parametrize("name", sorted(set(DescriptorConfig().flat()) & set(DESCRIPTOR)))
def test_descriptor_default(name: str) -> None:
    assert DescriptorConfig().flat()[name] == DESCRIPTOR[name]


@pytest.mark.parametrize("name", sorted(set(OFFICIAL_ONLY_DESCRIPTOR) & set(DESCRIPTOR)))
def test_default_of_an_official_option_is_neutral(name: str) -> None:
    assert DESCRIPTOR[name] in OFFICIAL_ONLY_DESCRIPTOR[name]


@pytest.mark.parametrize("name", sorted(set(own_fitting_defaults()) & set(FITTING)))
def test_fitting_default(name: str) -> None:
    assert own_fitting_defaults()[name] == FITTING[name]


def test_official_defaults_parse() -> None:
    assert parse_descriptor(DESCRIPTOR) == DescriptorConfig()
