import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorastyle.adapters.file import Adapter, save
from lorastyle.bases.base import Base
from lorastyle.errors import BadInput
from lorastyle.generation.generate import generate
from lorastyle.generation.sampling import Row, initial_noise, sample
from lorastyle.recipe import Recipe

PROMPTS = ["a cat", "a dog on a red background", "a rocket", "", "zorvex"]
FEW = {"steps": 3, "guidance": 3.0}


def arrays(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image, dtype=np.int16) for image in images])


def furthest(some: list[Image.Image], others: list[Image.Image]) -> int:
    """The largest difference of any colour of any pixel, of 255."""
    return int(np.abs(arrays(some) - arrays(others)).max())


def weights(base: Base) -> dict[str, torch.Tensor]:
    models = {**base.models, "vae": base.parts["vae"]}
    return {f"{part}.{name}": weight.clone() for part in models for name, weight in models[part].state_dict().items()}


# The base alone


def test_the_same_seed_gives_the_same_bytes(base: Base) -> None:
    first, again = (generate(base, PROMPTS[:2], seed=7, **FEW) for _ in range(2))
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    other = generate(base, PROMPTS[:2], seed=8, **FEW)
    assert furthest(first, other) > 8


def test_the_noise_of_a_picture_depends_on_its_seed_and_number_alone(base: Base) -> None:
    rows = [Row("a", seed=1, number=0), Row("b", seed=1, number=1), Row("c", seed=2, number=0)]
    noise = initial_noise(base, rows, 64, 32)
    assert noise.shape == (3, *base.latent_shape(64, 32))
    assert torch.equal(initial_noise(base, rows[1:], 64, 32), noise[1:])
    assert torch.equal(initial_noise(base, [Row("other", seed=1, number=0)], 64, 32)[0], noise[0])
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])


def test_prompts_guidance_and_negative_prompts_matter(base: Base) -> None:
    plain = generate(base, ["a cat"], **FEW)
    assert furthest(plain, generate(base, ["zorvex"], **FEW)) > 0
    assert furthest(plain, generate(base, ["a cat"], steps=3, guidance=9.0)) > 0
    if base.embeds_guidance:
        with pytest.raises(BadInput, match="negative: tiny draws in one go, guidance included"):
            generate(base, ["a cat"], negative="zorvex", **FEW)
    else:
        assert furthest(plain, generate(base, ["a cat"], negative="zorvex", **FEW)) > 0


def test_clip_skip_changes_the_picture(base: Base) -> None:
    if base.embeds_guidance:
        with pytest.raises(BadInput, match="clip_skip"):
            generate(base, ["a cat"], clip_skip=1, **FEW)
    else:
        plain, skipping = (generate(base, ["a cat"], clip_skip=skip, **FEW) for skip in (0, 1))
        assert furthest(plain, skipping) > 0
        assert furthest(skipping, generate(base.set_for(Recipe(clip_skip=1)), ["a cat"], **FEW)) == 0


def test_adapters_draw_as_their_recipes_read_prompts_where_these_agree(
    base: Base, make: Callable[[int], Adapter]
) -> None:
    if base.embeds_guidance:
        pytest.skip("it has no layers of CLIP to leave out")
    plain, foreign = make(1), make(2)
    skipping = replace(plain, recipe={"clip_skip": 1})

    def drawn(*adapters: Adapter, **settings: int) -> tuple[bytes, int]:
        (image,) = generate(base, ["a cat"], dict.fromkeys(adapters, 1.0), **FEW, **settings)
        return image.tobytes(), json.loads(image.info["lorastyle"])["clip_skip"]

    assert drawn(skipping) == drawn(plain, clip_skip=1) != drawn(plain)
    assert drawn(skipping, foreign) == drawn(plain, foreign, clip_skip=1)
    with pytest.warns(UserWarning, match="taught with clip_skip 1 and 0; all are drawn with 0"):
        assert drawn(skipping, replace(foreign, recipe={"clip_skip": 0})) == drawn(plain, foreign)
    assert drawn(skipping, clip_skip=0) == drawn(plain)


