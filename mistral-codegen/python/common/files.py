"""The model's folder: on this machine, or downloaded once."""

from pathlib import Path

from huggingface_hub import snapshot_download

import settings
from cli import UsageError


def folder(model: str) -> Path:
    """Where the files of ``model`` are: itself when it is a folder, else the repository's copy."""
    path = Path(model)
    if path.is_dir():
        return path
    if settings.LOCAL and model == settings.MODEL:
        raise UsageError(f"{model}: expected a folder with the model")
    copy: str = snapshot_download(
        model,
        revision=settings.REVISION if model == settings.MODEL else None,
        allow_patterns=settings.FILES,
    )
    return Path(copy)
