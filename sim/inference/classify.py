"""Classifies images with a quantized model, and with the float one beside it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..inputs.quantized_model import QuantizedModel
from .backends import BACKENDS, CoreOptions
from .classes import Guess, class_names, guesses


@dataclass(frozen=True, slots=True)
class Answer:
    """The likeliest classes of an image; `torch` is None where there is no float model."""

    file: str
    quantized: list[Guess]
    torch: list[Guess] | None


def classify(model: QuantizedModel, pixels: np.ndarray, files: list[str], floating=None, *,
             top: int = 5, backend: str = "golden", options: CoreOptions | None = None,
             progress: Callable = lambda steps, what: steps) -> list[Answer]:
    """Classify images.

    Parameters
    ----------
    model
        The quantized model.
    pixels : uint8 array, shape (images, side, side, 3)
        As the preprocessing of `model` makes them.
    files
        Name of each image.
    floating
        A :class:`sim.inputs.float_model.FloatModel` to run beside it.
    top
        Classes to return.
    backend, options
        One of :data:`BACKENDS`, and what it is told.
    """
    run = BACKENDS[backend](model.network, options or CoreOptions())
    names = class_names(model.network.shape.classes, model.classes)
    one, answers = 2.0**model.network.logit_point, []  # logits are fixed-point numbers
    for file, image in progress(list(zip(files, pixels, strict=True)), "Classifying"):
        found = guesses(run(image[None])[0] / one, names, top)
        beside = None
        if floating is not None:
            logits = floating.model(floating.preprocessing.tensor(image))[0]
            beside = guesses(logits.double().numpy(), names, top)
        answers.append(Answer(file, found, beside))
    return answers
