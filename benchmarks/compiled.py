"""How fast and how lean are training and inference on a graphics card, compiled, at the best settings of both sides?

Training steps compiled and with bfloat16 blocks, then energies and forces in fp32, with each way in which the built-in
DPA4 can compile or replace its inference. The first run, in which both sides compile, is not counted. With
``--device cpu`` this package runs native kernels instead.
"""

import systems
from compare import Bench, parser

COMPILED = "use_compile=true"
TRAINING = [COMPILED, "descriptor/use_amp=true"]
INFERENCE = {
    "compiled": ["DP_COMPILE_INFER=1"],
    "compiled, Triton": ["DP_COMPILE_INFER=1", "DP_TRITON_INFER=2"],
    "compiled, CuTe": ["DP_COMPILE_INFER=1", "DP_CUTE_INFER=1"],
}
"""Environment of the built-in DPA4."""


def main(arguments: list[str] | None = None) -> None:
    command = parser(__doc__)
    command.set_defaults(device="cuda", models=["neo", "air"])
    options = command.parse_args(arguments)
    bench = Bench("compiled", __doc__, options)
    small, given, environment = options.quick, list(options.set), list(options.builtin_env)
    # the built-in DPA4 needs minutes to compile: not for a look at whether the script works
    options.set = given + (TRAINING[1:] if small else TRAINING)
    for name in options.models:
        for atoms in (96,) if small else (384, 3072):
            bench.compare("training step", name, systems.water(atoms))
    options.set = given + ([] if small else [COMPILED])
    for label, variables in {"plain": []}.items() if small else INFERENCE.items():
        options.builtin_env = environment + variables
        for name in options.models:
            quantity = f"energy and forces, built-in {label}"
            bench.compare("energy and forces", name, systems.water(96 if small else 3840), quantity=quantity)


if __name__ == "__main__":
    main()
