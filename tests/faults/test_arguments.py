"""Arguments that cannot be right, of every command, its devices and its outputs: refused by name before the work."""

from __future__ import annotations

from pathlib import Path

import pytest
from _helpers.faults import Case, case, check, folder, put, rows

P = "predict model a.png -o out.h5ad --spots s.csv"
X = "explain model a.png --gene GENE1 --figures f --spots s.csv --steps 2"
V = "evaluate model --data.name anndata --data.root ann"

CASES: list[Case] = [
    *(
        case(f"predict {words}", f"{P} {words}", said)
        for words, said in (
            ("--pitch -1", "pitch.*-1"),
            ("--pitch 0", "pitch.*0"),
            ("--pitch nan", "pitch.*nan"),
            ("--pitch wide", "pitch.*wide"),
            ("--pitch 1 --pitch_um 2", "pitch"),
            ("--um_per_pixel 0", "um_per_pixel.*0"),
            ("--um_per_pixel -3", "um_per_pixel.*-3"),
            ("--um_per_pixel inf", "um_per_pixel.*inf"),
            ("--um_per_pixel nan", "um_per_pixel.*nan"),
            ("--block 0", "block.*0"),
            ("--block -4", "block.*-4"),
            ("--block 1.5", "block.*1.5"),
            ("--device abacus", "abacus"),
            ("--device ''", "device"),
            ("--device cuda", "cuda"),
            ("--device cuda:99", "cuda:99"),
            ("--device cuda:x", "cuda:x"),
            ("--device meta", "meta"),
            ("--device mps", "mps"),
            ("--device cpu:-1", "cpu:-1"),
            ("--genes [NOPE] --figures f", "NOPE"),
            ("--figures a.png", r"a\.png"),
            ("--figures /proc/figures", "/proc/figures"),
            ("--jobs 2", "--jobs"),
            ("--format csv", "--format"),
            ("--unknown 1", "--unknown"),
            ("--spots nowhere.csv", r"nowhere\.csv"),
            ("--spots model", "model"),
            ("--spots ''", "spot"),
        )
    ),
    case("grid too fine", "predict model a.png -o out.h5ad --pitch 1e-9 --um_per_pixel 3", r"pitch|a\.png"),
    case("grid too wide", "predict model a.png -o out.h5ad --pitch 1e9 --um_per_pixel 3", r"pitch|a\.png"),
    case("grid without a resolution", "predict model a.png -o out.h5ad --pitch_um 100", r"um_per_pixel|resolution"),
    case("output missing", "predict model a.png", "output"),
    case("output empty", "predict model a.png -o ''", "--output"),
    case("output a folder", f"{P}", r"out\.h5ad", folder("out.h5ad")),
    case("output below a file", "predict model a.png -o a.png/out.h5ad --spots s.csv", r"a\.png"),
    case("output no place", "predict model a.png -o /proc/out.h5ad --spots s.csv", "/proc"),
    case("output of a kind", "predict model a.png -o out.tsv --spots s.csv", r"\.tsv"),
    case("output is the image", "predict model a.png -o a.png --spots s.csv", r"a\.png"),
    case("store that is a file", "predict model a.png -o x.zarr --spots s.csv", r"x\.zarr", put("x.zarr", "text")),
    case("store that is a folder", "predict model a.png -o x.zarr --spots s.csv", r"x\.zarr", put("x.zarr/note", "n")),
    case("cohort on a file", "predict model a.png a.png -o s.csv/", r"s\.csv"),
    case("cohort, one name", "predict model a.png a.png -o out", "'a'"),
    case("cohort, jobs", "predict model a.png -o out --jobs 0", "jobs.*0"),
    case("cohort, jobs below", "predict model a.png -o out --jobs -2", "jobs.*-2"),
    case("cohort, format", "predict model a.png -o out --format xlsx", "xlsx"),
    case("cohort, executor", "predict model a.png -o out --executor cloud", "cloud"),
    case("cohort, gpus", "predict model a.png -o out --gpus -1", "gpus.*-1"),
    case("cohort, gpus without ray", "predict model a.png -o out --gpus 1", "gpus"),
    case("cohort, device", "predict model a.png -o out --device abacus", "abacus"),
    case("cohort, genes", "predict model a.png -o out --genes [NOPE]", "NOPE"),
    case("cohort, image", "predict model a.png b.png -o out", r"b\.png"),
    case("cohort, spots", "predict model a.png -o out --spots nowhere", "nowhere"),
    case("no image", "predict model -o out.h5ad", "IMAGES"),
    *(
        case(f"evaluate {words}", f"{V} {words}", said)
        for words, said in (
            ("--device abacus", "abacus"),
            ("--device cuda:99", "cuda:99"),
            ("--device meta", "meta"),
            ("--data.sections [Z]", "Z"),
            ("--data.sections [S,S]", "S.*more than once"),
            ("--data.sections ''", "section"),
            ("--data.options '{\"unknown\": 1}'", "unknown"),
            ("--data.options text", r"data\.options"),
            ("--data.patients '{\"Z\": 1}'", "Z"),
            ("--data.patients each", r"data\.patients"),
            ("--data.stripes 0", "stripes"),
            ("--output ann", "ann"),
            ("--output ''", "output"),
            ("--output /proc/out.json", "/proc"),
            ("--output ann/S.png/out.json", r"S\.png"),
            ("--figures ann/S.png", r"S\.png"),
            ("--figures /proc/f", "/proc/f"),
            ("--data.name nowhere", "nowhere"),
            ("--data.root nowhere", "nowhere"),
        )
    ),
    case("evaluate without data", "evaluate model", r"config\.yaml"),
    *(
        case(f"explain {words}", f"{X} {words}", said)
        for words, said in (
            ("--gene NOPE", "NOPE"),
            ("--spot spot_99", "spot_99"),
            ("--top 0", "top.*0"),
            ("--method magic", "magic"),
            ("--baseline black", "black"),
            ("--pixels -1", "pixels.*-1"),
            ("--steps 0", "steps.*0"),
            ("--epochs 0 --method gnnexplainer", "epochs.*0"),
            ("--seed -1 --method gnnexplainer", "seed.*-1"),
            ("--device abacus", "abacus"),
            ("--um_per_pixel -1", "um_per_pixel.*-1"),
            ("--pitch -1", "pitch.*-1"),
            ("--output /proc/x.json", "/proc"),
            ("--figures a.png", r"a\.png"),
            ("--figures /proc/f", "/proc/f"),
        )
    ),
    *(
        case(words, words, said)
        for words, said in (
            ("regions p.h5ad --method magic", "magic"),
            ("regions p.h5ad --method kmeans", "n_regions"),
            ("regions p.h5ad --method kmeans --n_regions 0", "n_regions.*0"),
            ("regions p.h5ad --method kmeans --n_regions -3", "n_regions.*-3"),
            ("regions p.h5ad --method kmeans --n_regions 1000", "n_regions.*1000|1000.*regions"),
            ("regions p.h5ad --method paper", "label"),
            ("regions p.h5ad --resolution -1", "resolution.*-1"),
            ("regions p.h5ad --resolution nan", "resolution.*nan"),
            ("regions p.h5ad --seed -1", "seed.*-1"),
            ("regions p.h5ad --seed text", "seed.*text"),
            ("regions p.h5ad --labels nowhere", "nowhere"),
            ("regions p.h5ad --method kmeans --n_regions 2 -o /proc/x.h5ad", "/proc"),
            ("regions p.h5ad --method kmeans --n_regions 2 -o ''", "output"),
            ("regions p.h5ad --method kmeans --n_regions 2 --figures p.h5ad", r"p\.h5ad"),
            ("regions p.h5ad --method kmeans --n_regions 2 --figures /proc/f", "/proc/f"),
            ("genes p.h5ad --regions nowhere", "nowhere"),
            ("genes p.h5ad -o /proc/x.csv", "/proc"),
            ("genes p.h5ad -o ''", "output"),
            ("genes p.h5ad --figures p.h5ad", r"p\.h5ad"),
            ("genes p.h5ad --figures /proc/f", "/proc/f"),
            ("pathways p.h5ad --gene_sets nowhere.gmt", r"nowhere\.gmt"),
            ("pathways p.h5ad --gene_sets sets.gmt --min_genes 99", "99"),
            ("pathways p.h5ad --gene_sets sets.gmt --min_genes -1", "min_genes.*-1"),
            ("pathways p.h5ad --gene_sets sets.gmt --enrich nowhere", "nowhere"),
            ("pathways p.h5ad --gene_sets sets.gmt --measured nowhere.h5ad", r"nowhere\.h5ad"),
            ("pathways p.h5ad --gene_sets sets.gmt --seed -1", "seed.*-1"),
            ("pathways p.h5ad --gene_sets sets.gmt --figures sets.gmt", r"sets\.gmt"),
            ("pathways p.h5ad --gene_sets sets.gmt -o /proc/x.csv", "/proc"),
            ("confidence p.h5ad --measured nowhere.h5ad", r"nowhere\.h5ad"),
            ("confidence p.h5ad --measured Z --data.name synthetic", "Z"),
            ("confidence p.h5ad --measured A1 --data.name nowhere", "nowhere"),
            ("confidence p.h5ad -o /proc/x.csv", "/proc"),
            ("confidence p.h5ad -o ''", "output"),
            ("confidence p.h5ad --figures p.h5ad", r"p\.h5ad"),
            ("info nowhere", "nowhere"),
            ("info ''", "file|path|folder"),
            ("info her --dataset nowhere", "nowhere"),
            ("info her --sections [Z9]", "Z9"),
            ("info her --sections []", "section"),
            ("info her --options '{\"unknown\": 1}'", "unknown"),
            ("info her --options text", "options"),
            ("info s.csv", r"s\.csv"),
            ("info", "PATH"),
            ("download", "DATASET"),
            ("download nowhere --root x", "nowhere"),
            ("download visium --root x", "visium"),
            ("download her2st", "root"),
            ("download her2st --root x --parts [nothing]", "nothing"),
            ("download her2st --root x --parts []", "parts"),
            ("download her2st --root x --manifest nowhere.tsv", r"nowhere\.tsv"),
            ("download her2st --root x --manifest s.csv", r"s\.csv"),
            ("download her2st --root x --base_url nonsense --listing_url nonsense", "nonsense"),
            ("download her2st --root s.csv --listing_url file:///etc/passwd", r"s\.csv|file:"),
            ("download her2st --root x --unknown 1", "--unknown"),
            ("demo --output a.png", r"a\.png"),
            ("demo --output /proc/demo", "/proc/demo"),
            ("demo --output ''", "output"),
            ("demo --gnn nowhere", "nowhere"),
            ("demo --seed -1", "seed.*-1"),
            ("demo --seed text", "seed.*text"),
            ("demo --wandb perhaps", "perhaps"),
            ("demo --output her", "her"),
            ("doctor now", "now"),
            ("doctor --unknown", "--unknown"),
            ("convert nowhere.ckpt -o out", r"nowhere\.ckpt"),
            ("convert other.ckpt", "output"),
            ("convert other.ckpt -o ''", r"output|other\.ckpt"),
            ("convert other.ckpt -o a.png", r"other\.ckpt|a\.png"),
            ("convert other.ckpt -o out --name oracle", r"oracle|other\.ckpt"),
            ("convert other.ckpt -o out --heads 0", r"heads.*0|other\.ckpt"),
            ("convert other.ckpt -o out --config nowhere.json", r"nowhere\.json"),
            ("convert other.ckpt -o out --genes nowhere.txt", r"nowhere\.txt|other\.ckpt"),
        )
    ),
]


@pytest.mark.parametrize("case", rows(CASES, every=19))
def test_arguments_that_cannot_be_right_are_refused_in_one_line(
    case: Case, world: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    check(case, world, capfd)


@pytest.mark.parametrize("argument", ["", "nowhere", "--unknown", "-"])
def test_a_word_that_is_no_command_is_refused_in_one_line(argument: str, capfd: pytest.CaptureFixture[str]) -> None:
    from _helpers.faults import run

    assert run(f"'{argument}'") == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert error.rstrip().splitlines()[-1].startswith("hist2st")
