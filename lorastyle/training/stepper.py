"""The state of a run and its step: the factors, their averages and the optimizer. All else follows from the step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch
from accelerate import Accelerator
from torch import Tensor

from lorastyle.adapters.file import Adapter
from lorastyle.adapters.inject import Injection, inject
from lorastyle.adapters.routing import Routing
from lorastyle.bases.base import Base
from lorastyle.data.cache import Cache
from lorastyle.draws import Key
from lorastyle.errors import Diverged
from lorastyle.recipe import Recipe
from lorastyle.training.batches import Batches, Row
from lorastyle.training.checkpoint import optimizer_tensors, restore_optimizer
from lorastyle.training.examples import Examples, encode_captions
from lorastyle.training.gradients import check_coverage, clip, member_norms
from lorastyle.training.objective import Conditioning, denoising_losses, held_out_loss, noised, preservation_losses
from lorastyle.training.optimizers import build_optimizer, learning_rate_share, set_learning_rate
from lorastyle.training.start import on_trained_layers

MEMBER = "adapter"  # the stable name by which a solo run's draws are keyed


@contextmanager
def stepping(
    base: Base, examples: Examples, recipe: Recipe, accelerator: Accelerator, given: Adapter | None = None
) -> Iterator["Stepper"]:
    """A stepper on the base, which is as it was when the block ends.

    Raises BadInput where `given` has other layers than the recipe trains.
    """
    patterns = base.target_patterns(recipe)
    injection = inject({part: base.models[part] for part in patterns}, patterns)
    try:
        if given is not None:
            given = on_trained_layers(given, injection, base)
        yield Stepper(base, examples, recipe, injection, accelerator, given)
    finally:
        injection.eject()
        base.checkpoint_gradients(False)


class Stepper:
    """Takes the steps of a run.

    given: the adapter to go on from; without one an untrained adapter is made by the recipe.
    """

    def __init__(
        self,
        base: Base,
        examples: Examples,
        recipe: Recipe,
        injection: Injection,
        accelerator: Accelerator,
        given: Adapter | None = None,
    ) -> None:
        self.base, self.examples, self.recipe = base, examples, recipe
        self.injection, self.accelerator, self.step = injection, accelerator, 0
        base.to(accelerator.device)
        if given is None:
            injection.create(
                MEMBER,
                kind=recipe.kind,
                rank=recipe.rank,
                alpha=recipe.alpha,
                rslora=recipe.rslora,
                key=Key(recipe.seed, MEMBER),
                ranks=recipe.ranks,
                alphas=recipe.alphas,
                settings=recipe.of_kind(),
            )
        else:
            injection.add(MEMBER, given)
        injection.to(accelerator.device)
        base.checkpoint_gradients(recipe.gradient_checkpointing)
        self.factors = injection.factors()
        self.parameters = [parameter for _, _, parameter in self.factors]
        self.averages = [parameter.detach().clone() for parameter in self.parameters] if recipe.ema else []
        self.optimizer = build_optimizer(self.factors, recipe)
        self.batches = Batches(MEMBER, examples.trained, recipe)

    # one step

    def advance(self) -> float:
        """One optimizer step; returns the loss."""
        recipe, loss = self.recipe, 0.0
        set_learning_rate(self.optimizer, learning_rate_share(self.step, recipe))
        self.optimizer.zero_grad()
        for micro in range(recipe.accumulation):
            rows = self.batches.rows(self.step * recipe.accumulation + micro)
            loss += self.backward(rows) / recipe.accumulation
        norms = member_norms(self.parameters)
        if not torch.isfinite(norms).all():
            raise self.diverged(rows, "a gradient")
        if any(row.caption for row in rows):  # without a caption nothing may reach the text encoders
            check_coverage(self.step, self.factors)
        if recipe.gradient_clip:
            clip(self.parameters, norms, recipe.gradient_clip)
        self.optimizer.step()
        for average, parameter in zip(self.averages, self.parameters, strict=bool(self.averages)):
            average.lerp_(parameter.detach(), 1 - min(recipe.ema, (self.step + 1) / (self.step + 10)))
        self.step += 1
        return loss

    def backward(self, rows: Sequence[Row]) -> float:
        """Add the gradient of these rows' mean loss; the routing stays open until backward is through."""
        routing = self.routing(len(rows))
        with self.injection.router.use(routing):
            losses = denoising_losses(self.base, rows, self.encode, self.recipe.min_snr)
            if self.recipe.preservation and self.step % 2:
                held = preservation_losses(self.base, rows, self.encode, self.injection.router, routing)
                losses = losses + self.recipe.preservation * held
            if not torch.isfinite(losses).all():
                bad = int((~torch.isfinite(losses)).nonzero()[0])
                raise self.diverged(rows[bad:], "the loss")
            loss = losses.mean()
            self.accelerator.backward(loss / self.recipe.accumulation)
        return loss.item()

    def routing(self, rows: int) -> Routing:
        return self.injection.route([{MEMBER: 1.0}] * rows)

    def encode(self, captions: Sequence[str]) -> Conditioning:
        if self.recipe.text_encoder_learning_rate:
            return self.base.encode_prompts(list(captions))
        conditioning = self.examples.conditioning(captions)
        return {name: tensor.to(self.accelerator.device) for name, tensor in conditioning.items()}

    def embed(self, prompts: Sequence[str]) -> None:
        """Make prompts known that were not among the examples' texts."""
        new = [prompt for prompt in prompts if prompt not in self.examples.texts]
        if new and not self.recipe.text_encoder_learning_rate:
            texts = encode_captions(self.base, new, Cache())
            self.examples = replace(self.examples, texts={**self.examples.texts, **texts})
            self.base.unload("text")

    def diverged(self, rows: Sequence[Row], what: str) -> Diverged:
        timestep = float(noised(self.base, rows)[2][0])
        return Diverged(self.step, rows[0].example.sample.name, timestep, what)

    # measuring

    def relative_held_out(self) -> float:
        """The held-out loss as a share of the base's own."""
        return self.held_out(self.routing) / self.base_held_out

    @cached_property
    def base_held_out(self) -> float:
        """The base's own held-out loss."""
        return self.held_out(Routing.base)

    def held_out(self, routing: Callable[[int], Routing]) -> float:
        return held_out_loss(self.base, self.examples, self.recipe.seed, self.encode, self.injection.router, routing)

    # the state

    def adapter(self) -> Adapter:
        """The adapter as it would be published now: the averaged factors, where the recipe averages."""
        current = [parameter.detach().clone() for parameter in self.parameters]
        self.overwrite(self.averages or current)
        adapter = self.injection.adapter(MEMBER)
        self.overwrite(current)
        return adapter

    def overwrite(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """All of the state but the step, by name."""
        tensors = {f"factor/{number}": parameter.detach().cpu() for number, parameter in enumerate(self.parameters)}
        tensors |= {f"average/{number}": average.cpu() for number, average in enumerate(self.averages)}
        return tensors | optimizer_tensors(self.optimizer)

    def restore(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self.overwrite([tensors[f"factor/{number}"] for number in range(len(self.parameters))])
        for number, average in enumerate(self.averages):
            average.copy_(tensors[f"average/{number}"])
        restore_optimizer(self.optimizer, tensors)
        self.step = step
