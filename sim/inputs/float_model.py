"""Float models: what is quantized, and what runs beside the result."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cli import UserError
from .quantized_model import QuantizedModel


@dataclass(frozen=True)
class FloatModel:
    """A model to quantize, by its name; its timm model, and what makes its pixels."""

    name: str
    model: object
    preprocessing: object

    @classmethod
    def create(cls, name: str, weights: Path | str | None = None,
               image_size: int | None = None) -> "FloatModel":
        """Build a model with the weights of a file, of the package, or as timm downloads them; for
        images of its usual size, or of another.

        Raises
        ------
        UserError
            If there is no such model, or its weights cannot be had.
        """
        from . import models  # seconds of imports, which --help and bad options do not need

        model = models.create(name, weights, pretrained=weights is None, image_size=image_size)
        return cls(name, model, models.preprocessing(model))

    def source(self):
        """Return the weights as :func:`sim.ptq.source.read` does."""
        from ..ptq import source

        return source.read(self.model, self.preprocessing, self.name)

    def identify(self, pixels: np.ndarray) -> dict[str, str]:
        """Return what tells results of this model and these calibration images from others."""
        return {"model": self.name, "weights": weights_digest(self.source()),
                "images": hashlib.sha256(pixels.tobytes()).hexdigest()}

    def describe(self) -> dict:
        """Return what a quantized model says about the float one."""
        from . import models

        about = {"model": self.name, "weights": weights_digest(self.source()),
                 "preprocessing": self.preprocessing.config}
        classes = models.class_names(self.model)
        return about if classes is None else about | {"classes": classes}


def weights_digest(source) -> str:
    """Return the SHA-256 of the weights of a :class:`sim.ptq.float_vit.FloatVit`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(source.tensors().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def beside(model: QuantizedModel, weights: Path | None = None):
    """Return the :class:`FloatModel` beside a quantized one, and a note or None.

    Its weights are those of a file, of the package, or what timm downloads.

    Raises
    ------
    UserError
        If they are not to be had.
    """
    from . import models

    name = model.name or (weights and weights.stem)
    if name is None:
        raise UserError("the quantized model does not name its float model")
    if weights is None and not models.is_known(name):
        raise UserError(f"{name!r} is neither a model of timm's nor of the package; name its "
                        "weights with --weights")
    made = FloatModel.create(name, weights)
    side = model.network.shape.image
    if made.preprocessing.size != (side, side):
        made = FloatModel.create(name, weights, side)
    source = made.source()
    if source.shape != model.network.shape:
        raise UserError(f"{name} is of another shape than the quantized model")
    known = model.metadata.get("weights")
    other = known is not None and known != weights_digest(source)
    return made, "PyTorch runs other weights than the model was quantized from" if other else None
