"""Elements, pairs and structures that are tested."""

from pathlib import Path

import numpy as np
import pytest

from deepmd_dpa4.config.elements import ELEMENTS, contact
from deepmd_dpa4.tools.check.choice import LISTED, choose_pairs, known_elements, read_references
from deepmd_dpa4.tools.check.samples import CLOSEST, MELTS, generated_samples
from deepmd_dpa4.tools.data.errors import DataError


def test_pairs_of_the_survey_first() -> None:
    assert len(LISTED) == 24
    assert choose_pairs(known_elements(ELEMENTS, ()), 24) == list(LISTED)
    assert choose_pairs(["O", "H"], 24) == [("H", "H"), ("O", "O"), ("O", "H")]
    assert choose_pairs(["Al", "Cu"], 24) == [("Cu", "Cu"), ("Al", "Al"), ("Al", "Cu")]
    assert choose_pairs(["Al", "Cu"], 1) == [("Cu", "Cu")]


def test_elements_without_data_are_left_out() -> None:
    assert known_elements(["O", "H", "water", "Og"], {"H"}) == ["O"]


def test_samples_are_the_same_for_the_same_seed() -> None:
    one, other, third = (generated_samples(["Al", "Cu"], [("Al", "Cu")], seed) for seed in (1, 1, 2))
    for a, b, c in zip(one, other, third, strict=True):
        np.testing.assert_array_equal(a.structure.positions, b.structure.positions)
        assert not np.array_equal(a.structure.positions, c.structure.positions)


def test_kinds_of_samples() -> None:
    names = [sample.name for sample in generated_samples(["C", "H", "Fe"], [("Fe", "C")], 0)]
    for word in ("crystal of C", "crystal of Fe", "crystal of Fe-C, 0.7", "molecule CH", "melt of"):
        assert any(name.startswith(word) for name in names), names
    assert len(set(names)) == len(names)


def test_melts_keep_their_distances() -> None:
    for sample in generated_samples(["O", "H", "Cs"], [], 0)[-MELTS:]:
        structure = sample.structure
        apart = structure.positions[:, None] - structure.positions[None]
        edge = structure.cell[0, 0]
        distance = np.linalg.norm(apart - edge * np.round(apart / edge), axis=-1)
        for i, first in enumerate(structure.symbols):
            for j, second in enumerate(structure.symbols[:i]):
                assert distance[i, j] >= CLOSEST * contact(first, second)


def test_references(tmp_path: Path) -> None:
    path = tmp_path / "curves.json"
    path.write_text('{"Fe-O": {"r": [2.0, 1.0], "energy": [-1.0, 3.0]}}')
    np.testing.assert_array_equal(read_references(path)["Fe", "O"].energy, [3.0, -1.0])
    for wrong in ("[1]", "nothing", '{"Fe": {"r": [1], "energy": [1]}}', '{"Fe-O": {"r": [1, 2], "energy": [1]}}'):
        path.write_text(wrong)
        with pytest.raises(DataError, match="`--reference` is"):
            read_references(path)
