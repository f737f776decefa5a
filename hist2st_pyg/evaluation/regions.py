"""Spatial regions: clusters of spots by their predicted or measured expression, through scanpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hist2st_pyg.datasets._tables import UNLABELLED
from hist2st_pyg.threads import same_threads

if TYPE_CHECKING:
    from anndata import AnnData

KEY = "region"


@same_threads()
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


def region_agreement(expression: ArrayLike, labels: ArrayLike, seed: int = 0) -> dict[str, float] | None:
    """How well the regions of a prediction agree with labels, through scikit-learn.

    All spots are clustered by :func:`find_regions`; those labelled "undetermined" are not compared. The number of
    regions is what Leiden finds, not the number of labels.

    Args:
        expression: Predicted log expression [N spots, G genes].
        labels: The spots' labels [N], as ``section.label`` has them.
        seed: Seed of the clustering.

    Returns:
        ``ari``, the adjusted Rand index (Hubert and Arabie 1985), and ``nmi``, the normalised mutual information;
        both 1 where the partitions are the same, 0 where there is one region. None where the spots have fewer than two
        labels.

    Raises:
        ImportError: If the ``cluster`` extra is not installed.
        ValueError: If there is not one label a spot, or there are fewer than three spots.
    """
    from anndata import AnnData
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    values, names = np.asarray(expression), np.asarray(labels, dtype=object)
    if values.ndim != 2 or names.shape != values.shape[:1]:
        raise ValueError(
            f"expression is [N spots, G genes] with one label a spot, got shapes {list(values.shape)} and "
            f"{list(names.shape)}."
        )
    known = names != UNLABELLED
    truth = names[known].astype(str)
    if len(set(truth)) < 2:
        return None
    found = np.zeros(len(values), dtype=str)
    if (values != values[0]).any():  # spots that are all the same are one region; PCA would divide by 0
        found = find_regions(AnnData(values), seed=seed).obs[KEY].to_numpy(str)
    return {
        "ari": float(adjusted_rand_score(truth, found[known])),
        "nmi": float(normalized_mutual_info_score(truth, found[known])),
    }
