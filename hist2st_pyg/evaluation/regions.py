"""Spatial regions: clusters of spots by their predicted or measured expression, through scanpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

KEY = "region"


def find_regions(adata: AnnData, resolution: float = 1.0, n_neighbors: int = 15, seed: int = 0) -> AnnData:
    """Cluster spots by expression: PCA, neighbours, Leiden (scanpy's standard path, Wolf et al. 2018).

    Args:
        adata: Log expression, as :func:`~hist2st_pyg.predict` gives it.
        resolution: Leiden's resolution; higher gives more regions.
        n_neighbors: Neighbours of a spot in expression space.
        seed: Seed of PCA, neighbours and Leiden.

    Returns:
        A copy with ``obs["region"]``, ready for ``sc.pl.spatial(adata, color="region")``.

    Raises:
        ImportError: If the ``cluster`` extra is not installed.
        ValueError: If there are fewer than three spots.
    """
    import scanpy as sc

    if adata.n_obs < 3:
        raise ValueError(f"Regions need at least 3 spots, got {adata.n_obs}.")
    result = adata.copy()
    components = min(30, result.n_obs - 1, result.n_vars - 1)
    sc.pp.pca(result, n_comps=components, random_state=seed)
    sc.pp.neighbors(result, n_neighbors=min(n_neighbors, result.n_obs - 1), random_state=seed)
    sc.tl.leiden(
        result, resolution=resolution, key_added=KEY, flavor="igraph", n_iterations=2, directed=False, random_state=seed
    )
    return result
