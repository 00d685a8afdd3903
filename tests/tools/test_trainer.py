"""The loop that trains the shipped bases: it resumes, and it averages."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tools.pocket.trainer import Trainer


def loss(model: nn.Module, step: int) -> Tensor:
    """The squared error of fitting a line to points that the step's number fixes."""
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(8, 2, generator=generator)
    return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()


def trainer(path: Path, steps: int = 20) -> Trainer:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    return Trainer(model, loss, torch.optim.AdamW(model.parameters(), lr=0.01), path, steps)


def test_a_run_cut_off_and_resumed_ends_like_one_left_alone(tmp_path: Path) -> None:
    alone = trainer(tmp_path / "alone.safetensors")
    alone.run(batch=8)
    cut = trainer(tmp_path / "cut.safetensors")
    for _ in range(7):
        cut.advance()
    cut.save()
    resumed = trainer(tmp_path / "cut.safetensors")
    assert resumed.step == 7
    resumed.run(batch=8)
    assert torch.equal(resumed.model.weight, alone.model.weight)
    assert torch.equal(resumed.average["weight"], alone.average["weight"])


def test_the_rate_rises_then_falls_to_a_hundredth(tmp_path: Path) -> None:
    running = trainer(tmp_path / "state.safetensors", steps=3000)
    rates = []
    for step in (0, 299, 1500, 3000):
        running.step = step
        rates.append(running.rate() / running.peak)
    # Half of the cosine is past the warm-up: 0.01 + 0.99 / 2.
    assert rates == pytest.approx([1 / 300, 0.976, 0.505, 0.01], abs=1e-3)


def test_the_average_follows_the_weights_from_behind(tmp_path: Path) -> None:
    running = trainer(tmp_path / "state.safetensors")
    before = running.model.weight.detach().clone()
    for _ in range(5):
        running.advance()
    gone = running.model.weight.detach() - before
    followed = running.average["weight"] - before
    assert (followed.abs() < gone.abs()).all()
    assert (followed * gone > 0).all()


def test_progress_is_checked_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path / "state.safetensors", steps=3).run(batch=8, check=lambda model: "as it should")
    assert "step 3 as it should" in capsys.readouterr().out
