"""What a person asks of a run while it trains changes nothing of what is learnt."""

from collections.abc import Sequence

import pytest
from PIL import Image

from lorastyle import Wishes, read_parameters, train


def asking(wishes: Sequence[Wishes]):
    """Says one after the other, then that nothing is wanted."""
    left = list(wishes)
    return lambda: left.pop(0) if left else Wishes()


@pytest.fixture
def reference(base, data, recipe, tmp_path_factory) -> bytes:
    return train(base, data, recipe, out=tmp_path_factory.mktemp("reference") / "run").adapter.read_bytes()


@pytest.mark.parametrize("settings", [{}, {"text_encoder_learning_rate": 1e-4, "ema": 0.9}])
def test_wishes_are_granted_and_change_no_byte(settings, base, data, recipe, tmp_path):
    recipe = recipe.changed(settings)
    reference = train(base, data, recipe, out=tmp_path / "reference" / "run").adapter.read_bytes()
    wanted = [
        Wishes(sample=True),
        Wishes(save=True),
        Wishes(sample=True, save=True, prompts=("a cat of [trigger]", "a second prompt")),
        Wishes(),
        Wishes(sample=True),
    ]
    run = train(base, data, recipe.changed({"keep_checkpoints": 9}), out=tmp_path / "run", wishes=asking(wanted))
    assert run.adapter.read_bytes() == reference
    assert [checkpoint.step for checkpoint in run.checkpoints] == [1, 2, 3, 6]
    drawn = {path.name: read_parameters(path) for path in (run.folder / "samples").iterdir()}
    prompts = {name: told["prompt"] for name, told in drawn.items()}
    assert prompts == {
        "step-000000-0.png": "zorvex picture",
        "step-000002-0.png": "a cat of zorvex",
        "step-000002-1.png": "a second prompt",
        "step-000004-0.png": "a cat of zorvex",
        "step-000004-1.png": "a second prompt",
    }
    assert {told["trained_steps"] for told in drawn.values()} == {0, 2, 4}
    with Image.open(run.sample(4, 0)) as later, Image.open(run.sample(2, 0)) as earlier:
        assert later.tobytes() != earlier.tobytes()


def test_a_checkpoint_asked_for_is_resumed_from(base, data, recipe, tmp_path, reference):
    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise Killed

    wanted = [Wishes()] * 5 + [Wishes(save=True)]
    with pytest.raises(Killed):
        train(base, data, recipe, out=tmp_path / "run", report=kill, wishes=asking(wanted))
    seen = []
    run = train(base, data, recipe, out=tmp_path / "run", resume=True, report=lambda one: seen.append(one.step))
    assert seen == [6]
    assert run.adapter.read_bytes() == reference


def test_new_prompts_are_in_the_comparison(base, data, recipe, tmp_path):
    plain = train(base, data, recipe, out=tmp_path / "plain")
    other = train(base, data, recipe, out=tmp_path / "other", wishes=asking([Wishes(prompts=("one", "two"))]))
    sizes = []
    for run in (plain, other):
        with Image.open(run.comparison) as sheet:
            sizes.append(sheet.width)
    assert sizes[1] > sizes[0]
    assert "- one\n- two\n" in other.card.read_text()
