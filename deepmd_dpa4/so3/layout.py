"""Index maps of the coefficients (l, m).

*Packed* order is l = 0..L and, inside a degree, m = -l..l: row ``p = l**2 + l + m``. The *edge* order groups
the coefficients of an edge frame by |m|: first m = 0 with l = 0..L; then for m = 1..M and l = m..L the pair
(l, -m), (l, +m). A group is thus one contiguous block on which an SO(2)-equivariant map is one matrix.
Source: theory 1.2, 1.3.
"""


def packed_index(degree: int, order: int) -> int:
    """Return the row of (l, m) in packed order."""
    return degree * degree + degree + order


def packed_degrees(lmax: int) -> list[int]:
    """List the degree of each of the ``(lmax + 1)**2`` packed rows."""
    return [degree for degree in range(lmax + 1) for _ in range(2 * degree + 1)]


def group_degrees(lmax: int, order: int) -> list[int]:
    """List the degrees l = m..L that carry the order ``m``."""
    return list(range(order, lmax + 1))


def group_size(lmax: int, order: int) -> int:
    """Count the rows of one group of the edge order: L + 1 for m = 0, else 2 (L - m + 1)."""
    return (lmax - order + 1) * (1 if order == 0 else 2)


def edge_rows(lmax: int, mmax: int) -> list[tuple[int, int]]:
    """List the kept (l, m) in edge order."""
    rows = [(degree, 0) for degree in range(lmax + 1)]
    for order in range(1, mmax + 1):
        for degree in group_degrees(lmax, order):
            rows += [(degree, -order), (degree, order)]
    return rows


def inverse_rotation_rescale(lmax: int, mmax: int) -> list[float]:
    r"""Compute :math:`\kappa_l = \sqrt{(2l+1)/(2M+1)}` for l > M, else 1, of each packed row (theory 1.6)."""
    return [((2 * degree + 1) / (2 * mmax + 1)) ** 0.5 if degree > mmax else 1.0 for degree in packed_degrees(lmax)]


def frame_orders(kmax: int) -> list[int]:
    """List the frame orders 0, -1, +1, -2, +2, ... of an SO(3) grid net (theory 5.4)."""
    return [0] + [sign * order for order in range(1, kmax + 1) for sign in (-1, 1)]


def frame_rows(lmax: int, kmax: int) -> list[tuple[int, int, int]]:
    """List the rows (l, m, index of k) of the live Wigner frames; those with |k| > l vanish and are left out."""
    return [
        (degree, order, slot)
        for degree in range(lmax + 1)
        for order in range(-degree, degree + 1)
        for slot, frame in enumerate(frame_orders(kmax))
        if abs(frame) <= degree
    ]
