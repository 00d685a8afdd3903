"""What a training step costs: beside the frozen base alone, and beside peft.

    python -m benchmarks.step

One step on pocket with the batch, rank and precision of its style preset: prediction, loss, backward, and the
optimizer's step where something trains. It is measured twice: with adapters on the attention layers, which are the
recipe's own default, and on all layers, as pocket's style preset has them (so many thin products cost a fifth of the
base's arithmetic alone). Three bases take turns in one process, so that whatever else the machine does meets them all:

    floor    the base without adapters: forward, and backward to the input of the first adapted layer
    ours     the base under our routed layers
    peft     the same loop under peft's injection

The last line on stdout is one JSON object:

    step_over_floor, step_over_peft    our time over theirs: the median over the rounds
    all_over_floor, all_over_peft      the same with adapters on all layers
    memory_over_peft                   our peak memory over peft's, each in a process of its own, all layers adapted
    help_seconds                       `lorastyle --help`, the fastest of several
    first_step_seconds                 from the command to the first step of `lorastyle train`, caches warm
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

import lorastyle
from lorastyle.adapters.inject import inject
from lorastyle.draws import Key

ROUNDS, WARM_UP = 40, 3
MEMORY_STEPS, MEMORY_RUNS = 4, 3
DATA = Path("sample_data") / "ink"

console = Console(stderr=True, highlight=False)


class Loop:
    """A training loop on a base of its own, on fixed random latents."""

    def __init__(self, targets: str) -> None:
        self.base = lorastyle.load_base("pocket")
        self.recipe = lorastyle.Recipe(targets=targets).resolved(
            self.base.preset("style"), images=28, resolution=self.base.resolution, guidance=self.base.guidance
        )
        generator = torch.Generator().manual_seed(0)
        shape = (self.recipe.batch, *self.base.latent_shape(self.base.resolution, self.base.resolution))
        self.latents, self.target = (torch.randn(shape, generator=generator) for _ in range(2))
        self.timesteps = torch.randint(0, self.base.noise.steps, shape[:1], generator=generator)
        with torch.no_grad():
            self.conditioning = self.base.encode_prompts(["a flat emoji of a cat"] * self.recipe.batch)
        self.optimizer: torch.optim.Optimizer | None = None

    def layers(self) -> dict[str, list[str]]:
        """The names of the layers that get an adapter, by model."""
        injection = inject(self.base.models, self.base.target_patterns(self.recipe))
        names = [layer.split(".", 1) for layer in injection.layers]
        injection.eject()
        return {part: [name for owner, name in names if owner == part] for part in {part for part, _ in names}}

    def train(self, factors: Sequence[nn.Parameter]) -> None:
        self.optimizer = torch.optim.AdamW(factors, lr=self.recipe.learning_rate, fused=True)

    def predict(self) -> Tensor:
        with torch.autocast(self.base.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.base.predict(self.latents, self.timesteps, self.conditioning)

    def step(self) -> None:
        (self.predict().float() - self.target).square().mean().backward()
        if self.optimizer:
            self.optimizer.step()
            self.optimizer.zero_grad()


def floor(targets: str) -> Loop:
    """Gradients flow from the input of the adapted layer that runs first."""
    loop = Loop(targets)
    order: list[nn.Module] = []
    layers = [loop.base.models[part].get_submodule(name) for part, names in loop.layers().items() for name in names]
    hooks = [layer.register_forward_hook(lambda layer, *_: order.append(layer)) for layer in layers]
    with torch.no_grad():
        loop.predict()
    for hook in hooks:
        hook.remove()
    order[0].register_forward_pre_hook(lambda _, given: (given[0].detach().requires_grad_(), *given[1:]))
    return loop


class Ours(Loop):
    """The base under our routed layers, one adapter on all rows."""

    def __init__(self, targets: str) -> None:
        super().__init__(targets)
        self.injection = inject(self.base.models, self.base.target_patterns(self.recipe))
        self.injection.create("ours", "lora", self.recipe.rank, self.recipe.alpha, self.recipe.rslora, key=Key(0))
        self.train([factor for _, _, factor in self.injection.factors()])

    def step(self) -> None:
        with self.injection.router.use(self.injection.route([{"ours": 1.0}] * self.recipe.batch)):
            super().step()


def peft(targets: str) -> Loop:
    """The base under peft's injection."""
    from peft import LoraConfig, inject_adapter_in_model

    loop = Loop(targets)
    for part, names in loop.layers().items():
        config = LoraConfig(r=loop.recipe.rank, lora_alpha=loop.recipe.alpha, target_modules=names)
        inject_adapter_in_model(config, loop.base.models[part])
    models = loop.base.models.values()
    loop.train([weight for model in models for weight in model.parameters() if weight.requires_grad])
    return loop


