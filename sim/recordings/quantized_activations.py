"""Activations of a model on some images, quantized as the golden model wants them.

The model runs in float64 in one thread, so that the recorded integers do not depend on the kernels
of a machine. Scales are the MSE-optimal ones over the recorded images.
"""

import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch

from golden.common.formats import ACT16, LAMBDA
from golden.prediction.range_unit import log_ranges

from ..cli import UserError
from . import mse_quantizers, observe
from .recording_file import Choices, Recording
from .sites import CODEBOOK, CODED, SITES

TAP = 0  # block after which the residual stream is tapped


def _binary_point(residuals: list[np.ndarray]) -> int:
    """Return the fractional bits at which the largest value fills half of the 16-bit range."""
    extreme = float(np.max([np.abs(x).max() for x in residuals]))  # NaN if there is one
    if not 0 < extreme < math.inf:
        raise UserError("the residual stream is zero or not finite")
    frac = math.floor(math.log2(ACT16.max / 2 / extreme))
    limit = -LAMBDA.min // LAMBDA.one
    return min(max(frac, -limit), limit)


def _record_residuals(residuals: list[np.ndarray], frac: int, chunk_tokens: int,
                      ) -> dict[str, np.ndarray]:
    tensors = {}
    for number, x in enumerate(residuals):
        residual = mse_quantizers.quantize(x, -frac * LAMBDA.one, ACT16)
        tensors[f"residual/{number}"] = residual
        for name, groups in ("tensor", 1), ("channels", residual.shape[1]):
            tensors[f"range/{name}/{number}"] = log_ranges(
                residual, chunk_tokens, groups).astype(np.int16)
    return tensors


def _record_site(block: int, name: str, values: list[np.ndarray], choices: Choices,
                 ) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Quantize one site of one block; `values` holds one array per image."""
    site = SITES[name]
    everything = np.concatenate([value.ravel() for value in values])
    if not np.isfinite(everything).all():
        raise UserError(f"{name} of block {block} is not finite")
    entries, tensors = [], {}
    stored = list(enumerate(values[:choices.site_images]))
    for bits in choices.bits:
        fmt = site.format(bits)
        lam = mse_quantizers.mse_lambda(everything, fmt)
        entries.append({"block": block, "site": name, "bits": bits, "lam": lam,
                        "signed": fmt.signed, "min": fmt.min, "max": fmt.max})
        for number, value in stored:
            key = f"site/{block}/{name}/{bits}/{number}"
            tensors[key] = mse_quantizers.quantize(value, lam, fmt)
    if site is CODED:
        lam = mse_quantizers.mse_lambda_codebook(everything, CODEBOOK)
        entries.append({"block": block, "site": name, "lam": lam, "codebook": list(CODEBOOK)})
        for number, value in stored:
            tensors[f"codes/{block}/{name}/{number}"] = mse_quantizers.encode(value, lam, CODEBOOK)
    return entries, tensors


def _run(model, inputs, blocks: tuple[int, ...]) -> tuple[list, list[np.ndarray]]:
    """Return what :func:`~sim.recordings.observe.observe` gives for each input, in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seen = [observe.observe(model, x, blocks, TAP) for x in inputs]
    finally:
        torch.set_num_threads(threads)
    return [sites for sites, _ in seen], [residual for _, residual in seen]


def record(model, preprocess, pictures: list, choices: Choices,
           progress: Callable = lambda steps, what: steps) -> Recording:
    """Record the sites and the tapped residual stream of a model.

    Parameters
    ----------
    model
        As :func:`sim.inputs.models.create` gives it; taken to float64.
    preprocess
        Its :class:`~sim.inputs.models.Preprocessing`.
    pictures
        Pairs of a :class:`~sim.inputs.images.Source` and an image.
    progress
        Wraps a sequence of steps and is told what they do, to show how far they are.

    Returns
    -------
    Recording
        With metadata of the activations only; :mod:`sim.record` adds where they come from.

    Raises
    ------
    UserError
        If the model has other blocks than those of a plain ViT or Swin, or fewer than asked for,
        or what it computes is not finite.
    """
    depth = len(observe.blocks(model))
    blocks = choices.blocks or tuple(sorted({0, (depth - 1) // 2, depth - 1}))
    if max(blocks) >= depth:
        raise UserError(f"blocks must be below {depth}, not {max(blocks)}")
    pixels = [preprocess.pixels(picture) for _, picture in pictures]
    inputs = (preprocess.tensor(x, torch.float64) for x in progress(pixels, "Running the model"))
    seen, residuals = _run(model.double(), inputs, blocks)
    frac = _binary_point(residuals)
    tensors = {f"pixels/{i}": x for i, x in enumerate(pixels[:choices.pixel_images])}
    tensors |= _record_residuals(residuals, frac, choices.chunk_tokens)
    entries = []
    places = [(block, name) for block in blocks for name in choices.sites]
    for block, name in progress(places, "Finding the scales"):
        found, arrays = _record_site(block, name, [sites[block][name] for sites in seen], choices)
        entries += found
        tensors |= arrays
    return Recording(tensors, {
        "blocks": list(blocks),
        "choices": {name: list(value) if isinstance(value, tuple) else value
                    for name, value in asdict(choices).items()},
        "images": [source.describe() for source, _ in pictures],
        "sites": entries,
        "tap": {"block": TAP, "frac": frac, "chunk_tokens": choices.chunk_tokens},
    })
