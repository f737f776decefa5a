"""Convert a published checkpoint of Hist2ST or HisToGene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = ("hist2st convert 5-Hist2ST.ckpt -o her2st_fold_5 --genes panel.txt",)
FLAGS: dict[str, tuple[type, str]] = {
    "policy": (str, "mean or max over the neighbors (Hist2ST)."),
    "heads": (int, "Attention heads, if they are not 64 channels wide (HisToGene)."),
    "dim_head": (int, "Channels of a head (HisToGene)."),
    "dropout": (float, "Dropout, for further training."),
    "neighbors": (int, "Neighbors of each spot."),
    "prune": (
        str,
        "Grid: neighbors at most two array steps away; NA: all. By default NA with cSCC's 171 genes.",
    ),
}
"""Arguments of the original programs that their weights do not determine."""


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument(
        "checkpoint", type=str, help="The .ckpt or .pth of the original program; loaded without executing code."
    )
    parser.add_argument("--output", "-o", type=str, required=True, help="The folder to write.")
    parser.add_argument("--name", type=str | None, default=None, help="hist2st or histogene; default: detected.")
    parser.add_argument(
        "--genes", type=str | None, default=None, help="The gene panel, one gene per line, in the order of the weights."
    )
    parser.add_argument(
        "--training_sections",
        type=list[str],
        default=[],
        help="The checkpoint's training sections: '[A/A1, A/A2, B/B1]'.",
    )
    parser.add_argument("--config", type=str | None, default=None, help="JSON file of the program's arguments.")
    for name, (kind, text) in FLAGS.items():
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=text)
    return run


def run(parsed: Namespace) -> None:
    """Convert the checkpoint, save the model, and print the arguments taken from the publication."""
    from pathlib import Path

    from hist2st_pyg.compat import convert, read_config
    from hist2st_pyg.utils.writable import check_folder

    check_folder(parsed.output, "--output")
    config: dict[str, Any] = {} if parsed.config is None else read_config(parsed.config)
    config.update({name: parsed[name] for name in FLAGS if parsed[name] is not None})
    done = convert(
        parsed.checkpoint,
        name=parsed.name,
        config=config,
        genes=parsed.genes,
        training_sections=parsed.training_sections,
    )
    origin = f"Converted from {Path(parsed.checkpoint).name}, a checkpoint of the original {done.name}."
    done.model.save_pretrained(parsed.output, model_card_kwargs={"notes": origin})
    print(f"{done.name} of {done.arguments['n_genes']} genes in {parsed.output}.")
    print(f"Assumed as published: {', '.join(f'{name}={value}' for name, value in done.assumed.items()) or 'nothing'}.")
    if parsed.genes is None:
        print("The checkpoint does not name its genes, so they are numbered; set --genes to name them.")
    if not parsed.training_sections:
        print("The checkpoint names no training sections; set --training_sections, so that evaluate detects them.")
