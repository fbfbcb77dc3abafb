"""Where a long calibration has got to: one file, whole or not there."""

import hashlib
import io
import json
from pathlib import Path

import torch

from ..cli import UserError, whole_file
from ..inputs import torch_files


class Checkpoint:
    """The state of a run that can be continued.

    Parameters
    ----------
    path
        File to keep it in.
    run
        Everything that determines the result; a state of another run is refused.
    """

    def __init__(self, path: Path, run: dict):
        self.path = Path(path)
        self._key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()

    def load(self) -> dict:
        """Return the stages stored so far, by name.

        Raises
        ------
        UserError
            If the file is damaged, or of a run with other options.
        """
        if not self.path.exists():
            return {}
        try:
            stored = torch_files.read(self.path, own=True)
            if not isinstance(stored, dict):
                raise TypeError("a state is a dictionary")
            key, stages = stored["key"], stored["stages"]
            if not (isinstance(key, str) and isinstance(stages, dict)
                    and all(isinstance(name, str) for name in stages)):
                raise TypeError("a state is a key, and stages by name")
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror or error}") from None
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{self.path} is damaged; remove it to start anew") from None
        if key != self._key:
            raise UserError(f"{self.path} is of a run with other options or images; "
                            "give the same ones, or remove it to start anew")
        return stages

    def save(self, stages: dict) -> None:
        """Replace what is stored."""
        content = io.BytesIO()  # in a file, PyTorch makes a full disk an error of its own
        torch.save({"key": self._key, "stages": stages}, content)
        with whole_file(self.path) as temporary:
            temporary.write_bytes(content.getbuffer())

    def remove(self) -> None:
        """Forget the run."""
        self.path.unlink(missing_ok=True)
