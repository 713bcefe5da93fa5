"""The example of fine-tuning runs, from a checkpoint that is there already."""

from pathlib import Path

import pytest

from tests.examples.snippets import copy_examples
from tests.support.commands import call, dp, environment, stand_ins


@pytest.mark.slow
def test_example_of_finetuning(tmp_path: Path) -> None:
    water = copy_examples(tmp_path)
    dp("train", "demo.json", folder=water)
    folder = water.parent / "finetune"
    script = [
        stand_ins() / "python",
        "finetune.py",
        "--pretrained",
        "../water/model.ckpt.pt",
        "--picture",
        "picture.png",
    ]
    printed = call(script, folder, environment(), seconds=600)
    for name in ("not fine-tuned", "from scratch", "all weights", "low rank", "descriptor fixed"):
        assert name in printed
    assert (folder / "picture.png").stat().st_size > 1000
