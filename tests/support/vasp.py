"""The parts of VASP's outputs that hold structures and labels, with numbers of our own."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

KBAR = 1602.1766208


def vasp_stress(atoms: Atoms) -> np.ndarray:
    """(3, 3) in kbar, positive under compression."""
    return -KBAR * atoms.get_stress(voigt=False)


def rows(array: np.ndarray) -> str:
    return "".join("<v> " + " ".join(f"{value:.10f}" for value in row) + " </v>\n" for row in array)


def structure(atoms: Atoms, name: str = "") -> str:
    return (
        f'<structure{name}><crystal><varray name="basis">{rows(atoms.cell[:])}</varray></crystal>'
        f'<varray name="positions">{rows(atoms.get_scaled_positions(wrap=False))}</varray></structure>\n'
    )


def vasprun(frames: Sequence[Atoms], smearing: float) -> str:
    """A run whose energy at zero smearing is ``smearing`` above the free energy."""
    symbols = frames[0].get_chemical_symbols()
    kinds = list(dict.fromkeys(symbols))
    atoms = "".join(f"<rc><c>{s} </c><c> {kinds.index(s) + 1}</c></rc>" for s in symbols)
    text = '<?xml version="1.0"?>\n<modeling>\n<incar><i name="NELM">60</i></incar>\n'
    text += '<kpoints><varray name="kpointlist"></varray><varray name="weights"></varray></kpoints>\n'
    text += '<parameters><separator name="electronic"><i type="int" name="NELM">60</i></separator></parameters>\n'
    text += f'<atominfo><atoms>{len(symbols)}</atoms><array name="atoms"><set>{atoms}</set></array></atominfo>\n'
    text += structure(frames[0], ' name="initialpos"')
    for frame in frames:
        free = frame.get_potential_energy()
        energy = (
            f'<energy><i name="e_fr_energy">{free:.10f}</i><i name="e_0_energy">{free + smearing:.10f}</i></energy>'
        )
        text += f"<calculation><scstep>{energy}</scstep>{structure(frame)}"
        text += f'<varray name="forces">{rows(frame.get_forces())}</varray>'
        text += f'<varray name="stress">{rows(vasp_stress(frame))}</varray>{energy}</calculation>\n'
    return text + "</modeling>\n"


def outcar(frames: Sequence[Atoms], smearing: float) -> str:
    """The same as an OUTCAR; atoms have to be sorted by element."""
    symbols = frames[0].get_chemical_symbols()
    kinds = list(dict.fromkeys(symbols))
    potentials = "".join(f" POTCAR:    PAW_PBE {kind} 01Jan2001\n" for kind in kinds)
    text = " vasp.6.4.2\n" + potentials + potentials
    text += "   VRHFIN =" + "   VRHFIN =".join(f"{kind}: d10\n" for kind in kinds)
    text += "   ISPIN  =      1    spin polarized calculation?\n   NELM   =     60;\n"
    text += "   ions per type =   " + " ".join(f"{symbols.count(kind):4d}" for kind in kinds) + "\n"
    text += (
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=     8\n"
    )
    text += " k-points in reciprocal lattice and weights: one\n   0.0 0.0 0.0   1.000\n\n"
    for number, frame in enumerate(frames):
        free, stress = frame.get_potential_energy(), vasp_stress(frame)
        six = [stress[0, 0], stress[1, 1], stress[2, 2], stress[0, 1], stress[1, 2], stress[2, 0]]
        text += f"--------------------------------------- Iteration {number + 1:6d}(   1)  ---------------\n"
        text += "  FORCE on cell =-STRESS in cart. coord.  units (eV):\n"
        text += 13 * "  Contribution      0.00 0.00 0.00\n"
        text += "  in kB  " + " ".join(f"{value:14.7f}" for value in six) + "\n"
        text += f"  external pressure =  {np.trace(stress) / 3:14.5f} kB  Pullay stress =        0.00 kB\n\n"
        text += " VOLUME and BASIS-vectors are now :\n " + 83 * "-" + "\n  energy-cutoff  :      400.00\n"
        text += f"  volume of cell :  {frame.get_volume():.2f}\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        for row in frame.cell[:]:
            text += "".join(f"{value:16.10f}" for value in (*row, 0, 0, 0)) + "\n"
        text += "\n POSITION                                       TOTAL-FORCE (eV/Angst)\n " + "-" * 83 + "\n"
        for position, force in zip(frame.positions, frame.get_forces()):
            text += "".join(f"{value:16.10f}" for value in (*position, *force)) + "\n"
        text += " " + "-" * 83 + "\n    total drift:    0.0 0.0 0.0\n\n"
        text += (
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        )
        text += f"  free  energy   TOTEN  =   {free:18.8f} eV\n\n"
        text += f"  energy  without entropy=  {free:18.8f}  energy(sigma->0) = {free + smearing:18.8f}\n\n"
    return text
