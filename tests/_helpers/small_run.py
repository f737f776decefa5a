"""The configuration of a run that trains in a second."""

from __future__ import annotations

CONFIG = """
data:
  options: {patients: 2, sections_per_patient: 1, spots: 48, genes: 20, noise_genes: 4}
  test: [B1]
  n_genes: 8
  patch_size: 28
  k: 5
model:
  vision_kwargs: {channels: [8], out_channels: 16}
training: {epochs: 2, lr: 0.01}
wandb: 'off'
"""
OPTIONS = '{"patients": 2, "sections_per_patient": 1, "spots": 48, "genes": 20, "noise_genes": 4}'
