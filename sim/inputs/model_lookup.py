"""What a command's MODEL stands for, and how its images are prepared."""

from pathlib import Path

from .. import zoo
from ..cli import UserError, one_line
from .quantized_model import QuantizedModel, load


def open_model(text: str) -> QuantizedModel:
    """Read the model of a file, or of a name like ``vit_cifar10:w4a4`` in the package.

    Raises
    ------
    UserError
        If there is neither, or the file is damaged.
    """
    path = Path(text)
    if path.suffix == ".safetensors" or path.parent != Path() or path.exists():
        return load(path)
    return load(zoo.quantized_file(text))


def preprocessing_for(config: dict | None, side: int, what: str, colours: int = 3):
    """Return the :class:`sim.inputs.models.Preprocessing` that makes the pixels of a network.

    Parameters
    ----------
    config
        What :func:`sim.inputs.models.preprocessing_of` takes; None if nobody said.
    side
        Height and width of the images that the network takes.
    what
        Whose it is, for messages, such as ``model``.
    colours
        Of its pixels.

    Raises
    ------
    UserError
        If nobody said, it cannot be used, or it makes images of another size.
    """
    from . import models  # seconds of imports, which only images need

    if config is None:
        raise UserError(f"the {what} does not say how its images are prepared")
    try:
        made = models.preprocessing_of(config)
    except (TypeError, ValueError) as error:
        raise UserError(f"the {what}'s preprocessing is unusable: {one_line(error)}") from None
    if made.size != (side, side):
        raise UserError(f"the {what} takes images of {side} x {side}, but its preprocessing makes "
                        f"{made.size[0]} x {made.size[1]}")
    if made.colours != colours:
        raise UserError(f"the {what} takes images of {colours} colours, but its preprocessing "
                        f"makes {made.colours}")
    return made


def preprocessing_of_model(model: QuantizedModel):
    """Return the :class:`sim.inputs.models.Preprocessing` of a quantized model.

    Raises
    ------
    UserError
        As :func:`preprocessing_for` does.
    """
    shape = model.network.shape
    return preprocessing_for(model.metadata.get("preprocessing"), shape.image, "model",
                             shape.colours)
