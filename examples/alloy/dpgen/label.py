"""Label ``POSCAR`` of the current folder with EMT and write ``labelled.traj``, as DP-GEN asks a custom labeller to."""

from ase.calculators.emt import EMT
from ase.io import read, write


def main() -> None:
    atoms = read("POSCAR")
    atoms.calc = EMT()
    atoms.get_forces(), atoms.get_stress()
    write("labelled.traj", atoms)
    print(f"{len(atoms)} atoms, {atoms.get_potential_energy():.6f} eV")


if __name__ == "__main__":
    main()
