"""The loop that trains a denoiser: resumable, one cosine from a short warm-up to nearly nothing, averaged weights."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tools.pocket import state

AVERAGING = 0.998
EVERY = 250  # steps from one saved state to the next


class Trainer:
    """A model, its average and its optimizer, whose rate is the peak.

    `loss` gives the loss of a step by its number alone.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, int], Tensor],
        optimizer: torch.optim.Optimizer,
        path: Path,
        steps: int,
        warm_up: int = 300,
    ) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.path, self.steps, self.warm_up, self.step = path, steps, warm_up, 0
        self.peak = optimizer.defaults["lr"]
        self.average = {name: value.clone() for name, value in model.state_dict().items()}
        if path.is_file():
            saved = state.load(path)
            self.step, self.average = int(saved["progress"]["step"]), saved["average"]
            model.load_state_dict(saved["model"])
            state.restore_optimizer(self.optimizer, saved["optimizer"])

    def rate(self) -> float:
        progress = min(1.0, self.step / self.steps)
        warm = min(1, (self.step + 1) / self.warm_up)
        return self.peak * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def advance(self) -> float:
        """One step; returns its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        loss = self.loss(self.model, self.step)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(AVERAGING, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return loss.item()

    def save(self) -> None:
        moments = state.optimizer_state(self.optimizer)
        trees = {"model": self.model.state_dict(), "average": self.average, "optimizer": moments}
        state.save(self.path, progress={"step": self.step}, **trees)

    def run(self, batch: int, check: Callable[[nn.Module], str] | None = None) -> None:
        """Train to the end; `check` says of the model, at each saved state, how far it has come."""
        losses, clock, start = [], time.perf_counter(), self.step
        while self.step < self.steps:
            losses.append(self.advance())
            if self.step % 100 == 0:
                speed = batch * (self.step - start) / (time.perf_counter() - clock)
                print(f"step {self.step} loss {np.mean(losses[-100:]):.4f} {speed:.1f} images/s", flush=True)
            if self.step % EVERY == 0 or self.step == self.steps:
                self.save()
                if check:
                    print(f"step {self.step} {check(self.model)}", flush=True)
