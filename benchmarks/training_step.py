"""How long does a training step take, and how much memory?

Energy, forces, a loss of both and its gradient with respect to all parameters, without optimiser and data loading;
fp32, both implementations with the same weights, each in a process of its own. Besides a box of liquid water, a batch
of molecules, 16 clusters of 9 water molecules cut from the liquid, without a cell, and one of fewer, 5 clusters of 5.
"""

import systems
from compare import Bench, parser


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__).parse_args(arguments)
    bench = Bench("training_step", __doc__, options)
    small = options.quick
    cases = [systems.water(96 if small else 192), systems.clusters(2 if small else 16, 9)]
    if not small:
        cases.append(systems.clusters(5, 5))
    for name in options.models:
        for spec in cases:
            bench.compare("training step", name, spec)


if __name__ == "__main__":
    main()
