"""Options of the energy fitting network (theory 6.2)."""

from dataclasses import dataclass

from deepmd_dpa4.config.descriptor import ACTIVATIONS, PRECISIONS
from deepmd_dpa4.config.option import option, require, require_one_of


@dataclass(frozen=True, kw_only=True)
class FittingConfig:
    """Options of ``dpa4_ener``."""

    neuron: tuple[int, ...] = option(
        (0,), "Hidden widths; 0 = 8/3 of the input width, rounded up to a multiple of 32. `[]` = linear."
    )
    activation_function: str = option("silu", "Activation of the gates.")
    precision: str = option("float32", "Precision of the parameters: `float32` or `float64`.")
    bias_out: bool = option(False, "Bias of the last layer.")
    numb_fparam: int = option(0, "Number of frame parameters, for instance an electronic temperature.")
    numb_aparam: int = option(0, "Number of atomic parameters.")
    default_fparam: tuple[float, ...] | None = option(None, "Frame parameters of frames that give none.")
    dim_case_embd: int = option(0, "Number of tasks of a multi-task training that share this network; 0 = no code.")
    case_film_embd: bool = option(
        False, "Scale and shift the features with the task code instead of appending the code to the input."
    )
    vacuum_ref: bool = option(
        False,
        "Refer energies to isolated atoms: an atom without neighbours gets its entry of `model/preset_out_bias`, which "
        "has to be given. Forces of the same weights do not change.",
    )
    resnet_dt: bool = option(False, "Accepted for compatibility; without effect.")
    rcond: float | None = option(None, "Condition number of the least-squares fit of the energy bias.")
    trainable: bool | tuple[bool, ...] = option(True, "Train the fitting network.")
    seed: int | tuple[int, ...] | None = option(None, "Seed of the initial weights.")

    def __post_init__(self) -> None:
        require(all(width >= 0 for width in self.neuron), "neuron", list(self.neuron), "must not be negative")
        require_one_of("activation_function", self.activation_function, ACTIVATIONS)
        require_one_of("precision", self.precision, PRECISIONS)
        for name in ("numb_fparam", "numb_aparam", "dim_case_embd"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must not be negative")
        given = self.default_fparam
        require(
            given is None or len(given) == self.numb_fparam,
            "default_fparam",
            list(given or ()),
            f"must hold `numb_fparam` = {self.numb_fparam} values",
        )
        require(
            not self.case_film_embd or self.dim_case_embd > 0,
            "case_film_embd",
            self.case_film_embd,
            "needs `dim_case_embd` > 0",
        )
