"""Published recipes of post-training quantization, to compare with, in one harness.

Each turns a float network into a module that computes what its quantized network would, in
float32, with the conventions of its authors (what is asymmetric, per channel or per head) but for
one: the patch embedding and the head have 8 bits in all of them, so that widths are comparable.
Pixels are 8-bit integers as they are and need no quantizer. None trains.
"""

from collections.abc import Callable
from dataclasses import dataclass

from . import (
    adalog,
    erq,
    fq_vit,
    gptq,
    i_vit,
    igq_vit,
    is_vit,
    outlier_suppression,
    ptq4vit,
    repq_vit,
    smoothquant,
    zeroquant,
)


@dataclass(frozen=True)
class Recipe:
    """A published method.

    Attributes
    ----------
    name, title, source
        Its key, what tables call it, and its paper.
    images
        Calibration images that it takes, as published where that is practical.
    make
        ``make(source, precision, pixels, progress)`` returns a module that maps pixels
        ``uint8 (images, side, side, 3)`` to logits ``(images, classes)``.
    """

    name: str
    title: str
    source: str
    images: int
    make: Callable


RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (
    Recipe("ptq4vit", "PTQ4ViT (twin uniform)", "arXiv 2111.12293", 32, ptq4vit.make),
    Recipe("fq-vit", "FQ-ViT (PTF and log-int-softmax)", "arXiv 2111.13824", 1000, fq_vit.make),
    Recipe("repq-vit", "RepQ-ViT (reparameterised, log sqrt2)", "arXiv 2212.08254", 32,
           repq_vit.make),
    Recipe("igq-vit", "IGQ-ViT (groups per image)", "CVPR 2024", 32, igq_vit.make),
    Recipe("adalog", "AdaLog (adaptive logarithm)", "arXiv 2407.12951", 32, adalog.make),
    Recipe("erq", "ERQ (ridge regression)", "arXiv 2407.06794", 32, erq.make),
    Recipe("is-vit", "I&S-ViT (shifted logarithm, not optimised)", "arXiv 2311.10126", 32,
           is_vit.make),
    Recipe("smoothquant", "SmoothQuant", "arXiv 2211.10438", 128, smoothquant.make),
    Recipe("os-plus", "Outlier Suppression+", "arXiv 2304.09145", 32, outlier_suppression.make),
    Recipe("gptq", "GPTQ alone", "arXiv 2210.17323", 128, gptq.make),
    Recipe("zeroquant", "ZeroQuant (not distilled)", "arXiv 2206.01861", 32, zeroquant.make),
    Recipe("i-vit", "I-ViT (integer non-linearities, our quantizers)", "arXiv 2207.01405", 256,
           i_vit.make),
)}
"""By name."""
