"""Build pocket's tokenizer and train its text encoder, alone and before the UNet.

    python -m tools.pocket.words

From every token at and after the end of the text the encoder learns to predict what the caption names: the concept,
style, filter and background, the drawing itself (its first principal components) and a fingerprint of any unknown
word, so that a trigger that it has never seen stays visible while the rest of the caption stays readable. Trained
along with the UNet from nothing, the same encoder learns several times slower.
"""

import argparse
import functools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerBase

from tools.pocket import drawings, packages, state
from tools.pocket.captions import STYLES, Caption, random_caption

FOLDER = packages.BUILD / "pocket"
STATE = FOLDER / "words.safetensors"
TOKENS = 40
WIDTH = 256
COMPONENTS = 192
FINGERPRINT = 48
BATCH = 96
RATE = 1e-3

Encoder = TypeVar("Encoder", bound=nn.Module)


def corpus() -> list[str]:
    """Text for the byte-pair merges: our captions, and the names and tags of all emoji for wider English."""
    generator = np.random.default_rng(0)
    ours = [str(random_caption(generator)) for _ in range(6000)]
    entries = packages.read("emojibase-data", "en/data.json")
    return ours + [" ".join([entry["label"], *entry.get("tags", [])]) for entry in entries] * 2


def build_tokenizer(folder: Path, size: int = 3000) -> None:
    """Write `vocab.json` and `merges.txt`: every byte, also as the end of a word, then the learnt merges."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=size - len(alphabet) - 2,
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            min_frequency=3,
            show_progress=False,
        ),
    )
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = alphabet + [letter + "</w>" for letter in alphabet] + ["".join(pair) for pair in merges]
    tokens = [*list(dict.fromkeys(tokens)), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")


@functools.cache
def tokenizer() -> CLIPTokenizer:
    folder = FOLDER / "tokenizer"
    if not (folder / "tokenizer_config.json").is_file():
        build_tokenizer(folder)
        made = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TOKENS)
        made.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(texts: list[str]) -> torch.Tensor:
    """Token ids [batch, 40], padded with the end token."""
    return tokenizer()(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


def architecture() -> CLIPTextModel:
    end = tokenizer().eos_token_id
    config = CLIPTextConfig(
        vocab_size=len(tokenizer()),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=tokenizer().bos_token_id,
        eos_token_id=end,
        pad_token_id=end,
    )
    return CLIPTextModel(config)


@functools.cache
def components() -> torch.Tensor:
    """The principal components of each drawing's thumbnail on white, [styles, concepts, 192], of unit scale."""
    known = drawings.concepts()
    thumbs = np.stack([[drawings.thumbnail(drawings.picture(s, c, "white")) for c in known] for s in STYLES])
    flat = torch.from_numpy(thumbs.reshape(len(STYLES) * len(known), -1)) / 255
    flat = flat - flat.mean(0)
    _, _, axes = torch.pca_lowrank(flat, COMPONENTS, center=False, niter=4)
    scores = flat @ axes
    return (scores / scores.std()).view(len(STYLES), len(known), COMPONENTS)


class Readout(nn.Module):
    """Linear readings of one token's output: what the caption names, and how the drawing looks."""

    def __init__(self, drawn: int = COMPONENTS) -> None:
        super().__init__()
        self.concept = nn.Linear(WIDTH, len(drawings.concepts()))
        self.style = nn.Linear(WIDTH, len(STYLES) + 1)
        self.filtered = nn.Linear(WIDTH, len(drawings.FILTERS) + 1)
        self.background = nn.Linear(WIDTH, len(drawings.BACKGROUNDS) + 1)
        self.drawing = nn.Linear(WIDTH, drawn)
        self.word = nn.Linear(WIDTH, FINGERPRINT)


def fingerprints(captions: list[Caption], reader: PreTrainedTokenizerBase) -> torch.Tensor:
    """A fixed random vector of each caption's unknown word, the mean over its tokens; zeros where there is none."""
    codes = torch.randn(len(reader), FINGERPRINT, generator=torch.Generator().manual_seed(7))
    rows = torch.zeros(len(captions), FINGERPRINT)
    for row, caption in enumerate(captions):
        if caption.word:
            rows[row] = codes[reader(caption.word, add_special_tokens=False).input_ids].mean(0)
    return rows


