"""Stand-ins for what the package ships: tests.cases.vits, as sim.train writes one."""

import json
from pathlib import Path

import safetensors.torch
from PIL import Image

from tests.cases import vits

ARCHITECTURE = {"img_size": 16, "patch_size": 4, "num_classes": 7, "embed_dim": 32, "depth": 2,
                "num_heads": 4, "mlp_ratio": 2.0}
CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def weights(path: Path, seed: int = 1, **changed) -> Path:
    """Write the float weights and what sim.train says about them."""
    about = {"architecture": ARCHITECTURE, "classes": CLASSES, "mean": vits.MEAN, "std": vits.STD}
    safetensors.torch.save_file(dict(vits.model(seed).state_dict()), path,
                                {"vernier": json.dumps(about | changed)})
    return path


def images(folder: Path, count: int, side: int = 16) -> Path:
    """Write images into three folders of a folder."""
    for index, pixels in enumerate(vits.pixels(count, side)):
        inside = folder / f"class{index % 3}"
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(inside / f"{index:02}.png")
    return folder
