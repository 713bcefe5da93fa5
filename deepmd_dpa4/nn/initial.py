"""Initial weights (theory 9.2). Every function returns a new parameter of the given shape."""

import math

import torch
from torch import Tensor, nn


class Initializer:
    """Draws initial weights from one seeded stream, so that a seed fixes a model.

    Parameters
    ----------
    dtype : torch.dtype
        Precision of the parameters; numbers are drawn in fp64.
    seed : int, tuple of int or None
        Seed; None draws one.
    """

    def __init__(self, dtype: torch.dtype, seed: int | tuple[int, ...] | None = None) -> None:
        self.dtype = dtype
        self.generator = torch.Generator()
        if seed is None:
            self.generator.seed()
        else:
            parts = seed if isinstance(seed, tuple) else (seed,)
            mixed = 0
            for part in parts:
                mixed = (mixed * 1000003 + part) % (2**63)
            self.generator.manual_seed(mixed)

    def constant(self, shape: list[int], value: float) -> nn.Parameter:
        """Fill with one value."""
        return nn.Parameter(torch.full(shape, value, dtype=self.dtype))

    def normal(self, shape: list[int], std: float) -> nn.Parameter:
        """Draw from a normal distribution of mean 0."""
        return self._parameter(torch.randn(shape, generator=self.generator, dtype=torch.float64) * std)

    def uniform(self, shape: list[int], bound: float) -> nn.Parameter:
        """Draw uniformly from [-bound, bound]."""
        return self._parameter((torch.rand(shape, generator=self.generator, dtype=torch.float64) * 2 - 1) * bound)

    def truncated(self, shape: list[int], fan_in: int, fan_out: int, gain: float = 1.0) -> nn.Parameter:
        """Draw normally, standard deviation 1/sqrt(fan_in + fan_out), cut at three standard deviations."""
        values = torch.empty(shape, dtype=torch.float64)
        nn.init.trunc_normal_(values, std=1.0, a=-3.0, b=3.0, generator=self.generator)
        return self._parameter(values * (gain / math.sqrt(fan_in + fan_out)))

    def matrix(self, rows: int, columns: int) -> nn.Parameter:
        """Draw a normal matrix of standard deviation 1/sqrt(rows + columns)."""
        return self.normal([rows, columns], 1.0 / math.sqrt(rows + columns))

    def type_table(self, ntypes: int, width: int) -> nn.Parameter:
        """Draw rows of all types, N(0, 1/sqrt(ntypes + width)), with a last row of zeros for padding atoms."""
        table = torch.randn([ntypes + 1, width], generator=self.generator, dtype=torch.float64)
        table = table / math.sqrt(ntypes + width)
        table[-1] = 0.0
        return self._parameter(table)

    def _parameter(self, values: Tensor) -> nn.Parameter:
        return nn.Parameter(values.to(self.dtype))
