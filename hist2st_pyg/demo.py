"""Training, prediction and evaluation on the embedded synthetic cohort, from sections to pictures."""

from __future__ import annotations

from pathlib import Path

from hist2st_pyg.datasets import load_sections

EPOCHS = 50
MARKER = ".demo"
"""The file that marks the folder of a demo."""


def demo(output: str = "runs/demo", gnn: str = "sage", seed: int = 0, wandb: str = "auto") -> None:
    """Train on two synthetic patients, predict the third from its images alone, compare, and draw pictures.

    Args:
        output: The folder of the results; replaces an earlier demo in it.
        gnn: The graph layer.
        seed: Seed of all random numbers.
        wandb: As in :class:`~hist2st_pyg.training.TrainConfig`.

    Raises:
        FileExistsError: If the folder has other files than those of an earlier demo.
    """
    from hist2st_pyg.analysis.maps import draw_prediction
    from hist2st_pyg.evaluation.model_scores import evaluate
    from hist2st_pyg.inference import predict, write_h5ad
    from hist2st_pyg.models import load_model
    from hist2st_pyg.training import preset_config, train
    from hist2st_pyg.training.checks import check_config
    from hist2st_pyg.utils.files import write_json
    from hist2st_pyg.utils.own_folder import check_replaceable, replace_earlier
    from hist2st_pyg.utils.writable import check_folder

    check_folder(output, "output")
    folder = Path(output)
    check_replaceable(folder, MARKER, "demo")
    print("Generating the synthetic cohort: 3 patients, 2 sections each.")
    sections = load_sections("synthetic", seed=seed)
    held_out = [section for section in sections if section.patient == "C"]
    config = preset_config(
        "small",
        data={"name": "synthetic", "test": [section.name for section in held_out], "n_genes": 50, "val_share": 0.2},
        model={"gnn": gnn},
        training={"epochs": EPOCHS},
        seed=seed,
        output=str(folder),
        wandb=wandb,
    )
    check_config(config)  # before removing an earlier demo
    replace_earlier(folder, MARKER, "demo")
    print("Training Hist2ST (preset small) on patients A and B.")
    train(config, sections)
    model = load_model(folder)
    print("Predicting patient C, and comparing with its counts.")
    result = evaluate(model, held_out, figures=folder / "figures")
    write_json(folder / "evaluation.json", result)
    slide = held_out[0]
    prediction = predict(model, slide.require_image(), um_per_pixel=slide.um_per_pixel, name=f"{slide.name}_grid")
    write_h5ad(prediction, folder / f"{slide.name}_grid.h5ad")
    draw_prediction(prediction, folder / "figures")
    print(f"Mean PCC on the held-out patient: {result['pcc_mean']:.3f} ({len(held_out)} sections, 50 genes).")
    print("Pictures:")
    for picture in sorted((folder / "figures").glob("*.png")):
        print(f"  {picture}")
