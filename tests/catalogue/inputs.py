"""Mistakes in the input of a training."""

from pathlib import Path
from typing import Any

import deepmd.main  # noqa: F401  (loads the schemas, as `dp` does)
import deepmd.pt.entrypoints.main as host

from tests.catalogue.case import Case, Kind
from tests.catalogue.desk import LEFT_OUT, Desk, changed, shown
from tests.support import inputs

SINGLE = {"model": inputs.model()} | inputs.training(Path("data"))
D, F = "model/descriptor/", "model/fitting_net/"


def check(document: dict[str, Any]) -> object:
    """Check an input as ``dp --pt train`` does, up to the data, which are not there."""
    model = document["model"]
    if "model_dict" in model:
        document["model"], _ = host.preprocess_shared_params(model)
    return host.normalize(document, multi_task="model_dict" in model)


def wrong(path: str, value: Any, remedy: str, *says: str, **others: Any) -> Case:
    """An option of a single model; ``others`` are options beside it that make it wrong."""
    beside = path.rpartition("/")[0]

    def call(desk: Desk) -> object:
        document = SINGLE
        for name, more in others.items():
            document = changed(document, f"{beside}/{name}", more)
        return check(changed(document, path, value))

    also = "".join(f", with `{name}: {shown(more)}`" for name, more in others.items())
    given = f"`{path}` left out" if value is LEFT_OUT else f"`{path}: {shown(value)}`"
    return Case(given + also, call, (f"`{path}`", *says), remedy)


NUMBER = "Give a number without quotes."
WHOLE = "Give a whole number."
LIST = "Give as many entries as the message says."
FEWER_STEPS = "Raise `numb_steps`, or lower `warmup_steps`; 0 is no warm-up."
RATE = "Give a positive rate; 0.001 is usual."
ONE_OF = "Take one of the names in the message."
SPELLING = "Correct the name; [parameters](parameters.md) lists all."
LARGER = "Raise the value to what the message says, or leave the option out."

