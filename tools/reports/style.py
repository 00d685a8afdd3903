"""Does a style carry over to things it was not trained on?

    python -m tools.reports.style [--base pocket-flux]

Trains `sample_data/ink` with the shipped preset, once for each seed, and draws the concepts of
`sample_data/ink-unseen`. Style: what a classifier of drawing styles says, which was fitted on other concepts and
must first recognise the true drawings of these (the exam). Concept: the nearest of all the base's drawings by edge
map. The last line on stdout is one JSON object:

    style, concept           shares of the pictures that are right, mean over the seeds
    style_without_adapter    share of the base's own pictures for the same prompts that pass for the style
    exam                     share of the true drawings of the unseen concepts, in all three styles, told rightly
    train_seconds            the longest training
    style_seeds, concept_seeds    the shares of each seed
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lorastyle
from tools.pocket import drawings
from tools.reports import edges, runs, sheets
from tools.reports.classifier import StyleClassifier, statistics

TRIGGER = "sumi"
STYLES = (drawings.GLOSSY, drawings.FLAT, drawings.INK)
FOLDER = runs.FOLDER / "style"


@dataclass(frozen=True)
class Unseen:
    """A concept of `sample_data/ink-unseen` and the prompt made of its caption."""

    concept: drawings.Concept
    prompt: str


def unseen() -> list[Unseen]:
    known = {concept.words: concept for concept in drawings.concepts()}
    captions = sorted((runs.SAMPLES / "ink-unseen").glob("*.txt"))
    texts = [path.read_text(encoding="utf-8").strip() for path in captions]
    words = [path.stem.replace("-", " ") for path in captions]
    return [Unseen(known[name], text.replace("[trigger]", TRIGGER)) for name, text in zip(words, texts, strict=True)]


def drawn(style: str, concepts: list[drawings.Concept]) -> np.ndarray:
    """The drawings of `concepts` in `style` on white, RGB bytes [n, 128, 128, 3]."""
    return np.stack([drawings.picture(style, concept, "white") for concept in concepts])


class Judge:
    """Tells the style and the concept of pictures that `base` drew."""

    def __init__(self, base: lorastyle.Base, held: list[drawings.Concept]) -> None:
        self.base, self.held = base, held
        others = [concept for concept in drawings.concepts() if concept not in held][::3]
        with runs.console.status(f"fitting the style classifier on {len(others)} concepts"):
            examples = {style: self.carried_statistics(style, others) for style in STYLES}
            self.classifier = StyleClassifier.fitted(examples)
        every = list(drawings.concepts())
        self.concepts = every * 2
        self.drawings = np.concatenate([drawn(style, every) for style in (drawings.GLOSSY, drawings.FLAT)])

    def carried_statistics(self, style: str, concepts: list[drawings.Concept]) -> torch.Tensor:
        return self.statistics(runs.carried(self.base, drawn(style, concepts)))

    def statistics(self, pictures: np.ndarray) -> torch.Tensor:
        return statistics(pictures, runs.latents(self.base, pictures))

    def exam(self) -> float:
        """Share of the true drawings of the held concepts whose being ink or not is told rightly."""
        right = [
            (told == drawings.INK) == (style == drawings.INK)
            for style in STYLES
            for told in self.classifier(self.carried_statistics(style, self.held))
        ]
        return float(np.mean(right))

    def is_ink(self, pictures: np.ndarray) -> np.ndarray:
        """For each picture whether its style is ink [n]."""
        return np.array([style == drawings.INK for style in self.classifier(self.statistics(pictures))])

    def is_concept(self, pictures: np.ndarray, concepts: list[drawings.Concept]) -> np.ndarray:
        """For each picture whether the drawing nearest by edges is of its concept [n]."""
        found = [self.concepts[index] for index in edges.nearest(pictures, self.drawings)]
        return np.array([one == other for one, other in zip(found, concepts, strict=True)])


@dataclass(frozen=True)
class Outcome:
    """The pictures of one seed, and which of them are right in style and concept."""

    pictures: np.ndarray
    style: np.ndarray
    concept: np.ndarray
    train_seconds: float


def measure(judge: Judge, prompts: list[str], adapter: str | None, seed: int, train_seconds: float = 0.0) -> Outcome:
    pictures = runs.draw(judge.base, prompts, adapter, seed)
    outcome = Outcome(pictures, judge.is_ink(pictures), judge.is_concept(pictures, judge.held), train_seconds)
    who = f"seed {seed}" if adapter else "without adapter"
    runs.console.print(f"{who}: style {outcome.style.mean():.2f}, concept {outcome.concept.mean():.2f}")
    return outcome


def trained(judge: Judge, prompts: list[str], base: str, seed: int) -> Outcome:
    """Train on `base` with this seed and measure what the adapter draws."""
    options = ("--base", base, "--trigger", TRIGGER, "--seed", str(seed))
    said = runs.train(runs.SAMPLES / "ink", FOLDER / base / f"seed-{seed}", *options)
    return measure(judge, prompts, said["adapter"], seed, said["train_seconds"])


def sheet(judge: Judge, without: Outcome, outcomes: list[Outcome], path: Path) -> None:
    """Rows: the base alone, each seed, the true drawings; red where style or concept is wrong."""
    rows = [without.pictures, *(outcome.pictures for outcome in outcomes), drawn(drawings.INK, judge.held)]
    names = ["base: ", *(f"seed {number}: " for number in range(len(outcomes))), "true: "]
    labels = [f"{name}{concept.words}" for name in names for concept in judge.held]
    wrong = np.concatenate([~(outcome.style & outcome.concept) for outcome in outcomes])
    numbers = set((np.flatnonzero(wrong) + len(judge.held)).tolist())
    sheets.save(sheets.contact_sheet(np.concatenate(rows), labels, len(judge.held), numbers), path)


def report(base: str, seeds: int) -> dict[str, Any]:
    """Train on the base `base` once for each of so many seeds, and measure."""
    asked, folder = unseen(), FOLDER / base
    prompts = [one.prompt for one in asked]
    judge = Judge(lorastyle.load_base(base), [one.concept for one in asked])
    exam = judge.exam()
    runs.console.print(f"exam of the classifier: {exam:.3f}")
    without = measure(judge, prompts, None, 0)
    outcomes = [trained(judge, prompts, base, seed) for seed in range(seeds)]
    sheet(judge, without, outcomes, folder / "sheet.png")
    runs.console.print(f"pictures: {folder / 'sheet.png'}")
    styles = [float(outcome.style.mean()) for outcome in outcomes]
    concepts = [float(outcome.concept.mean()) for outcome in outcomes]
    return {
        "style": float(np.mean(styles)),
        "concept": float(np.mean(concepts)),
        "style_without_adapter": float(without.style.mean()),
        "exam": exam,
        "train_seconds": max(outcome.train_seconds for outcome in outcomes),
        "style_seeds": styles,
        "concept_seeds": concepts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="pocket", help="a base that ships (default pocket)")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds (default 3)")
    options = parser.parse_args()
    runs.publish(report(options.base, options.seeds))


if __name__ == "__main__":
    main()
