"""Arguments of kernels written by hand, made once in generated code."""

from typing import Any

from torch import Tensor, fx
from torch._higher_order_ops.triton_kernel_wrap import triton_kernel_wrapper_functional
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.inductor_prims import force_stride_order


class MadeOnce(CustomGraphPass):
    """Stores the arguments of kernels written by hand before the first of these runs.

    torch's compiler makes an argument that it has not stored yet anew for each kernel that reads it.
    """

    def __call__(self, graph: fx.Graph) -> None:
        """Store all tensors that such kernels only read."""
        for node in list(graph.nodes):
            if node.op == "call_function" and _is_read_by_kernels(node):
                with graph.inserting_after(node):
                    stored = graph.call_function(force_stride_order, (node, list(node.meta["val"].stride())))
                stored.meta["val"] = node.meta["val"]
                node.replace_all_uses_with(stored, delete_user_cb=lambda user, stored=stored: user is not stored)

    def uuid(self) -> Any:
        """Return what tells versions of this pass apart."""
        return get_hash_for_files((__file__,))


def _is_read_by_kernels(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_contiguous() and any(_only_reads(user, node) for user in node.users)


def _only_reads(user: fx.Node, node: fx.Node) -> bool:
    if user.target is not triton_kernel_wrapper_functional:
        return False
    written: Any = user.kwargs["tensors_to_clone"]
    given: Any = user.kwargs["kwargs"]
    return any(value is node and name not in written for name, value in given.items())