GEOMETRY = (
    wrong(D + "rcut", -1.0, "Give the cutoff in Å; 6 is usual.", "is -1.0", "must be positive"),
    wrong(D + "rcut", 0.0, "Give the cutoff in Å; 6 is usual.", "is 0.0", "must be positive"),
    wrong(D + "rcut", "6", NUMBER, "is '6'", "must be a number"),
    wrong(D + "rcut", True, NUMBER, "is True", "must be a number"),
    wrong(D + "rcut", float("inf"), "Give a finite cutoff in Å.", "is inf", "must be finite"),
    wrong(D + "rcut", float("nan"), "Give a finite cutoff in Å.", "is nan", "must be finite"),
    wrong(
        D + "sel", "all", 'Leave `sel` out or give `"auto"`: no neighbour is ever dropped.', "'all'", '"auto[:factor]"'
    ),
    wrong(D + "sel", "auto:abc", 'Give a factor such as `"auto:1.1"`, or leave `sel` out.', "'auto:abc'"),
    wrong(D + "sel", -5, "Give a positive number, or leave `sel` out.", "is -5", "positive numbers"),
    wrong(D + "sel", [30, 1.5], WHOLE, "is [30, 1.5]", "must be an integer or a list of integers or a string"),
    wrong(D + "env_exp", [7], "Give two exponents, such as `[7, 5]`.", "is [7]", "integer"),
    wrong(D + "env_exp", [7, 0], "Give two exponents, such as `[7, 5]`.", "is [7, 0]", "at least 1"),
    wrong(D + "env_exp", 0, "Give an exponent such as 5.", "is 0", "at least 1"),
    wrong(D + "env_exp", 5.0, WHOLE, "is 5.0", "must be an integer or a list of integers"),
    wrong(D + "basis_type", "bessel/fixed", ONE_OF, "is 'bessel/fixed'", "'bessel/fix'"),
    wrong(D + "basis_type", "fourier", ONE_OF, "is 'fourier'", "'bessel', 'gaussian'"),
    wrong(D + "basis_type", None, ONE_OF, "is None", "must be a string"),
    wrong(D + "n_radial", 0, LARGER, "is 0", "at least 1"),
    wrong(D + "radial_mlp", [-1], "Give widths, or 0 for the width `channels`.", "is [-1]", "must not be negative"),
    wrong(D + "radial_mlp", ["a"], "Give a list of whole numbers.", "is ['a']", "must be a list of integers"),
    wrong(D + "radial_mlp", 3, "Put the number into brackets.", "is 3", "must be a list of integers"),
    wrong(D + "eps", 0.0, "Leave `eps` out.", "is 0.0", "must be positive"),
    wrong(D + "exclude_types", [[0, 5]], "Count types from 0 in `type_map`.", "[0, 5]", "below 2"),
    wrong(D + "exclude_types", [[0, 1, 1]], "Give pairs, such as `[[0, 1]]`.", "[[0, 1, 1]]", "a list of"),
)
NETWORK = (
    wrong(D + "channels", 0, LARGER, "is 0", "at least 1"),
    wrong(D + "channels", "64", NUMBER, "is '64'", "must be an integer"),
    wrong(D + "channels", 64.5, WHOLE, "is 64.5", "must be an integer"),
    wrong(D + "chanels", 8, SPELLING, "not an option", "did you mean `channels`?"),
    wrong(D + "mixing_layer", 3, SPELLING, "not an option", "did you mean `mixing_layers`?"),
    wrong(D + "zzz", 3, SPELLING, "is not an option of DPA4"),
    wrong(D + "default_chg_spin", [0.0], "Give both, such as `[0, 1]`.", "[0.0]", "a charge and a multiplicity"),
    wrong(D + "lmax", -1, LARGER, "is -1", "must not be negative"),
    wrong(D + "mmax", 3, "Lower `mmax`, or raise `lmax`.", "is 3", "between 0 and `lmax` = 1"),
    wrong(D + "n_blocks", "three", NUMBER, "is 'three'", "must be an integer"),
    wrong(D + "n_blocks", -1, LARGER, "is -1", "at least 1"),
    wrong(D + "l_schedule", [1, 2], "Sort the degrees from high to low.", "is [1, 2]", "do not increase"),
    wrong(D + "l_schedule", [1, -1], "Give degrees of 0 or more.", "is [1, -1]", "degrees"),
    wrong(D + "m_schedule", [1], LIST, "is [1]", "one order <= degree for [2, 1]", l_schedule=[2, 1]),
    wrong(D + "m_schedule", [2, 2], "Lower the orders to the degrees.", "is [2, 2]", "[2, 1]", l_schedule=[2, 1]),
    wrong(D + "mixing_layers", -1, LARGER, "is -1", "must not be negative"),
    wrong(D + "radial_so2_mode", "channel", ONE_OF, "is 'channel'", "'degree_channel'"),
    wrong(D + "radial_so2_rank", -1, LARGER, "is -1", "must not be negative"),
    wrong(D + "n_focus", 0, LARGER, "is 0", "at least 1"),
    wrong(D + "focus_dim", -1, LARGER, "is -1", "must not be negative"),
    wrong(D + "n_atten_head", -1, LARGER, "is -1", "must not be negative"),
    wrong(D + "n_atten_head", 3, "Take a divisor of the number in the message.", "is 3", "width of a focus stream, 8"),
    wrong(D + "kmax", -1, LARGER, "is -1", "must not be negative"),
    wrong(D + "kmax", 4, "Lower `kmax`, or raise `lmax`.", "is 4", "the highest degree, 1", ffn_so3_grid=True),
    wrong(D + "grid_mlp", [True, False], LIST, "is [True, False]", "3 entries"),
    wrong(D + "grid_branch", [0, 1], LIST, "is [0, 1]", "3 entries"),
    wrong(D + "grid_branch", [0, 0, -1], "Give 0 or more for each.", "-1", "must not be negative"),
    wrong(D + "s2_activation", [True], LIST, "is [True]", "2 entries"),
    wrong(D + "lebedev_quadrature", [True, True, True], LIST, "is [True, True, True]", "2 entries"),
    wrong(D + "ffn_neurons", -1, LARGER, "is -1", "must not be negative"),
    wrong(D + "ffn_blocks", 0, LARGER, "is 0", "at least 1"),
    wrong(D + "so3_readout", "branch", ONE_OF, "is 'branch'", "'none', 'glu', 'mlp'"),
    wrong(D + "readout_layers", 0, LARGER, "is 0", "at least 1"),
    wrong(D + "edge_norm", 1, "Write `true` or `false`.", "is 1", "must be true or false"),
    wrong(D + "sandwich_norm", [True, False], LIST, "is [True, False]", "four booleans"),
    wrong(D + "sandwich_norm", [0, 1, 1, 0], "Write `true` or `false`.", "is [0, 1, 1, 0]", "a list of true and false"),
    wrong(D + "activation_function", "swish", ONE_OF + " `silu` is another name of `swish`.", "is 'swish'", "'silu'"),
    wrong(D + "precision", "float8", ONE_OF, "is 'float8'", "'float32'"),
    wrong(D + "seed", "one", NUMBER, "is 'one'", "must be an integer or a list of integers or null"),
    wrong("model/descriptor", 3, "Write the options into braces.", "is 3", "a section of options"),
    wrong(D + "type", "dpa5", "Write `dpa4`.", "is 'dpa5'", "did you mean 'dpa4'?"),
)
FITTING = (
    wrong(F + "neuron", [-1], "Give widths, or 0 for the default.", "is [-1]", "must not be negative"),
    wrong(F + "neuron", 240, "Put the number into brackets.", "is 240", "must be a list of integers"),
    wrong(F + "widths", [3], SPELLING, "is not an option of DPA4"),
    wrong(F + "activation_function", "swish", ONE_OF, "is 'swish'", "'silu'"),
    wrong(F + "precision", "float8", ONE_OF, "is 'float8'", "'float32'"),
    wrong(F + "numb_fparam", -1, LARGER, "is -1", "must not be negative"),
    wrong(F + "numb_aparam", -1, LARGER, "is -1", "must not be negative"),
    wrong(F + "dim_case_embd", -1, LARGER, "is -1", "must not be negative"),
    wrong(F + "default_fparam", [1.0], LIST, "[1.0]", "`numb_fparam` = 2 values", numb_fparam=2),
    wrong(F + "default_fparam", [float("inf")], "Give finite numbers.", "[inf]", "must be finite", numb_fparam=1),
    wrong(F + "case_film_embd", True, "Set `dim_case_embd` to the number of tasks.", "is True", "`dim_case_embd` > 0"),
    wrong(F + "rcond", "small", "Give a number, or leave it out.", "is 'small'", "must be a number or null"),
    wrong(F + "type", "enr", "Write `dpa4_ener`.", "is 'enr'"),
)
MODEL = (
    wrong("model/bridging_metod", "zbl", SPELLING, "did you mean `bridging_method`?"),
    wrong("model/type", "dpa5", "Write `dpa4`.", "is 'dpa5'", "did you mean 'dpa4'?"),
    wrong("model/type_map", LEFT_OUT, "List the elements of the data.", "is None", "the list of elements"),
    wrong("model/type_map", [], "List the elements of the data.", "is []", "the list of elements"),
    wrong("model/type_map", "OH", "Put the elements into brackets.", "is 'OH'", "the list of elements"),
    wrong("model/bridging_method", "nlh", ONE_OF, "is 'nlh'", "'none', 'zbl'"),
    wrong("model/bridging_unit", "bohr", ONE_OF, "is 'bohr'", "'angstrom', 'contact'"),
    wrong("model/activation_memory", -1.0, "Give gigabytes, or leave it out.", "is -1.0", "must not be negative"),
    wrong("model/radial_optimizer", "adam", ONE_OF, "is 'adam'", "'auto', 'muon', 'adamw'"),
    wrong(F + "vacuum_ref", True, "Give the energies of isolated atoms in `model/preset_out_bias`.", "preset_out_bias"),
    wrong("model/bridging_method", "lj", ONE_OF, "is 'lj'", "'none', 'zbl'"),
    wrong("model/bridging_r_inner", 0.0, "Give a distance in Å.", "is 0.0", "must be positive"),
    wrong("model/bridging_r_inner", 0.9, "Keep it below `bridging_r_outer`.", "is 0.9", "`bridging_r_outer` = 0.8"),
    wrong("model/bridging_r_outer", 4.5, "Lower it, or raise the cutoff.", "is 4.5", "= 3.5", bridging_method="zbl"),
    wrong(
        "model/type_map", ["O", "X"], "Rename the type, or do without ZBL.", "'X'", "elements", bridging_method="zbl"
    ),
    wrong("model/atom_exclude_types", [4], "Count types from 0 in `type_map`.", "holds 4", "below 2"),
    wrong("model/pair_exclude_types", [[0, 5]], "Count types from 0 in `type_map`.", "[0, 5]", "below 2"),
    wrong("model/kernels", "fast", ONE_OF, "is 'fast'", "'auto', 'plain', 'native'"),
    wrong("model/use_compile", "yes", "Write `true` or `false`.", "is 'yes'", "must be true or false"),
    wrong("model/lora", 8, 'Write `{"rank": 8}`.', "is 8", "a section of options"),
    wrong("model/lora/rank", 0, LARGER, "is 0", "must be positive"),
    wrong("model/lora/alpha", -1.0, "Give a positive number, or leave it out.", "is -1.0", "positive or null"),
    wrong("model/lora/rnk", 3, SPELLING, "did you mean `rank`?"),
)
REST = (
    wrong("training/numb_step", 3, "Correct the name.", "did you mean `numb_steps`?"),
    wrong("training/numb_steps", -3, "Give the number of steps.", "is -3", "not negative"),
    wrong("training/numb_steps", 2.5, WHOLE, "is 2.5", "must be an integer"),
    wrong("training/disp_freq", 0, "Give 1 or more.", "is 0", "at least 1"),
    wrong("training/seed", "a", NUMBER, "is 'a'", "an integer"),
    wrong("training/training_data/batch_size", 0, 'Give 1 or more, or `"auto"`.', "is 0", "positive integer"),
    wrong("training/training_data/batch_size", "many", 'Give a number, or `"auto"`.', "is 'many'", '"auto:N"'),
    wrong("training/training_data/auto_prob", "foo", "Take one of the words in the message.", "'foo'", "prob_sys_size"),
    wrong("training/training_data/systems", LEFT_OUT, "Name the folders of the data.", "is missing"),
    wrong("training/training_data/systems", [], "Name the folders of the data.", "is []", "must name folders"),
    wrong("learning_rate/type", "expo", "Correct the name.", "is 'expo'", "did you mean 'exp'?"),
    wrong("learning_rate/start_lr", -1, RATE, "is -1", "must be a positive number"),
    wrong(
        "learning_rate/start_lr",
        float("nan"),
        RATE,
        "is nan",
        "must be a positive number",
    ),
    wrong(
        "learning_rate/stop_lr",
        1e-2,
        "Give a smaller rate than `start_lr`, or leave it out.",
        "is 0.01",
        "must not exceed `learning_rate/start_lr` = 0.001",
        start_lr=1e-3,
    ),
    wrong("training/gradient_max_norm", -1.0, "Give 0 or leave it out to clip nothing.", "is -1.0", "not negative"),
    wrong("model/data_stat_protect", -0.1, "Leave the option out.", "is -0.1", "must be a positive number"),
    wrong("model/data_stat_nbatch", 0, "Give 1 or more.", "is 0", "at least 1"),
    wrong(D + "seed", -1, "Give 0 or more.", "is -1", "not negative"),
    wrong(F + "seed", -1, "Give 0 or more.", "is -1", "not negative"),
    wrong("learning_rate/decay_steps", 0, "Give 1 or more.", "is 0", "at least 1"),
    wrong("learning_rate/warmup_steps", 10**6, FEWER_STEPS, "is 1000000", "must be below `training/numb_steps` ="),
    wrong("learning_rate/warmup_steps", -1, FEWER_STEPS, "is -1", "not negative"),
    wrong("learning_rate/warmup_ratio", 1.0, "Give a part of the training, such as 0.01.", "is 1.0", "below 1"),
    wrong("learning_rate/decay_rate", 0, "Leave it out to reach `stop_lr` at the end.", "is 0", "a positive number"),
    wrong("loss/type", "enr", "Write `ener`.", "is 'enr'", "did you mean 'ener'?"),
    wrong("loss/start_pref_e", -1, "Give 0 to train without the label.", "is -1", "not negative"),
    wrong("loss/start_pref_x", 1, "Correct the name.", "did you mean `start_pref_v`?"),
    wrong("modle", {}, "Correct the name.", "did you mean `model`?"),
)