SIDES: dict[str, Callable[[str], Loop]] = {"floor": floor, "ours": Ours, "peft": peft}


def step_times(targets: str) -> dict[str, list[float]]:
    """The seconds of each round's step, by side; the sides take turns at going first."""
    loops = {name: make(targets) for name, make in SIDES.items()}
    times: dict[str, list[float]] = {name: [] for name in loops}
    names = list(loops)
    for turn in track(range(WARM_UP + ROUNDS), f"timing steps, {targets}", console=console):
        for name in names[turn % 3 :] + names[: turn % 3]:
            begun = time.perf_counter()
            loops[name].step()
            if turn >= WARM_UP:
                times[name].append(time.perf_counter() - begun)
    for name, seconds in times.items():
        console.print(f"{name}: median {median(seconds) * 1000:.0f} ms, fastest {min(seconds) * 1000:.0f} ms")
    return times


def over(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def peak_bytes(side: str) -> int:
    """The largest resident size of a process that does nothing but train this side."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.step", side], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return int(told.splitlines()[-1])


def print_peak(side: str) -> None:
    loop = SIDES[side]("all")
    for _ in range(MEMORY_STEPS):
        loop.step()
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("lorastyle")), *arguments]


def help_seconds() -> float:
    def once() -> float:
        begun = time.perf_counter()
        subprocess.run(command("--help"), check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun

    return min(once() for _ in range(7))


def first_step_seconds() -> float:
    """From the command until the first step stands in the run's metrics; a run before it warms the caches."""
    folder = Path(tempfile.mkdtemp(prefix="lorastyle-bench-"))
    try:
        return [_until_first_step(folder / name) for name in ("cold", "warm")][-1]
    finally:
        shutil.rmtree(folder)


def _until_first_step(out: Path) -> float:
    begun = time.perf_counter()
    with subprocess.Popen(
        command("train", str(DATA), "--out", str(out), "--steps", "2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        metrics = out / "metrics.jsonl"
        while not (metrics.is_file() and metrics.read_text().endswith("\n")):
            if run.poll() is not None:
                raise SystemExit(f"lorastyle train ended with exit code {run.returncode} before its first step")
            time.sleep(0.01)
        seconds = time.perf_counter() - begun
        run.wait()
    return seconds


def main() -> None:
    times, every = step_times("attention"), step_times("all")
    peaks = {side: median(peak_bytes(side) for _ in range(MEMORY_RUNS)) for side in ("ours", "peft")}
    console.print({side: f"{peak / 2**20:.0f} MiB at the peak" for side, peak in peaks.items()})
    results = {
        "step_over_floor": over(times["ours"], times["floor"]),
        "step_over_peft": over(times["ours"], times["peft"]),
        "all_over_floor": over(every["ours"], every["floor"]),
        "all_over_peft": over(every["ours"], every["peft"]),
        "memory_over_peft": peaks["ours"] / peaks["peft"],
        "help_seconds": help_seconds(),
        "first_step_seconds": first_step_seconds(),
    }
    print(json.dumps({name: round(value, 3) for name, value in results.items()}))


if __name__ == "__main__":
    print_peak(sys.argv[1]) if sys.argv[1:] else main()
