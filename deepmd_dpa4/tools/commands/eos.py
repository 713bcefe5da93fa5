"""``dpa4 eos``: energy against volume."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from deepmd_dpa4.tools.commands.model_argument import add_charge_spin, add_model, add_output, open_to_plot, title_of
from deepmd_dpa4.tools.data.errors import DataError, require


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "eos",
        help="energy against volume, equilibrium volume and bulk modulus",
        description="Scale a crystal with the atoms in it, without relaxing them, and fit a third-order "
        "Birch-Murnaghan equation of state to the energies of a model.",
    )
    add_model(parser)
    parser.add_argument("structure", metavar="STRUCTURE", type=Path, help="any file that ASE reads; its last frame")
    parser.add_argument("--strain", type=float, default=0.1, help="volumes within this fraction; default %(default)s")
    parser.add_argument("--points", type=int, default=11, help="number of volumes; default %(default)s")
    add_charge_spin(parser)
    add_output(parser, "eos.png")
    parser.set_defaults(run=run)


def run(options: Namespace) -> None:
    """Evaluate, fit and draw; the results on stdout.

    Raises
    ------
    DataError, FileNotFoundError, ValueError
        As :func:`deepmd_dpa4.tools.commands.model_argument.open_to_plot` and
        :func:`deepmd_dpa4.tools.plots.eos.energy_volume`, or if the structure cannot be read.
    """
    require("ase", "plot", "`dpa4 eos`")
    atoms = read_structure(options.structure)
    evaluator = open_to_plot(options)
    from deepmd_dpa4.tools.plots.eos import draw, energy_volume

    curve = energy_volume(evaluator, atoms, options.strain, options.points, options.charge_spin)
    draw(curve, title_of(options, atoms.get_chemical_formula()), options.output)
    print(f"V0 = {curve.v0:.4f} A^3/atom")
    print(f"E0 = {curve.e0:.6f} eV/atom")
    print(f"B0 = {curve.b0:.2f} GPa")
    print(f"the fit is within {1000 * curve.deviation:.3g} meV/atom (RMS)")
    print(options.output)


def read_structure(path: Path) -> Any:
    """Read the last frame of a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If ASE cannot read it.
    """
    from ase.io import read

    if not path.exists():
        raise FileNotFoundError(f"`STRUCTURE` is {path} but there is no such file")
    try:
        return read(path)
    # ASE's readers raise whatever they stumble over
    except Exception as error:
        raise DataError(f"`STRUCTURE` is {path}, which ASE cannot read: {type(error).__name__}: {error}") from None