def branch(path: str, value: Any, remedy: str, *says: str) -> Case:
    """An option of an input of two branches, ``water`` and ``ice``, by its path in the complete input."""

    def call(desk: Desk) -> object:
        text = inputs.multi_task(Path("data"))
        document = renamed(text, {"one": "water", "two": "ice"})
        part = path.removeprefix("model/model_dict/water/").partition("/")
        if path.startswith("model/model_dict/water/") and part[2]:
            shared = {"descriptor": "net", "fitting_net": "fit"}[part[0]]
            own = document["model"]["shared_dict"][shared]
            document = changed(document, f"model/model_dict/water/{part[0]}", own)
        return check(changed(document, path, value))

    given = f"`{path}` left out" if value is LEFT_OUT else f"`{path}: {shown(value)}`"
    return Case(given, call, says, remedy)


def renamed(section: Any, names: dict[str, str]) -> Any:
    """The same sections with other keys."""
    if isinstance(section, dict):
        return {names.get(key, key): renamed(value, names) for key, value in section.items()}
    return section


W = "model/model_dict/water/"
BRANCHES = (
    branch(W + "descriptor/rcut", -1.0, "Give the cutoff in Å; 6 is usual.", f"`{W}descriptor/rcut` is -1.0"),
    branch(W + "descriptor/channels", "64", NUMBER, f"`{W}descriptor/channels` is '64'", "must be an integer"),
    branch(W + "descriptor/chanels", 64, SPELLING, f"`{W}descriptor/chanels`", "did you mean `channels`?"),
    branch(W + "descriptor/exclude_types", [[0, 2]], "Count from 0.", f"`{W}descriptor/exclude_types`", "below 2"),
    branch(W + "fitting_net/neuron", [-1], "Give widths of 0 or more.", f"`{W}fitting_net/neuron` is [-1]"),
    branch(W + "fitting_net/dim_case_embd", 1, "Give the number of branches.", f"`{W}fitting_net/dim_case_embd` is 1"),
    branch(W + "fitting_net/dim_case_embd", 3, "Give all branches the same number.", "is 2", "must be 3"),
    branch(W + "kernels", "fast", ONE_OF, f"`{W}kernels` is 'fast'", "'plain'"),
    branch(W + "bridging_r_inner", 0.9, "Keep it below `bridging_r_outer`.", f"`{W}bridging_r_inner` is 0.9"),
    branch(W + "atom_exclude_types", [2], "Count types from 0.", f"`{W}atom_exclude_types` holds 2", "below 2"),
    branch(W + "descriptor", "nett", "Correct the name.", f"`{W}descriptor` is 'nett'", "all, net, fit"),
    branch("model/shared_dict/net/lmax", -1, LARGER, f"`{W}descriptor/lmax` is -1"),
    branch("model/model_dict/RANDOM", {}, "Choose another name: `RANDOM` has a meaning in fine-tuning.", "'RANDOM'"),
    branch("training/data_dict/ice", LEFT_OUT, "Give every branch its data.", "`training/data_dict`", "ice"),
    branch("loss_dict/ice", LEFT_OUT, "Give every branch its loss.", "`loss_dict`", "ice"),
    branch("training/model_prob", {"water": 1.0, "snow": 2.0}, "Correct the name.", "snow", "water, ice"),
    branch("training/model_prob", {"water": 0.0, "ice": 0.0}, "Give one branch a positive share.", "must not sum to 0"),
    branch("training/data_dict/ice/training_data/batch_size", 0, "Give 1 or more.", "`training/data_dict/ice/", "is 0"),
)
KINDS = (
    Kind("Edges and radial basis", "Options of `model/descriptor`.", GEOMETRY),
    Kind("Network", "Options of `model/descriptor`.", NETWORK),
    Kind("Fitting net", "", FITTING),
    Kind("Model", "", MODEL),
    Kind("Branches of a multi-task training", "The path names the branch.", BRANCHES),
    Kind("Training, learning rate and loss", "Options of DeePMD-kit, checked for models of this package.", REST),
)
