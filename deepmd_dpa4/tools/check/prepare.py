"""What a command line asks to be checked."""

from argparse import Namespace
from typing import Any

from deepmd_dpa4.inference.evaluator import Evaluator
from deepmd_dpa4.tools.check.choice import choose_pairs, known_elements, read_references
from deepmd_dpa4.tools.check.instrument import Context, Sample
from deepmd_dpa4.tools.check.report import Report, fingerprint, hash_of
from deepmd_dpa4.tools.check.samples import data_samples, generated_samples


def prepare(evaluator: Evaluator, options: Namespace) -> tuple[Context, Report]:
    """Make the context of instruments, and the report with what an earlier call found.

    Raises
    ------
    DataError, FileNotFoundError
        If data, reference or an earlier report cannot be read.
    """
    # a copy: the model forgets those that it has warned of
    elements = known_elements(evaluator.type_map, set(evaluator.untrained.elements))
    samples = data_samples(options.data, options.frames, evaluator) if options.data else []
    elements = most_common(elements, samples)
    pairs = choose_pairs(elements, options.pairs)
    labelled = [sample for sample in samples if sample.forces is not None]
    report = Report(
        path=options.output.with_suffix(".json"),
        model={"file": str(options.model), "sha256": hash_of(options.model), "head": options.head},
        settings=settings(options) | {"elements": elements, "pairs": pairs},
    )
    if not options.again:
        report.resume()
    context = Context(
        elements=elements,
        pairs=pairs,
        samples=samples or generated_samples(elements, pairs, options.seed, options.charge_spin),
        labelled=labelled,
        references=read_references(options.reference) if options.reference else {},
        seed=options.seed,
        steps=options.steps,
        temperatures=tuple(options.temperatures),
        charge_spin=options.charge_spin,
    )
    return context, report


def settings(options: Namespace) -> dict[str, Any]:
    """Collect the options that results depend on."""
    named = {name: getattr(options, name) for name in ("frames", "seed", "steps", "temperatures", "charge_spin")}
    reference = hash_of(options.reference) if options.reference else None
    return named | {"data": fingerprint(options.data), "reference": reference}


def most_common(elements: list[str], samples: list[Sample]) -> list[str]:
    """Put the elements that most atoms of the samples are of first."""
    counts = dict.fromkeys(elements, 0)
    for sample in samples:
        for symbol in sample.structure.symbols:
            if symbol in counts:
                counts[symbol] += 1
    return sorted(elements, key=lambda symbol: -counts[symbol])
