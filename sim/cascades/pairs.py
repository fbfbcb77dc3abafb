"""Two quantized models as a cascade."""

from golden.network.cascade import Cascade

from ..cli import UserError, one_line
from ..inputs.quantized_model import QuantizedModel


def paired(first: tuple[str, QuantizedModel], second: tuple[str, QuantizedModel],
           threshold: int = 0) -> Cascade:
    """Return the cascade of two models, each with the name that it is spoken of by.

    Raises
    ------
    UserError
        If they do not go together.
    """
    (name, one), (other_name, other) = first, second
    for what in ("classes", "preprocessing"):
        if one.metadata.get(what) != other.metadata.get(what):
            raise UserError(f"{what} of {other_name} must be those of {name}")
    try:
        return Cascade(one.network, other.network, threshold)
    except ValueError as error:
        raise UserError(f"{name} and {other_name}: {one_line(error)}") from None
