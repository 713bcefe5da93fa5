"""Task condition of a shared fitting network (theory 6.2)."""

import math

import torch
from torch import Tensor, nn

from deepmd_dpa4.nn.activation import Activation
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import MatrixLinear


class CaseFilm(nn.Module):
    r"""Scale and shift features by a code of the task.

    With code :math:`= \mathrm{act}(z A_1) A_2` of the one-hot task vector z and, for each target t,
    :math:`[\gamma, \beta] = \mathrm{code}\,P_t`:

    .. math:: h \leftarrow h \odot (1 + e^{a_t} \tanh\gamma) + e^{b_t} \tanh\beta.

    Targets are the descriptor and the output of each hidden layer; all :math:`P_t` start at zero.
    """

    def __init__(self, cases: int, channels: int, targets: list[int], activation: str, init: Initializer) -> None:
        super().__init__()
        hidden = 32 * math.ceil(4 * cases / 32)
        self.case_layer1 = MatrixLinear(cases, hidden, False, init)
        self.case_layer2 = MatrixLinear(hidden, 4 * channels, False, init)
        self.activation = Activation(activation)
        self.projectors = nn.ParameterList([init.constant([4 * channels, 2 * width], 0.0) for width in targets])
        self.adam_case_film_scale_strength_log = init.constant([len(targets)], math.log(0.01))
        self.adam_case_film_shift_strength_log = init.constant([len(targets)], math.log(0.01))

    def code(self, case: Tensor) -> Tensor:
        """Compute the code of a one-hot task vector (cases,): (4 C,)."""
        return self.case_layer2(self.activation(self.case_layer1(case)))

    def forward(self, h: Tensor, code: Tensor, target: int) -> Tensor:
        """Condition the features ``h`` (N, width) of one target."""
        modulation = h.new_zeros([2 * h.shape[1]])
        for index, projector in enumerate(self.projectors):
            if index == target:
                modulation = code @ projector
        scale, shift = modulation[: h.shape[1]], modulation[h.shape[1] :]
        h = h * (1.0 + torch.exp(self.adam_case_film_scale_strength_log[target]) * torch.tanh(scale))
        return h + torch.exp(self.adam_case_film_shift_strength_log[target]) * torch.tanh(shift)
