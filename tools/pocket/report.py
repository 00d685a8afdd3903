"""Measure a base that ships as plain diffusers sees it.

    python -m tools.pocket.report [--base pocket-flux]

Draws every concept in both styles, on backgrounds spread evenly over the named colours, and looks up the nearest of
all drawings (pixels averaged 4 x 4, on the background that was asked for). The last line on stdout is one JSON object:

    psnr_glossy, psnr_flat, psnr_high_contrast    of the autoencoder, in dB, on drawings on white
    same_drawing, same_style                      shares whose nearest drawing is right in concept and style; in style
    background                                    share of backgrounds whose colour is nearest to the one named
    load_seconds                                  from_pretrained, after diffusers itself is imported
    four_images_seconds                           four prompts at once, 20 steps, right after loading
    megabytes                                     of the folder (10^6 bytes)
    guidance, images                              how the pictures were drawn, and how many
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

import lorastyle
from tools.pocket import autoencoder, drawings
from tools.pocket.captions import STYLES, Caption
from tools.pocket.plain import BASES, Pipeline
from tools.reports import judge, sheets

FOLDER = Path("runs") / "reports"
STEPS = 25
SHOWN = 100

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Asked:
    """One picture asked of the base."""

    concept: drawings.Concept
    style: str
    background: str

    @property
    def prompt(self) -> str:
        """White is what a caption leaves unsaid."""
        return str(Caption(self.concept, self.style, None, None if self.background == "white" else self.background))


def asked() -> list[Asked]:
    """Every concept in every style; each style meets the colours in turn, and a concept two different ones."""
    colours = list(drawings.BACKGROUNDS)
    return [
        Asked(concept, style, colours[(number + 3 * turn) % len(colours)])
        for turn, style in enumerate(STYLES)
        for number, concept in enumerate(drawings.concepts())
    ]


def four_images_seconds(pipeline: Pipeline) -> float:
    prompts = [one.prompt for one in asked()[:: len(asked()) // 4][:4]]
    begun = time.perf_counter()
    pipeline.draw(prompts, steps=20)
    return time.perf_counter() - begun


@dataclass(frozen=True)
class Seen:
    """What the nearest drawings and the borders say of the pictures."""

    nearest: list[tuple[str, drawings.Concept]]
    backgrounds: list[str]

    @classmethod
    def of(cls, pictures: np.ndarray, wanted: list[Asked]) -> "Seen":
        every = [(style, concept) for style in STYLES for concept in drawings.concepts()]
        rgba = np.stack([drawings.drawing(style, concept) for style, concept in every])
        found = np.zeros(len(wanted), dtype=int)
        for name, colour in drawings.BACKGROUNDS.items():
            places = [number for number, one in enumerate(wanted) if one.background == name]
            found[places] = judge.nearest(pictures[places], drawings.composite(rgba, colour))
        return cls([every[index] for index in found], judge.backgrounds(pictures, drawings.BACKGROUNDS))

    def results(self, wanted: list[Asked]) -> dict[str, float]:
        both = list(zip(self.nearest, self.backgrounds, wanted, strict=True))
        return {
            "same_drawing": share([near == (one.style, one.concept) for near, _, one in both]),
            "same_style": share([near[0] == one.style for near, _, one in both]),
            "background": share([colour == one.background for _, colour, one in both]),
        }

    def faults(self, wanted: list[Asked]) -> dict[int, str]:
        """For each wrong picture, by its number, what it is instead."""
        faults = {}
        for number, (near, colour, one) in enumerate(zip(self.nearest, self.backgrounds, wanted, strict=True)):
            wrong_drawing = near != (one.style, one.concept)
            if wrong_drawing or colour != one.background:
                faults[number] = f"{near[0]} {near[1].words}" if wrong_drawing else f"on {colour}"
        return faults


def share(values: list[bool]) -> float:
    return sum(values) / len(values)


def save_sheets(pictures: np.ndarray, wanted: list[Asked], faults: dict[int, str], folder: Path) -> None:
    """`generations.png`, evenly chosen, and `faults.png`, all that are wrong with what they are taken for."""
    chosen = np.linspace(0, len(wanted) - 1, SHOWN).round().astype(int)
    wrong = {place for place, number in enumerate(chosen) if number in faults}
    labels = [wanted[number].prompt for number in chosen]
    sheets.save(sheets.contact_sheet(pictures[chosen], labels, 10, wrong), folder / "generations.png")
    if faults:
        labels = [f"{wanted[number].prompt} > {instead}" for number, instead in faults.items()]
        sheets.save(sheets.contact_sheet(pictures[list(faults)], labels, 10), folder / "faults.png")


def psnr(pipeline: Pipeline) -> dict[str, float]:
    with torch.no_grad(), console.status("measuring the autoencoder"):
        measured = autoencoder.measure(pipeline.pipeline.vae, count=170)
    names = {drawings.GLOSSY: "glossy", drawings.FLAT: "flat", drawings.INK: "high_contrast"}
    return {f"psnr_{names[kind]}": value for kind, value in measured.items()}


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def report(name: str, folder: Path, guidance: float) -> dict[str, Any]:
    """Measure the base `name`, or what lies in its form at `folder`."""
    pipeline, wanted = Pipeline(BASES[name], folder, guidance), asked()
    seconds = four_images_seconds(pipeline)
    pictures = pipeline.draw_all([one.prompt for one in wanted], STEPS, console)
    seen = Seen.of(pictures, wanted)
    save_sheets(pictures, wanted, seen.faults(wanted), FOLDER / name)
    console.print(f"pictures: {FOLDER / name}")
    timings = {"load_seconds": round(pipeline.load_seconds, 2), "four_images_seconds": round(seconds, 2)}
    size = {"megabytes": round(megabytes(folder), 2), "guidance": guidance, "images": len(wanted)}
    return psnr(pipeline) | seen.results(wanted) | timings | size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=BASES, default="pocket", help="which of the bases that ship")
    parser.add_argument("--folder", type=Path, default=None, help="another base in the same form")
    parser.add_argument("--guidance", type=float, default=None, help="lorastyle's own for the base by default")
    options = parser.parse_args()
    folder = options.folder or BASES[options.base].folder
    guidance = options.guidance
    if guidance is None:
        guidance = lorastyle.load_base(str(folder)).guidance
    print(json.dumps(report(options.base, folder, guidance)), flush=True)


if __name__ == "__main__":
    main()
