"""Energy fitting network ``dpa4_ener`` (theory 6.2)."""

import torch
from torch import Tensor, nn

from deepmd_dpa4.config import FittingConfig
from deepmd_dpa4.fitting.case_film import CaseFilm
from deepmd_dpa4.nn.activation import Activation
from deepmd_dpa4.nn.feedforward import automatic_width
from deepmd_dpa4.nn.initial import Initializer
from deepmd_dpa4.nn.linear import MatrixLinear


class GatedLayer(nn.Module):
    r"""Gated linear unit, :math:`[v, g] = hW + b`, :math:`h \leftarrow v \odot \mathrm{act}(g)`."""

    def __init__(self, width_in: int, width_out: int, activation: str, init: Initializer) -> None:
        super().__init__()
        self.width = width_out
        self.linear = MatrixLinear(width_in, 2 * width_out, True, init)
        self.activation = Activation(activation)

    def forward(self, h: Tensor) -> Tensor:
        both = self.linear(h)
        return both[:, : self.width] * self.activation(both[:, self.width :])


class GatedMLP(nn.Module):
    """Gated layers and a linear output of width 1, conditioned on the task if ``cases`` > 0."""

    def __init__(self, width_in: int, hidden: list[int], config: FittingConfig, cases: int, init: Initializer) -> None:
        super().__init__()
        widths = [width_in, *hidden]
        layers = [GatedLayer(a, b, config.activation_function, init) for a, b in zip(widths, hidden, strict=False)]
        self.hidden_layers = nn.ModuleList(layers)
        self.case_film = CaseFilm(cases, width_in, widths, config.activation_function, init) if cases > 0 else None
        self.output_layer = MatrixLinear(widths[-1], 1, config.bias_out, init)

    def forward(self, h: Tensor, case: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (N, width) to energies (N, 1) and the last hidden features."""
        code = self.case_film.code(case) if self.case_film is not None else case
        target = 0
        if self.case_film is not None:
            h = self.case_film(h, code, target)
        for layer in self.hidden_layers:
            h = layer(h)
            target += 1
            if self.case_film is not None:
                h = self.case_film(h, code, target)
        return self.output_layer(h), h


class Networks(nn.Module):
    """One network for all types, under the key that DeePMD-kit uses for collections of networks."""

    def __init__(self, network: GatedMLP) -> None:
        super().__init__()
        self.networks = nn.ModuleList([network])


class EnergyFitting(nn.Module):
    """Features of each atom and conditions to energies (eV).

    Parameters
    ----------
    config : FittingConfig
        Options.
    ntypes : int
        Number of atom types.
    width : int
        Width C of the features.
    dtype : torch.dtype
        Precision of the parameters.
    """

    bias_atom_e: Tensor
    fparam_avg: Tensor | None
    fparam_inv_std: Tensor | None
    aparam_avg: Tensor | None
    aparam_inv_std: Tensor | None
    case_embd: Tensor | None

    def __init__(self, config: FittingConfig, ntypes: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        init = Initializer(dtype, config.seed)
        self.dtype = dtype
        self.cases, self.case_film = config.dim_case_embd, config.case_film_embd
        self.vacuum_ref = config.vacuum_ref
        self.n_frame, self.n_atomic = config.numb_fparam, config.numb_aparam
        self.has_bias = config.bias_out
        appended = 0 if self.case_film else self.cases
        width_in = width + self.n_frame + self.n_atomic + appended
        hidden = [n or automatic_width(width_in, True) for n in config.neuron]
        network = GatedMLP(width_in, hidden, config, self.cases if self.case_film else 0, init)
        self.filter_layers = Networks(network)
        self.register_buffer("bias_atom_e", torch.zeros([ntypes, 1], dtype=torch.float64))
        self.register_buffer("fparam_avg", self._statistics(self.n_frame, 0.0))
        self.register_buffer("fparam_inv_std", self._statistics(self.n_frame, 1.0))
        self.register_buffer("aparam_avg", self._statistics(self.n_atomic, 0.0))
        self.register_buffer("aparam_inv_std", self._statistics(self.n_atomic, 1.0))
        self.register_buffer("case_embd", torch.zeros([self.cases], dtype=dtype) if self.cases > 0 else None)

    @staticmethod
    def _statistics(size: int, value: float) -> Tensor | None:
        return torch.full([size], value, dtype=torch.float64) if size > 0 else None

    def evaluate(self, features: Tensor, fparam: Tensor | None, aparam: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute energies without bias, (N,) float64 in eV, and the last hidden features, (N, width).

        Parameters
        ----------
        features : Tensor
            (N, C).
        fparam : Tensor, optional
            Frame parameters of the frame of each atom, (N, numb_fparam).
        aparam : Tensor, optional
            Atomic parameters, (N, numb_aparam).

        Raises
        ------
        ValueError
            If parameters that the network needs are missing.
        """
        network = self.filter_layers.networks[0]
        parts = [features.to(self.dtype)]
        mean, inverse = self.fparam_avg, self.fparam_inv_std
        if mean is not None and inverse is not None:
            if fparam is None:
                raise ValueError("this model needs `fparam`: frame parameters")
            parts.append(((fparam - mean) * inverse).to(self.dtype))
        mean, inverse = self.aparam_avg, self.aparam_inv_std
        if mean is not None and inverse is not None:
            if aparam is None:
                # a rank without atoms is handed none
                if features.shape[0] > 0:
                    raise ValueError("this model needs `aparam`: atomic parameters")
                aparam = mean.new_zeros([0, mean.shape[0]])
            parts.append(((aparam - mean) * inverse).to(self.dtype))
        case = self.case_embd
        if case is None:
            case = torch.zeros([0], dtype=self.dtype, device=features.device)
        elif not self.case_film:
            parts.append(case.to(self.dtype).unsqueeze(0).expand(features.shape[0], -1))
        energy, hidden = network(torch.cat(parts, dim=1), case.to(self.dtype))
        return energy.squeeze(1).to(torch.float64), hidden

    def last_layer(self, hidden: Tensor) -> Tensor:
        """Complete the last hidden features to what the last layer is linear in: a one for its bias, if it has one.

        Parameters
        ----------
        hidden : Tensor
            (N, W).

        Returns
        -------
        Tensor
            (N, W) or (N, W + 1), float64.
        """
        features = hidden.to(torch.float64)
        if self.has_bias:
            features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
        return features
