"""Symbols, covalent radii and ground states of the chemical elements."""

from deepmd_dpa4.config.option import ConfigError

ELEMENTS = (  # noqa: SIM905  (a list of 118 strings would fill a page)
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt "
    "Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv "
    "Ts Og"
).split()
"""In the order of the atomic number, from 1 on."""

_RADII = (  # noqa: SIM905
    "0.31 0.28 1.28 0.96 0.84 0.76 0.71 0.66 0.57 0.58 1.66 1.41 1.21 1.11 1.07 1.05 1.02 1.06 2.03 1.76 1.70 1.60 "
    "1.53 1.39 1.39 1.32 1.26 1.24 1.32 1.22 1.22 1.20 1.19 1.20 1.20 1.16 2.20 1.95 1.90 1.75 1.64 1.54 1.47 1.46 "
    "1.42 1.39 1.45 1.44 1.42 1.39 1.39 1.38 1.39 1.40 2.44 2.15 2.07 2.04 2.03 2.01 1.99 1.98 1.98 1.96 1.94 1.92 "
    "1.92 1.89 1.90 1.87 1.87 1.75 1.70 1.62 1.51 1.44 1.41 1.36 1.36 1.32 1.45 1.46 1.48 1.40 1.50 1.50 2.60 2.21 "
    "2.15 2.06 2.00 1.96 1.90 1.87 1.80 1.69"
).split()
COVALENT_RADII = {symbol: float(radius) for symbol, radius in zip(ELEMENTS, _RADII, strict=False)}
"""In Angstrom, of H to Cm; Cordero et al., Dalton Trans. 2832 (2008), low spin for Mn, Fe and Co."""

_UNPAIRED = (
    "10"
    "10123210"
    "10123210"
    "101236543210123210"
    "101256543010123210"
    "10123456785432101234543210123210"
    "10123456785432101234543210123210"
)


def multiplicity(symbol: str) -> int | None:
    """Spin multiplicity of the neutral atom in the configuration of its ground state; None for other names.

    It is the number of unpaired electrons after Hund's rule, plus one.
    """
    return int(_UNPAIRED[ELEMENTS.index(symbol)]) + 1 if symbol in ELEMENTS else None


def covalent_radii(type_map: list[str], where: str = "model") -> list[float]:
    """Look up the covalent radii of types in Angstrom.

    Raises
    ------
    ConfigError
        If a type is not the symbol of an element that has one.
    """
    for symbol in type_map:
        if symbol not in COVALENT_RADII:
            raise ConfigError(
                f"`{where}/type_map` holds {symbol!r} but `{where}/bridging_unit` = 'contact' needs symbols of "
                "elements with a covalent radius, H to Cm"
            )
    return [COVALENT_RADII[symbol] for symbol in type_map]


def contact(first: str, second: str) -> float | None:
    """Sum of the covalent radii of two elements in Angstrom; None if one of them has none."""
    radii = [COVALENT_RADII.get(symbol) for symbol in (first, second)]
    return None if None in radii else sum(radius for radius in radii if radius is not None)
