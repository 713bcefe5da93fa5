"""Code that torch's compiler generates for a graphics card that is not there."""

import re
from typing import Any
from unittest import mock

from torch import fx
from torch._inductor.codecache import PyCodeCache
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime import triton_helpers

from deepmd_dpa4.compiled.lower import inductor

KERNEL = re.compile(r"async_compile\.triton\('(\w+)', '''(.*?)''', device_str='cuda'\)", re.DOTALL)


class _Generated(Exception):
    """Carries code in place of running it."""


def _stop(lowering: GraphLowering) -> None:
    code, _ = lowering.codegen()
    raise _Generated(code.value)


def kernels_of(graph: fx.GraphModule) -> dict[str, Any]:
    """Generate code for a graph on a pretended card, machine code of its kernels included; return these by name."""
    with mock.patch.object(GraphLowering, "compile_to_module", _stop):
        try:
            inductor(graph)
        except Exception as error:
            generated = getattr(error, "inner_exception", error)
            if not isinstance(generated, _Generated):
                raise
    with mock.patch.object(triton_helpers, "set_driver_to_gpu", lambda: None):
        kernels = {name: getattr(PyCodeCache.load(code), name) for name, code in KERNEL.findall(str(generated))}
        for kernel in kernels.values():
            kernel._precompile_config(kernel.configs[0])
    return kernels
