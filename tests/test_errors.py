import pickle
from pathlib import Path

import pytest

from lorastyle.errors import BadFile, BadInput, Diverged, Interrupted, LorastyleError, Unsupported

EXAMPLES = [
    BadInput("recipe.rank", "0 cannot be used", "give a whole number"),
    BadFile("cat.jpg", "the file ends too early", "copy it again"),
    Unsupported("model.ckpt", "is a pickle file", "convert it to safetensors"),
    Diverged(step=12, sample="cat.jpg", timestep=981.0, what="the loss"),
    Interrupted(step=40, checkpoint=Path("runs/ink/checkpoints/step-000040")),
]


def test_input_errors_read_as_sentences() -> None:
    assert str(BadInput("a.png", "is empty", "copy it again")) == "a.png: is empty. Copy it again."
    assert str(BadInput("a.png", "what is this?", "delete it!")) == "a.png: what is this? Delete it!"


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_one_root_and_safe_to_send_between_processes(error: LorastyleError) -> None:
    assert isinstance(error, LorastyleError)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - as a process pool does, with what we just wrote
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_training_errors_say_where() -> None:
    diverged, interrupted = str(EXAMPLES[3]), str(EXAMPLES[4])
    assert "step 12" in diverged
    assert "cat.jpg" in diverged
    assert "981" in diverged
    assert "step-000040" in interrupted
    assert "--resume" in interrupted