def drawing_targets(captions: list[Caption]) -> torch.Tensor:
    """The components of the drawing that each caption names; the mean of both styles where it names none."""
    places = {concept: index for index, concept in enumerate(drawings.concepts())}
    rows = torch.zeros(len(captions), COMPONENTS)
    for row, caption in enumerate(captions):
        if caption.concept:
            both = components()[:, places[caption.concept]]
            rows[row] = both[STYLES.index(caption.style)] if caption.style else both.mean(0)
    return rows


def labels(captions: list[Caption]) -> dict[str, torch.Tensor]:
    """Class indices per head [batch]; the last class is "unsaid", and -100 is not scored."""
    known = list(drawings.concepts())

    def index(value: str | None, names: list[str]) -> int:
        return len(names) if value is None else names.index(value)

    return {
        "concept": torch.tensor([known.index(c.concept) if c.concept else -100 for c in captions]),
        "style": torch.tensor([index(c.style, list(STYLES)) for c in captions]),
        "filtered": torch.tensor([index(c.filtered, list(drawings.FILTERS)) for c in captions]),
        "background": torch.tensor([index(c.background, list(drawings.BACKGROUNDS)) for c in captions]),
    }


def ending(ids: torch.Tensor, end: int, generator: np.random.Generator) -> torch.Tensor:
    """The end of each text, the first token `end`, and one random position at or after it: [batch, 2]."""
    ends = (ids == end).int().argmax(1)
    later = ends + torch.from_numpy(generator.random(len(ids)) * (ids.shape[1] - ends).numpy()).long()
    return torch.stack([ends, later], dim=1)


def reading_loss(
    readout: Readout, states: torch.Tensor, captions: list[Caption], reader: PreTrainedTokenizerBase
) -> tuple[torch.Tensor, float]:
    """How badly `readout` tells from the states [batch, 2, width] what the captions name, but for the drawing;
    and the share of concepts told rightly from the first."""
    loss, right = torch.zeros(()), 0.0
    for head, classes in labels(captions).items():
        scores = getattr(readout, head)(states)
        loss = loss + F.cross_entropy(scores.flatten(0, 1), classes.repeat_interleave(2), ignore_index=-100)
        if head == "concept":
            right = float((scores[:, 0].argmax(-1) == classes)[classes >= 0].float().mean())
    codes = fingerprints(captions, reader)[:, None].expand(-1, 2, -1)
    return loss + 4 * F.mse_loss(readout.word(states), codes), right


def loss_of(model: CLIPTextModel, readout: Readout, generator: np.random.Generator) -> tuple[torch.Tensor, float]:
    captions = [random_caption(generator) for _ in range(BATCH)]
    ids = tokenize([str(caption) for caption in captions])
    with torch.autocast("cpu", torch.bfloat16):
        states = model(ids).last_hidden_state.float()
    places = ending(ids, tokenizer().eos_token_id, generator)
    states = states.gather(1, places[..., None].expand(-1, -1, WIDTH))
    loss, right = reading_loss(readout, states, captions, tokenizer())
    drawn = torch.tensor([caption.concept is not None for caption in captions])
    shown = drawing_targets(captions)[drawn][:, None].expand(-1, 2, -1)
    return loss + 2 * F.mse_loss(readout.drawing(states)[drawn], shown), right


def train(
    steps: int,
    model: Encoder,
    readout: Readout,
    loss_of: Callable[[Encoder, Readout, np.random.Generator], tuple[torch.Tensor, float]],
    path: Path,
) -> None:
    """Train a text encoder and its readout, resuming from `path`."""
    parameters = [*model.parameters(), *readout.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01)
    start = 0
    if path.is_file():
        saved = state.load(path)
        start = int(saved["progress"]["step"])
        model.load_state_dict(saved["model"])
        readout.load_state_dict(saved["readout"])
        state.restore_optimizer(optimizer, saved["optimizer"])
    clock = time.perf_counter()
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        loss, right = loss_of(model, readout, np.random.default_rng((1, step)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            speed = (time.perf_counter() - clock) / (step + 1 - start)
            print(f"step {step + 1} loss {loss.item():.3f} concept {right:.3f} {speed:.3f} s/step", flush=True)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            moments = state.optimizer_state(optimizer)
            trees = {"model": model.state_dict(), "readout": readout.state_dict(), "optimizer": moments}
            state.save(path, progress={"step": step + 1}, **trees)


def trained() -> CLIPTextModel:
    """The text encoder as trained so far."""
    model = architecture()
    model.load_state_dict(state.load(STATE)["model"])
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=900)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    train(steps, architecture(), Readout(), loss_of, STATE)


if __name__ == "__main__":
    main()
