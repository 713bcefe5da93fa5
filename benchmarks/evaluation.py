"""How long do energy and forces of liquid water take from Python, and how much memory?

One call of the model, fp32, both implementations with the same weights, each in a process of its own.
"""

import systems
from compare import Bench, parser


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.add_argument("--atoms", type=int, nargs="+", help="multiples of 96")
    options = command.parse_args(arguments)
    bench = Bench("evaluation", __doc__, options)
    for name in options.models:
        for atoms in options.atoms or bench.atom_counts:
            bench.compare("energy and forces", name, systems.water(atoms))


if __name__ == "__main__":
    main()
