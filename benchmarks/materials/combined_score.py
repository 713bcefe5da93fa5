"""What is the combined score of Matbench Discovery made of?

CPS = 0.5 F1 + 0.4 (1 - SRME / 2) + 0.1 (1 - RMSD / 0.15): the classification of stable crystals (unique prototypes),
the thermal conductivity of 103 crystals, and the distance of relaxed structures. Takes the three numbers, or prints
the published rows with the score recomputed. A second.
"""

import argparse
from dataclasses import dataclass

F1, SRME, RMSD = 0.5, 0.4, 0.1
"""Weights of the three parts."""
WORST_SRME, WORST_RMSD = 2.0, 0.15
"""Errors that give a part of zero."""


@dataclass(frozen=True)
class Entry:
    """A row of the board: errors, and the score that stands there."""

    model: str
    f1: float
    srme: float
    rmsd: float
    published: float


# Parts: F1 (unique prototypes), kappa_SRME and RMSD (symprec 1e-2) in the files models/*/*.yml of the repository
# janosh/matbench-discovery, June 2026. Scores: the board at that time, three digits.
PUBLISHED = (
    Entry("MACE-MP-0", 0.669, 0.6823, 0.0915, 0.637),
    Entry("eSEN-30M-MP", 0.831, 0.3398, 0.0752, 0.797),
    Entry("EquiformerV3+DeNS-MP", 0.863, 0.2753, 0.0701, 0.830),
    Entry("DPA-4.0.1-Pro-MPtrj", 0.857, 0.2114, 0.0687, 0.840),
)


def score(f1: float, srme: float, rmsd: float) -> float:
    """Combine the parts; errors beyond the worst count as the worst.

    Raises
    ------
    ValueError
        If F1 is not between 0 and 1, or an error is negative.
    """
    if not 0 <= f1 <= 1:
        raise ValueError(f"`--f1` is {f1} but must be between 0 and 1")
    for name, value in (("srme", srme), ("rmsd", rmsd)):
        if not value >= 0:
            raise ValueError(f"`--{name}` is {value} but must be positive or zero")
    conductivity = 1 - min(srme, WORST_SRME) / WORST_SRME
    structure = 1 - min(rmsd, WORST_RMSD) / WORST_RMSD
    return F1 * f1 + SRME * conductivity + RMSD * structure


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("f1", "srme", "rmsd"):
        parser.add_argument(f"--{name}", type=float)
    options = parser.parse_args(arguments)
    given = [options.f1, options.srme, options.rmsd]
    if None not in given:
        print(f"{score(*given):.3f}")
        return
    if given != [None] * 3:
        parser.error("--f1, --srme and --rmsd belong together")
    for entry in PUBLISHED:
        print(f"{entry.model}: {score(entry.f1, entry.srme, entry.rmsd):.4f}, published {entry.published:.3f}")


if __name__ == "__main__":
    main()
