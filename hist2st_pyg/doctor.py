"""What is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import importlib.metadata
import platform

PARTS = {
    "torch": "pip install torch",
    "torch-geometric": "pip install torch-geometric",
    "torch-scatter": "pip install --no-build-isolation torch-scatter",
    "pytorch-lightning": "pip install pytorch-lightning",
    "scanpy": "pip install scanpy",
    "anndata": "pip install anndata",
    "numpy": "pip install numpy",
    "scipy": "pip install scipy",
    "wandb": "pip install wandb",
    "jsonargparse": "pip install 'jsonargparse[signatures]'",
    "safetensors": "pip install safetensors",
    "tifffile": "pip install tifffile",
}
OPTIONAL = {
    "igraph": ("Leiden clustering", "pip install 'hist2st_pyg[cluster]'"),
    "leidenalg": ("Leiden clustering", "pip install 'hist2st_pyg[cluster]'"),
    "monai": ("DenseNet-121 of ST-Net", "pip install 'hist2st_pyg[bench]'"),
    "transformers": ("pathology foundation models", "pip install 'hist2st_pyg[bench]'"),
    "ray": ("benchmark grids on many machines", "pip install 'hist2st_pyg[ray]'"),
    "openslide-python": ("slides in the scanners' own formats", "pip install 'hist2st_pyg[slides]'"),
    "openslide-bin": ("slides in the scanners' own formats", "pip install 'hist2st_pyg[slides]'"),
    "spatialdata": ("SpatialData stores", "pip install 'hist2st_pyg[spatialdata]'"),
    "gseapy": ("enrichment of gene sets", "pip install 'hist2st_pyg[pathways]'"),
    "huggingface_hub": ("sharing models on the Hugging Face hub", "pip install 'hist2st_pyg[hub]'"),
}


def doctor() -> str:
    """Describe this installation.

    Returns:
        One line for each package and device; a missing one comes with the command that installs it.
    """
    import torch

    lines = [
        f"hist2st_pyg {installed_version('hist2st_pyg') or '(not installed)'} on Python {platform.python_version()}"
    ]
    lines += [_line(name, "", command) for name, command in PARTS.items()]
    lines += [_line(name, f" ({use}, optional)", command) for name, (use, command) in OPTIONAL.items()]
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines.append(f"devices: CPU with {torch.get_num_threads()} threads; " + (", ".join(devices) or "no CUDA device"))
    return "\n".join(lines)


def _line(name: str, use: str, command: str) -> str:
    version = installed_version(name)
    return f"  {name} {version}{use}" if version else f"  {name} is missing{use}: {command}"


def installed_version(name: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
