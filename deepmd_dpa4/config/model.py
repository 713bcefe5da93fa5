"""Options of the model around descriptor and fitting network."""

from dataclasses import dataclass

from deepmd_dpa4.config.option import option, require, require_one_of

KERNELS = ("auto", "plain", "native", "triton")
BRIDGING_ENDS = ("step", "cutoff", "window")
RADIAL_OPTIMIZERS = ("auto", "muon", "adamw")


@dataclass(frozen=True, kw_only=True)
class BridgingConfig:
    """Zone bridging to a screened nuclear repulsion at short range (theory 7)."""

    bridging_method: str = option("none", "Short-range potential: `none` or `zbl`.")
    bridging_r_inner: float = option(0.5, "Distance, in `bridging_unit`, below which the network sees a frozen one.")
    bridging_r_outer: float = option(0.8, "Distance, in `bridging_unit`, above which the network sees the true one.")
    bridging_unit: str = option(
        "angstrom",
        "Unit of `bridging_r_inner` and `bridging_r_outer`: `angstrom`, or `contact`, the sum of the covalent radii of "
        "each pair of elements, H to Cm.",
    )
    bridging_end: str = option(
        "step",
        "Where the short-range potential ends: `step` at the cutoff, by a step; `cutoff`, smoothly between "
        "`bridging_r_outer` and the cutoff; `window`, smoothly between `bridging_r_inner` and `bridging_r_outer`, so "
        "that the network has nothing to cancel at the distances of the data.",
    )

    def __post_init__(self) -> None:
        require_one_of("bridging_method", self.bridging_method.lower(), ("none", "zbl"))
        require_one_of("bridging_unit", self.bridging_unit, ("angstrom", "contact"))
        require_one_of("bridging_end", self.bridging_end, BRIDGING_ENDS)
        require(
            0 < self.bridging_r_inner < self.bridging_r_outer,
            "bridging_r_inner",
            self.bridging_r_inner,
            f"must be positive and below `bridging_r_outer` = {self.bridging_r_outer}",
        )

    @property
    def enabled(self) -> bool:
        """Whether a short-range potential is added."""
        return self.bridging_method.lower() != "none"

    @property
    def in_contacts(self) -> bool:
        """Whether distances are fractions of the sum of the covalent radii of a pair."""
        return self.bridging_unit == "contact"


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How the model is run."""

    use_compile: bool = option(
        False,
        "Compile energy, forces and their derivatives on CUDA devices, in the first steps, for all sizes of systems. "
        "If that fails, one warning says so and training goes on without. On CPUs it does not pay: the model runs "
        "native or plain kernels, and a line in the log says so.",
    )
    activation_memory: float | None = option(
        None,
        "Memory, in GB, for what compiled code keeps between the passes of a training step; what does not fit is "
        "computed again. `null` = half of what the device has free, `0` = nothing is kept.",
    )
    enable_tf32: bool = option(True, "Allow TF32 matrix products in training on CUDA devices that have them.")
    kernels: str = option(
        "auto",
        "Kernels: `auto` = on CPUs native ones if this machine has or can compile them, on CUDA devices torch only; "
        "`plain` = torch only; `native` = an error on CPUs where the native ones cannot be had, torch only on CUDA "
        "devices; `triton` = on CUDA devices operators in Triton for the options that they serve, an error where there "
        "is no Triton, torch only on CPUs.",
    )

    def __post_init__(self) -> None:
        require_one_of("kernels", self.kernels, KERNELS)
        memory = self.activation_memory
        require(memory is None or memory >= 0, "activation_memory", memory, "must not be negative, or be null")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the weights are trained (theory 8)."""

    radial_optimizer: str = option(
        "auto",
        "What the optimizer HybridMuon updates the two matrices with that read the radial basis: `adamw`, `muon` as in "
        "DeePMD-kit 3.2, or `auto` = `adamw` if `basis_type` ends with `/fix`, else `muon`. Without effect under "
        "optimizers that treat all matrices alike, such as AdamW.",
    )

    def __post_init__(self) -> None:
        require_one_of("radial_optimizer", self.radial_optimizer, RADIAL_OPTIMIZERS)

    def radial_adamw(self, fixed_basis: bool) -> bool:
        """Tell whether AdamW updates the two matrices, for a radial basis that is fixed or not."""
        return fixed_basis if self.radial_optimizer == "auto" else self.radial_optimizer == "adamw"


@dataclass(frozen=True, kw_only=True)
class LowRankConfig:
    """Fine-tuning by low-rank updates of the weights of the backbone (theory 8)."""

    rank: int = option(8, "Rank r of the update of each weight.")
    alpha: float | None = option(None, "Updates are scaled by alpha / r; null stands for alpha = r.")

    def __post_init__(self) -> None:
        require(self.rank > 0, "rank", self.rank, "must be positive")
        require(self.alpha is None or self.alpha > 0, "alpha", self.alpha, "must be positive or null")

    @property
    def scaling(self) -> float:
        """Factor of the updates."""
        return 1.0 if self.alpha is None else self.alpha / self.rank
