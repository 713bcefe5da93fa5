"""What an evaluation needs of memory, and what there is: an error before, or instead of, one of the allocator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from deepmd_dpa4.descriptor.network import Network
from deepmd_dpa4.graph.graph import Graph

ALLOCATION_FAILED = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")
"""Parts of the messages of torch's allocators."""
GIB = 2.0**30


def least_bytes(network: Network, graph: Graph) -> int:
    """Estimate the memory that a tiled evaluation holds at once for all edges and nodes, at least.

    Edges: vectors and their gradient; weight, rotation and radial features with their gradients. Nodes: features
    before, in and after the sum over edges of each block. What a tile needs comes on top.
    """
    size = network.radial_basis.adam_freqs.element_size()
    of_edge = 1 + network.measure_edges.wigner.position.numel() + network.radial_embedding.output_matrix().shape[0]
    widths = [int(block.so2_conv.width) for block in network.blocks]  # type: ignore[union-attr, arg-type]
    of_node = sum(
        rows * (network.channels + 3 * width) for rows, width in zip(network.block_sizes, widths, strict=True)
    )
    edges, nodes = graph.ends.receiver.shape[0], graph.node_type.shape[0]
    return int(edges * (2 * 3 * 8 + 2 * size * of_edge) + nodes * size * of_node)


def available_bytes(device: torch.device) -> int | None:
    """Read how much memory can still be allocated; None where the system does not tell."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + cached)
    try:
        import resource  # not everywhere

        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (free,) = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return free
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return min(free, max(0, limit - pages * resource.getpagesize()))
    except (ImportError, OSError, ValueError):
        return None


@contextmanager
def enough_memory(network: Network, graph: Graph, tiled: bool) -> Iterator[None]:
    """Refuse a tiled evaluation that cannot fit, and explain a failed allocation.

    Raises
    ------
    MemoryError
        If more memory is needed than there is, on a CPU.
    torch.cuda.OutOfMemoryError
        The same on a GPU.
    RuntimeError
        If the allocator fails; the message begins with that of torch, which callers look for.
    """
    device = graph.vector.device
    available = available_bytes(device) if tiled else None
    if available is not None and least_bytes(network, graph) > available:
        kind = torch.cuda.OutOfMemoryError if device.type == "cuda" else MemoryError
        raise kind(f"out of memory: {_need(network, graph, available)}")
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not any(text in str(error) for text in ALLOCATION_FAILED):
            raise
        raise type(error)(f"{error}\n{_need(network, graph, available_bytes(device))}") from error


def _need(network: Network, graph: Graph, available: int | None) -> str:
    there = "" if available is None else f", and {available / GIB:.3g} GiB are available"
    return (
        f"{graph.ends.n_receivers:,} atoms with {graph.ends.receiver.shape[0]:,} neighbours within the cutoff need "
        f"{least_bytes(network, graph) / GIB:.3g} GiB at least, beside about 2 GiB for a tile{there}: use fewer atoms "
        "in a batch or on a rank, a smaller `rcut`, or a machine with more memory"
    )