def test_adapters_draw_with_the_noise_of_their_recipes_where_the_base_can(
    base: Base, make: Callable[[int], Adapter]
) -> None:
    ending = replace(make(1), recipe={"zero_terminal_snr": True})
    drawn = [generate(one, ["a cat"], {ending: 1.0}, **FEW)[0] for one in (base, predicting_v(base))]
    told = [json.loads(image.info["lorastyle"])["zero_terminal_snr"] for image in drawn]
    assert told == [False, base.noise.prediction == "epsilon"]


def predicting_v(base: Base) -> Base:
    if base.noise.prediction == "flow":
        return base
    scheduler = base.parts["scheduler"]
    changed = type(scheduler).from_config(scheduler.config, prediction_type="v_prediction")
    return Base("tiny", base.family, base.parts.replaced(scheduler=changed))


def test_sizes(base: Base) -> None:
    assert generate(base, ["a cat"], width=96, height=32, **FEW)[0].size == (96, 32)


def test_no_prompts_give_no_pictures(base: Base) -> None:
    assert generate(base, []) == []


def test_progress_counts_every_step_of_every_batch(base: Base) -> None:
    told: list[tuple[int, int]] = []
    generate(base, PROMPTS[:3], batch=2, progress=lambda done, total: told.append((done, total)), **FEW)
    assert told == [(done, 6) for done in range(1, 7)]


# Adapters


def test_strengths_change_the_picture(base: Base, make: Callable[[int], Adapter]) -> None:
    adapter = make(1)
    plain, half, whole = (generate(base, ["a cat"], {adapter: strength}, **FEW) for strength in (0.0, 0.5, 1.0))
    assert furthest(plain, half) > 0
    assert furthest(half, whole) > 0


def test_strength_0_is_the_base_bitwise(base: Base, make: Callable[[int], Adapter]) -> None:
    adapter = make(1)
    plain = generate(base, PROMPTS[:2], **FEW)
    alone = generate(base, PROMPTS[:2], {adapter: 0.0}, **FEW)
    beside = generate(base, PROMPTS[:2], [{adapter: 0.0}, {adapter: 1.0}], **FEW)
    assert [image.tobytes() for image in alone] == [image.tobytes() for image in plain]
    assert beside[0].tobytes() == plain[0].tobytes()
    assert beside[1].tobytes() != plain[1].tobytes()


def test_each_row_has_its_own_adapters(base: Base, make: Callable[[int], Adapter]) -> None:
    one, two = make(1), make(2)
    rows = [{one: 1.0}, {}, {two: 1.0}, {one: 0.5, two: 0.5}]
    together = generate(base, PROMPTS[:4], rows, **FEW)
    for number, adapters in enumerate(rows):
        alone = generate(base, PROMPTS[:4], [{}] * number + [adapters] + [{}] * (3 - number), **FEW)
        assert furthest(together[number : number + 1], alone[number : number + 1]) <= 1
    assert furthest(together[:1], generate(base, PROMPTS[:1], {two: 1.0}, **FEW)) > 1


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_pictures_do_not_depend_on_the_batch(base: Base, make: Callable[[int], Adapter], batch: int) -> None:
    one, two = make(1), make(2)
    rows = [{one: 1.0}, {}, {two: 1.0}, {one: 0.5, two: 0.5}, {two: 0.2}]
    whole = generate(base, PROMPTS, rows, batch=5, **FEW)
    # The base's kernels differ in the last bits between batch sizes, 1e-6 relative; a pixel may round the other way.
    assert furthest(generate(base, PROMPTS, rows, batch=batch, **FEW), whole) <= 1


