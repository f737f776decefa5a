"""``hist2st regions``."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import pandas as pd
import pytest

from hist2st_pyg.analysis.regions import agreement, find_regions
from hist2st_pyg.cli import main

pytestmark = pytest.mark.usefixtures("prediction")


def test_regions(prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["regions", "made.h5ad", "--method", "kmeans", "--labels", "tissue", "-o", "out.h5ad", "--seed", "2"]
    assert main([*arguments, "--figures", "pictures"]) == 0
    found = find_regions(prediction, "kmeans", n_regions=3, seed=2)  # as many as labels
    expected = agreement(found.obs["region"], prediction.obs["tissue"])
    assert expected is not None
    out = capsys.readouterr().out
    sizes = ", ".join(f"{region}: {n}" for region, n in found.obs["region"].value_counts(sort=False).items())
    assert out.splitlines() == [
        f"3 regions of 64 spots (kmeans): {sizes}.",
        f"ARI {expected['ari']:.3f}, NMI {expected['nmi']:.3f} against 3 labels.",
        "Regions: out.h5ad",
        "Picture: pictures/made_regions.png",
    ]
    written = anndata.read_h5ad("out.h5ad")
    assert list(written.obs["region"].astype(str)) == list(found.obs["region"].astype(str))
    assert list(written.obs["label"]) == list(prediction.obs["tissue"])
    assert written.uns["region"]["ari"] == expected["ari"]
    assert written.uns["region"]["params"]["method"] == "kmeans"


def test_regions_as_published(prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    tissue, kept = prediction.obs["tissue"].astype(object), prediction.obs["array_row"] > 0
    tissue[kept].rename("label").rename_axis("spot").to_csv("labels.csv")
    arguments = ["regions", "made.h5ad", "--method", "paper", "--labels", "labels.csv"]
    assert main([*arguments, "-o", "out.h5ad", "--figures", "pictures"]) == 0
    known = tissue.where(kept, "undetermined").to_numpy()
    expected = agreement(find_regions(prediction, "paper", labels=known).obs["region"], known)
    assert expected is not None
    out = capsys.readouterr().out
    assert out.startswith("3 regions of 56 spots (paper): 0: ")
    assert "8 spots with the label 'undetermined' were dropped." in out
    assert f"ARI {expected['ari']:.3f}, NMI {expected['nmi']:.3f} against 3 labels." in out
    written = anndata.read_h5ad("out.h5ad")
    assert (written.obs["region"] == "undetermined").sum() == 8
    assert main(["genes", "out.h5ad", "--regions", "--figures", "pictures", "-o", "genes.csv"]) == 0
    assert set(pd.read_csv("genes_markers.csv")["group"].astype(str)) == {"0", "1", "2"}
    assert main(["regions", "made.h5ad", "--method", "paper"]) == 2
    assert "as many regions as labels: set labels" in capsys.readouterr().err


def test_regions_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regions", "made.h5ad", "--resolution", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "regions of 64 spots (leiden): 0: " in out
    assert "ARI" not in out
    assert main(["regions", "made.h5ad", "--method", "kmeans"]) == 2
    assert "k-means without labels needs --n_regions" in capsys.readouterr().err


def test_regions_of_a_label_file_of_one_label(capsys: pytest.CaptureFixture[str]) -> None:
    Path("labels.csv").write_text("spot,label\n0x0,fat\n1x0,fat\n")
    assert main(["regions", "made.h5ad", "--labels", "labels.csv", "-o", "out.h5ad"]) == 0
    assert main(["regions", "made.h5ad", "-o", "out.geojson"]) == 0
    outlined = {feature["properties"]["name"] for feature in json.loads(Path("out.geojson").read_text())["features"]}
    assert outlined == set(anndata.read_h5ad("out.h5ad").obs["region"].astype(str)) - {"undetermined"}
    assert main(["regions", "made.h5ad", "--labels", "out.geojson"]) == 0
    assert "fewer than two labels, so agreement cannot be computed" in capsys.readouterr().out
