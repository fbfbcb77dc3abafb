"""timm, imported so that it works beside a PyTorch its torchvision was not built for.

The torchvision wheel on PyPI is built for CUDA. Beside a CPU build of PyTorch its C++ operators
do not load, and the import stops where it wants to register two of them. timm only uses the image
transforms, which are Python, so it is enough to declare those operators without implementing them.
"""

import importlib

import torch

_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _import_torchvision() -> torch.library.Library | None:
    """Return the declarations, which live as long as the object; None where none are needed."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _OPERATORS.items():
        library.define(name + schema)
    importlib.import_module("torchvision")
    return library


DECLARED = _import_torchvision()
timm = importlib.import_module("timm")
"""Take timm from here: ``from sim.inputs.torchvision_compat import timm``."""
