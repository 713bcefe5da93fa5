"""Registration with DeePMD-kit, and every place where one of its names is bound to something else.

DeePMD-kit imports this module while it is only half imported itself; importing it is what registers. Nothing here may
raise: an exception would break DeePMD-kit for all models.
"""

import functools
import logging
from typing import Any

from deepmd_dpa4.switch import plugin_enabled

log = logging.getLogger("deepmd.dpa4")


def load() -> None:
    """Do nothing: the entry point of the group ``deepmd.pt`` works on import."""


# Before the rest, because it loads DeePMD-kit in the order that half-imported modules need; after `load`, because
# DeePMD-kit asks for it while this module is half imported, if this is where DeePMD-kit is imported first.
import deepmd_dpa4.host  # noqa: E402, F401


def register_classes() -> None:
    """Put our classes into the registries."""
    from deepmd.pt.model.descriptor.base_descriptor import BaseDescriptor
    from deepmd.pt.model.model.model import BaseModel
    from deepmd.pt.model.task.base_fitting import BaseFitting

    from deepmd_dpa4 import type_names
    from deepmd_dpa4.host.build import RegisteredDPA4
    from deepmd_dpa4.host.descriptor import DescriptorDPA4
    from deepmd_dpa4.host.fitting import FittingDPA4

    for name in (*type_names.SHARED_NAMES, type_names.NEUTRAL):
        BaseDescriptor.register(name)(DescriptorDPA4)
        BaseModel.register(name)(RegisteredDPA4)
    for name in (type_names.FITTING, type_names.NEUTRAL_FITTING):
        BaseFitting.register(name)(FittingDPA4)


def rebind_model_building() -> None:
    """Rebind the builders of models: ``get_model`` compares type names before it asks the registry.

    Replacing the two builders that it looks up in its module reaches every caller, whenever they imported it.
    """
    import deepmd.pt.model.model as host_models

    from deepmd_dpa4.host import builtin
    from deepmd_dpa4.host.build import build_model

    if builtin.available():
        host_models.get_sezm_model = build_model
        host_models.get_sezm_spin_model = build_model


def rebind_freeze() -> None:
    """Rebind ``freeze``, which makes a ``.pt2`` of every model called dpa4, whatever suffix is asked for.

    ``main`` looks ``freeze`` up in its module.
    """
    import deepmd.pt.entrypoints.main as host_main

    from deepmd_dpa4.freeze.freeze import freeze

    host_main.freeze = freeze


def rebind_input() -> None:
    """Rebind what a training input passes through, before and after the first look into the data.

    ``train`` looks ``preprocess_shared_params`` and ``normalize`` up in its module.
    """
    import deepmd.pt.entrypoints.main as host_main

    from deepmd_dpa4.config.check import check_input, check_shared
    from deepmd_dpa4.host.training_data import check_training
    from deepmd_dpa4.schema import retelling

    host_normalize, host_shared_params = host_main.normalize, host_main.preprocess_shared_params

    def normalize(config: dict[str, Any], *args: Any, **more: Any) -> dict[str, Any]:
        # before DeePMD-kit's check of types, which does not tell values
        check_input(config)
        with retelling(config):
            config = host_normalize(config, *args, **more)
        check_training(config)
        return config

    def preprocess_shared_params(model: dict[str, Any], *args: Any, **more: Any) -> Any:
        check_shared(model)
        return host_shared_params(model, *args, **more)

    host_main.normalize = normalize
    host_main.preprocess_shared_params = preprocess_shared_params