def test_an_adapter_comes_from_its_file(base: Base, make: Callable[[int], Adapter], tmp_path: Path) -> None:
    adapter = make(1)
    save(tmp_path / "ink.safetensors", adapter)
    expected = generate(base, ["a cat"], {adapter: 0.7}, **FEW)[0].tobytes()
    for given in (tmp_path / "ink.safetensors", str(tmp_path / "ink.safetensors")):
        assert generate(base, ["a cat"], {given: 0.7}, **FEW)[0].tobytes() == expected


def test_the_base_is_afterwards_as_it_was(base: Base, make: Callable[[int], Adapter]) -> None:
    plain = generate(base, ["a cat"], **FEW)[0].tobytes()
    modules = {part: dict(base.models[part].named_modules()) for part in base.models}
    before, adapter = weights(base), make(1)
    generate(base, ["a cat"], {adapter: 1.0}, **FEW)
    after = weights(base)
    assert {part: dict(base.models[part].named_modules()) for part in base.models} == modules
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert generate(base, ["a cat"], **FEW)[0].tobytes() == plain


def test_the_base_is_restored_when_something_goes_wrong(base: Base, make: Callable[[int], Adapter]) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    before, adapter = weights(base), make(1)
    with pytest.raises(KeyboardInterrupt):
        generate(base, ["a cat"], {adapter: 1.0}, progress=stop, **FEW)
    assert weights(base).keys() == before.keys()


def test_known_embeddings_need_no_text_encoder(base: Base) -> None:
    rows = [Row("a cat", seed=3)]
    expected = sample(base, rows, **FEW)
    known = {prompt: base.encode_prompts([prompt]) for prompt in ("a cat", "")}
    base.unload("text")
    drawn = sample(base, rows, encode=lambda prompts: known[prompts[0]], **FEW)
    assert drawn[0].tobytes() == expected[0].tobytes()
    assert not {"text_encoder", "tokenizer"} & set(base.parts.loaded)


# What is refused


def test_an_adapter_that_does_not_fit_is_named_by_its_file(
    base: Base, make: Callable[[int], Adapter], tmp_path: Path
) -> None:
    adapter = make(1)
    path = tmp_path / "ink.safetensors"
    save(path, replace(adapter, factors={f"{layer}.more": held for layer, held in adapter.factors.items()},
                       alphas={f"{layer}.more": alpha for layer, alpha in adapter.alphas.items()}))  # fmt: skip
    with pytest.raises(BadInput, match=re.escape(f"adapter 2 ({path}): the base has no layer")):
        generate(base, ["a cat"], {adapter: 1.0, path: 1.0}, **FEW)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "^steps: 0 is not possible"),
        ({"steps": 1001}, "^steps: 1001 .* 1 to 1000"),
        ({"guidance": float("nan")}, "^guidance: nan"),
        ({"guidance": -1.0}, "^guidance: -1.0"),
        ({"batch": 0}, "^batch: 0"),
        ({"width": 65}, "^width: 65 .* multiple of 16"),
        ({"height": -64}, "^height: -64"),
        ({"negative": "blur", "guidance": 1.0}, "^negative: .* guidance above 1"),
        ({"adapters": [{}, {}]}, "^adapters: there are 2 sets of adapters for 1 prompts"),
        ({"adapters": {"ink.safetensors": float("inf")}}, "^adapters: the strength of ink.safetensors is inf"),
    ],
)
def test_impossible_settings_are_refused(base: Base, settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        generate(base, ["a cat"], **settings)


def test_a_single_text_is_refused(base: Base) -> None:
    with pytest.raises(BadInput, match="not a list of prompts"):
        generate(base, "a cat")


def test_an_adapter_of_another_family_is_refused(base: Base, make: Callable[[int], Adapter]) -> None:
    adapter = replace(make(1), family="another")
    with pytest.raises(BadInput, match=f"made for a base of the family another, and tiny is of {base.family.name}"):
        generate(base, ["a cat"], {adapter: 1.0})
