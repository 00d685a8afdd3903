"""What a run leaves for people: previews, the comparison, the described adapter file and its card."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from lorastyle import __version__, files
from lorastyle.adapters.file import Adapter, save
from lorastyle.adapters.inject import Injection
from lorastyle.bases.base import Base
from lorastyle.data.captions import with_trigger
from lorastyle.data.dataset import Dataset
from lorastyle.generation.grids import comparison
from lorastyle.generation.parameters import texts
from lorastyle.generation.sampling import Encode, Row, sample
from lorastyle.recipe import Recipe
from lorastyle.training.folder import Run
from lorastyle.training.metrics import chart, read_metrics

COMPARED = 4  # prompts in the comparison where the recipe names none


def prompts(data: Dataset, recipe: Recipe) -> list[str]:
    """The recipe's preview prompts, or captions taken evenly from the dataset."""
    if recipe.preview_prompts:
        return [with_trigger(prompt, recipe.trigger, prefix=False) for prompt in recipe.preview_prompts]
    captions = list(dict.fromkeys(sample.caption for sample in data.samples))
    chosen = captions[:: max(1, len(captions) // COMPARED)][:COMPARED]
    return [with_trigger(caption, recipe.trigger, recipe.prefix_trigger) for caption in chosen]


@dataclass(frozen=True)
class Studio:
    """What drawing while training needs: the base, the injected member, the prompts and how to embed them."""

    base: Base
    injection: Injection
    member: str
    encode: Encode
    recipe: Recipe
    prompts: Sequence[str]

    def showing(self, prompts: Sequence[str]) -> "Studio":
        """The same with other prompts, as the recipe might name them."""
        return replace(self, prompts=[with_trigger(prompt, self.recipe.trigger, prefix=False) for prompt in prompts])

    def rows(self, strength: float) -> list[Row]:
        """What is drawn; the same recipe gives each prompt the same noise every time."""
        return [
            Row(prompt, seed=self.recipe.seed, number=number, adapters={self.member: strength})
            for number, prompt in enumerate(self.prompts)
        ]

    def draw(self, strength: float) -> list[Image.Image]:
        """Draw each prompt."""
        images = []
        for row in self.rows(strength):
            images += sample(
                self.base,
                [row],
                self.injection,
                steps=self.recipe.preview_steps,
                guidance=self.recipe.guidance,
                encode=self.encode,
            )
        self.base.unload("autoencoder")
        return images


def write_samples(run: Run, studio: Studio, step: int) -> None:
    """Draw and write the previews; their files say how they were drawn and at which step of the run."""
    base, recipe = studio.base, studio.recipe
    settings = {
        "steps": recipe.preview_steps,
        "guidance": base.guidance if recipe.guidance is None else recipe.guidance,
        "width": base.resolution,
        "height": base.resolution,
        "clip_skip": recipe.clip_skip,
        "zero_terminal_snr": recipe.zero_terminal_snr,
        "precision": recipe.precision,
        "trained_steps": step,
    }
    for row, image in zip(studio.rows(1.0), studio.draw(1.0), strict=True):
        image.info.update(texts(base, row, {studio.member: {"name": run.name}}, settings))
        files.write_image(run.sample(step, row.number), image)


def described(adapter: Adapter, base: Base, recipe: Recipe, title: str) -> Adapter:
    """The adapter with what other tools show of it: ModelSpec 1.0.1, the trigger word, and the recipe that made it.

    Nothing in it depends on when, where or by whom it was trained, so that the same run gives the same bytes.
    """
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{base.architecture}/lora",
        "implementation": "https://github.com/huggingface/diffusers",
        "title": title,
        "description": f"A {recipe.purpose} trained with lorastyle {__version__} on the base {base.name}.",
        "resolution": f"{recipe.resolution}x{recipe.resolution}",
        "prediction_type": {"v_prediction": "v"}.get(base.noise.prediction, base.noise.prediction),
    }
    if recipe.trigger:
        spec |= {"trigger_phrase": recipe.trigger, "usage_hint": f"Write {recipe.trigger} in the prompt."}
    metadata = {f"modelspec.{name}": value for name, value in spec.items()} | {"lorastyle.base": base.name}
    metadata |= base.file_hashes
    return replace(adapter, family=base.family.name, trigger=recipe.trigger, recipe=recipe.essence(), metadata=metadata)


def publish(run: Run, studio: Studio, adapter: Adapter, data: Dataset) -> None:
    """Write the adapter, the comparison without and with it, the loss chart and the card."""
    save(run.adapter, adapter)
    labels = [f"{studio.base.name} alone", f"with {run.name}"]
    sheet = comparison([studio.draw(0.0), studio.draw(1.0)], labels, studio.prompts, "same prompts, same seeds")
    files.write_image(run.comparison, sheet)
    rows = read_metrics(run.metrics)
    files.write_text(run.chart, chart(rows))
    files.write_text(run.card, card(run, studio, len(data), rows[-1].get("held_out")))


def card(run: Run, studio: Studio, images: int, held_out: float | None) -> str:
    """The model card: what the adapter is, how to call it up, and how to load it in diffusers."""
    base, recipe, texts = studio.base, studio.recipe, studio.prompts
    call = f"Write `{recipe.trigger}` in the prompt." if recipe.trigger else "It acts on every prompt."
    measured = "" if held_out is None else f"- held-out loss: {held_out:.3f} of the base's own\n"
    examples = "\n".join(f"- {text}" for text in texts)
    prompt = texts[0].replace('"', "'")
    guidance = base.guidance if recipe.guidance is None else recipe.guidance
    return f"""# {run.name}

A {recipe.purpose} adapter for the base `{base.name}`, trained with lorastyle. {call}

![without and with the adapter](comparison.png)

The pictures above show, first without and then with the adapter, the same prompts and seeds:

{examples}

## How to use it

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("BASE")  # the folder or hub id of {base.name}
pipeline.load_lora_weights("{run.adapter.name}")
image = pipeline("{prompt}", {base.family.call(guidance)}).images[0]
```

or

    lorastyle generate "{prompt}" --base {base.name} --adapter {run.adapter.name}

## How it was made

- images: {images}, {recipe.resolution} x {recipe.resolution} pixels in area; each is listed in `dataset.jsonl`
- steps: {recipe.steps} of {recipe.batch * recipe.accumulation} images, rank {recipe.rank}, targets {recipe.targets}
{measured}- all settings: `recipe.toml`; losses: `metrics.jsonl` and the chart

![loss](loss.svg)
"""
