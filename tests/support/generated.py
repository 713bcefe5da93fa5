"""Code that torch's compiler generates for a graphics card that is not there."""

import re
from typing import Any
from unittest import mock

from torch import fx
from torch._inductor.codecache import PyCodeCache
from torch._inductor.runtime import triton_helpers

from benchmarks.planning import stopped
from deepmd_dpa4.compiled.lower import inductor

KERNEL = re.compile(r"async_compile\.triton\('(\w+)', '''(.*?)''', device_str='cuda'\)", re.DOTALL)


def kernels_of(graph: fx.GraphModule) -> dict[str, Any]:
    """Generate code for a graph on a pretended card, machine code of its kernels included; return these by name."""
    code = stopped(lambda: inductor(graph), lambda lowering: lowering.codegen()[0].value)
    with mock.patch.object(triton_helpers, "set_driver_to_gpu", lambda: None):
        kernels = {name: getattr(PyCodeCache.load(text), name) for name, text in KERNEL.findall(code)}
        for kernel in kernels.values():
            kernel._precompile_config(kernel.configs[0])
    return kernels