def rebind_trainer() -> None:
    """Rebind the making of trainers, which builds models before losses.

    A loss of type ``dens`` needs a head that only the built-in model has. The input of the training is also where
    checkpoints get the version of this package from. The trainer fails on checkpoints without the state of an
    optimizer, and compares no options with those of a checkpoint. Two trainings may write the same files.

    ``train`` looks ``get_trainer`` and ``get_finetune_rules`` up in its module, and ``main`` looks ``train`` up.
    """
    import deepmd.pt.entrypoints.main as host_main

    from deepmd_dpa4.config.check import check_models
    from deepmd_dpa4.host import build, lora, losses
    from deepmd_dpa4.host.build import warn_of_descriptors
    from deepmd_dpa4.host.changed_options import check_options
    from deepmd_dpa4.host.finetune import carrying_options
    from deepmd_dpa4.host.folder_lock import claiming
    from deepmd_dpa4.host.resume import check_architecture, check_optimizer, found_first, resumable
    from deepmd_dpa4.host.trainer import prepare, trains_ours

    # reads the checkpoint of ``--finetune`` before there is a trainer
    host_main.get_finetune_rules = carrying_options(host_main.get_finetune_rules)
    host_main.train = found_first(host_main.train)
    host_get_trainer = host_main.get_trainer

    def get_trainer(
        config: dict[str, Any], init_model: str | None = None, restart_model: str | None = None, *args: Any, **more: Any
    ) -> Any:
        finetune = args[0] if args else more.get("finetune_model")
        check_models(config["model"], fresh=finetune is None)
        losses.resolve_loss(config)
        lora.check_host(config)
        check_architecture(
            "--restart" if restart_model else "--init-model", restart_model or init_model, config["model"]
        )
        frozen = args[2] if len(args) > 2 else more.get("init_frz_model")
        check_options(config, restart_model or init_model or frozen, restart_model is not None)
        check_optimizer(config, restart_model)
        warn_of_descriptors(config["model"])
        build.stamp_version(config)
        with (
            claiming(config) as claim,
            resumable(init_model) as init_model,
            resumable(restart_model) as restart_model,
        ):
            trainer = host_get_trainer(config, init_model, restart_model, *args, **more)
            lora.check_branches(trainer, config)
            if trains_ours(trainer):
                prepare(trainer, claim, restart_model)
        return trainer

    host_main.get_trainer = get_trainer


def rebind_low_rank() -> None:
    """Rebind low-rank updates, which the trainer adds to models of the built-in class only.

    Its functions know the layers of that class alone. It looks all three names up in its module.
    """
    from deepmd.pt.train import training

    from deepmd_dpa4.host import lora
    from deepmd_dpa4.host.compat import trains_lora
    from deepmd_dpa4.host.model import ModelDPA4

    if trains_lora():
        # the name serves as second argument of isinstance only
        training.SeZMModel = (training.SeZMModel, ModelDPA4)
        training.apply_lora_to_sezm = lora.applying(training.apply_lora_to_sezm, ModelDPA4)
        training.build_merged_state_dict = lora.merging(training.build_merged_state_dict)


def rebind_reading() -> None:
    """Rebind the reading of TorchScript, for files that use native kernels.

    They cannot be read before their library is loaded, which may have to be compiled. DeePMD-kit reads such files in
    many places, all of which call ``torch.jit.load``; loading the library here would concern every process, whatever
    it runs.
    """
    import torch

    from deepmd_dpa4.host.loading import with_native_kernels

    torch.jit.load = with_native_kernels(torch.jit.load)


def rebind_inference() -> None:
    """Rebind ``DeepEval``, which scripts a model before it loads the weights.

    A scripted model does not check what it loads. DeePMD-kit 3.2 makes an exception for the name dpa4; ours is for all
    models with our classes. Elements without training data are told where structures come in.

    DeePMD-kit gets the class from its backend where it evaluates models. Its module would add two seconds to the start
    of every training.
    """
    from deepmd.backend.pytorch import PyTorchBackend

    from deepmd_dpa4.host.element_warnings import warning_on_evaluation
    from deepmd_dpa4.host.loading import checking_frames, unscripted

    @functools.cache
    def rebound(evaluator: Any) -> Any:
        evaluator.__init__ = unscripted(evaluator.__init__)
        evaluator.eval = warning_on_evaluation(checking_frames(evaluator.eval))
        return evaluator

    host_deep_eval = PyTorchBackend.deep_eval.fget
    PyTorchBackend.deep_eval = property(lambda backend: rebound(host_deep_eval(backend)))


def register() -> None:
    """Register and rebind everything, in order."""
    register_classes()
    rebind_model_building()
    rebind_freeze()
    rebind_input()
    rebind_trainer()
    rebind_low_rank()
    rebind_reading()
    rebind_inference()


if plugin_enabled():
    try:
        register()
    except Exception as error:
        log.warning("deepmd-dpa4 could not register itself; DeePMD-kit runs without it: %r", error)
