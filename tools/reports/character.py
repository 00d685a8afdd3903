"""Does a character come when its trigger word is said, and stay away when it is not?

    python -m tools.reports.character

Trains `sample_data/peep` twice, with the shipped preset and with preservation off. Prompts with the trigger ask for
expressions, accessories and backgrounds in combinations that were not trained; prompts without it ask for other
things, faces first of all. Drift is the mean distance of the latents from the base's own picture for the same
prompt and seed. The last line on stdout is one JSON object:

    with_trigger                  share of the pictures whose nearest picture, of base data and figure, is the figure
    without_trigger               the same share of the prompts without the trigger word
    drift_ratio                   drift without the trigger, divided by that with it
    drift_without_preservation    the same ratio of the run without preservation
    drift_cut                     by what share preservation lessened the drift without the trigger
    held_out_cost                 what it cost: the held-out loss divided by that without preservation, less 1
    train_seconds                 of the run with preservation
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import lorastyle
from tools.pocket import captions, drawings
from tools.reports import judge, runs, sheets
from tools.sample_data import peeps

TRIGGER = "mila"
CLASS_WORD = "face"
FOLDER = runs.FOLDER / "character"
COLOURS = list(drawings.BACKGROUNDS)


@dataclass(frozen=True)
class Asked:
    """A prompt and the background that it names."""

    prompt: str
    background: str


def asked_with_trigger() -> list[Asked]:
    """Each expression twice, with an accessory and on a background with which it was not trained."""
    accessories = ["", "glasses", "sunglasses"]
    poses = [
        peeps.Pose(expression, accessories[number % 3], COLOURS[(3 * number + turn) % len(COLOURS)])
        for turn in (1, 3)
        for number, expression in enumerate(peeps.EXPRESSIONS)
    ]
    unseen = [pose for pose in poses if pose not in peeps.POSES]
    return [Asked(peeps.caption(pose).replace("[trigger]", TRIGGER), pose.background) for pose in unseen]


def asked_without_trigger() -> list[Asked]:
    """Other things in both styles on every background: a third faces, which are nearest to the figure."""
    known = drawings.concepts()
    things = [
        (concept, captions.STYLES[number % 2], COLOURS[number % len(COLOURS)])
        for number, concept in enumerate([*known[:24:3], *known[24::20]])
    ]
    return [Asked(str(captions.Caption(thing, style, None, colour)), colour) for thing, style, colour in things]


def figure() -> np.ndarray:
    """The figure's training pictures, RGB bytes [20, 128, 128, 3]."""
    paths = sorted((runs.SAMPLES / "peep").glob("*.png"))
    size = (drawings.SIZE, drawings.SIZE)
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BOX)) for path in paths])


def shows_figure(pictures: np.ndarray, asked: list[Asked]) -> np.ndarray:
    """For each picture whether it is nearer to one of the figure than to any drawing of the base on its background."""
    result = np.zeros(len(pictures), dtype=bool)
    for colour in COLOURS:
        places = [number for number, one in enumerate(asked) if one.background == colour]
        if places:
            base = [drawings.picture(s, concept, colour) for s in captions.STYLES for concept in drawings.concepts()]
            nearest = judge.nearest(pictures[places], np.concatenate([np.stack(base), figure()]))
            result[places] = nearest >= len(base)
    return result


@dataclass(frozen=True)
class Half:
    """The pictures of the prompts with (or without) the trigger word, those of the base alone, and their distance."""

    asked: list[Asked]
    pictures: np.ndarray
    alone: np.ndarray
    figure: np.ndarray
    drift: float


def measure(base: lorastyle.Base, asked: list[Asked], adapter: str, seed: int) -> Half:
    prompts = [one.prompt for one in asked]
    pictures, alone = runs.draw(base, prompts, adapter, seed), runs.draw(base, prompts, None, seed)
    distance = (runs.latents(base, pictures) - runs.latents(base, alone)).flatten(1)
    drift = float(torch.linalg.vector_norm(distance, dim=1).mean() / distance.shape[1] ** 0.5)
    return Half(asked, pictures, alone, shows_figure(pictures, asked), drift)


@dataclass(frozen=True)
class Outcome:
    """What one training came to."""

    called: Half
    uncalled: Half
    held_out: float
    train_seconds: float

    @property
    def drift_ratio(self) -> float:
        return self.uncalled.drift / self.called.drift


def trained(base: lorastyle.Base, name: str, seed: int, *options: str) -> Outcome:
    """Train the figure with these further options and measure what the adapter draws."""
    out = FOLDER / name
    options = ("--purpose", "character", "--trigger", TRIGGER, "--set", f"class_word={CLASS_WORD}", *options)
    said = runs.train(runs.SAMPLES / "peep", out, "--seed", str(seed), *options)
    held_out = [row["held_out"] for row in runs.metrics(out) if "held_out" in row][-1]
    called = measure(base, asked_with_trigger(), said["adapter"], seed)
    uncalled = measure(base, asked_without_trigger(), said["adapter"], seed)
    for words, half in (("with", called), ("without", uncalled)):
        runs.console.print(f"{name}, {words} trigger: figure {half.figure.mean():.2f}, drift {half.drift:.3f}")
    runs.console.print(f"{name}: held-out loss {held_out:.3f} of the base's")
    save_sheet(called, ~called.figure, out.with_name(f"{name}-with-trigger.png"))
    save_sheet(uncalled, uncalled.figure, out.with_name(f"{name}-without-trigger.png"))
    return Outcome(called, uncalled, held_out, said["train_seconds"])


def save_sheet(half: Half, wrong: np.ndarray, path: Path) -> None:
    """Pairs of pictures: the base alone, and with the adapter; red where the figure is missing or out of place."""
    pictures = np.stack([half.alone, half.pictures], axis=1).reshape(-1, *half.pictures.shape[1:])
    labels = [f"{who}: {one.prompt}" for one in half.asked for who in ("base", "adapter")]
    sheets.save(sheets.contact_sheet(pictures, labels, 12, set((2 * np.flatnonzero(wrong) + 1).tolist())), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    base = lorastyle.load_base("pocket")
    kept = trained(base, "preserved", seed)
    loose = trained(base, "unpreserved", seed, "--set", "preservation=0")
    runs.console.print(f"pictures: {FOLDER}")
    runs.publish(
        {
            "with_trigger": float(kept.called.figure.mean()),
            "without_trigger": float(kept.uncalled.figure.mean()),
            "drift_ratio": kept.drift_ratio,
            "drift_without_preservation": loose.drift_ratio,
            "drift_cut": 1 - kept.uncalled.drift / loose.uncalled.drift,
            "held_out_cost": kept.held_out / loose.held_out - 1,
            "train_seconds": kept.train_seconds,
        }
    )


if __name__ == "__main__":
    main()
