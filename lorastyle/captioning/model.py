"""A transformers model that puts pictures into words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from safetensors import SafetensorError

from lorastyle.errors import BadInput

LONGEST = 75  # tokens; CLIP reads no more of a prompt
INSTRUCTION = "Describe this picture in one sentence, for someone who cannot see it."
TASK = "<CAPTION>"  # the same for models that have names for what they can do, such as Florence-2
_PACKAGE = re.compile(r"pip install ([\w-]+)|requires the ([\w-]+) library")


@dataclass(frozen=True)
class Captioner:
    """Call it with a picture. `prompt` is told to the model with each."""

    source: str
    model: Any
    images: Any
    words: Any
    prompt: str

    @classmethod
    def load(cls, source: str, prompt: str = "") -> Self:
        """The model in a folder, or the one on the hub with that id; raises BadInput where there is none to use.

        Nothing of the model's own code is run, and only safetensors are read.
        """
        from accelerate import PartialState
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

        try:
            with _quiet():
                loaded: Any = AutoModelForImageTextToText.from_pretrained(
                    source, use_safetensors=True, trust_remote_code=False, output_loading_info=True
                )
                words = AutoProcessor.from_pretrained(source, trust_remote_code=False)
                # Some have no processor for both; then this was the one for words.
                joint = hasattr(words, "image_processor")
                images = words if joint else AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
            raise _no_captioner(source, error) from error
        model, told = loaded
        if told["missing_keys"]:
            raise _no_captioner(source, ValueError(f"its weights lack {min(told['missing_keys'])}"))
        if prompt and not joint:
            raise BadInput("prompt", f"{source} describes pictures unasked, it reads no prompt", "leave it out")
        model.generation_config.forced_eos_token_id = None  # what is too long would look as if it were whole
        if TASK in getattr(words, "task_prompts_without_inputs", ()):
            prompt = prompt or TASK
        return cls(source, model.eval().to(PartialState().device), images, words, prompt)

    def __call__(self, picture: Image.Image) -> str:
        """Its caption, "" where the model has nothing to say; raises BadInput where it cannot take what it is given."""
        try:
            made, complete = self._made(picture)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            what = f"it could not describe a picture ({_line(error)})"
            raise BadInput(self.source, what, "give it another prompt, or choose another captioner") from error
        (text,) = self.words.batch_decode(made, skip_special_tokens=True)
        caption = " ".join(text.split())
        return caption if complete else _whole_sentences(caption)

    @torch.no_grad()
    def _made(self, picture: Image.Image) -> tuple[torch.Tensor, bool]:
        """The tokens of the caption [1, tokens], and whether it came to its end."""
        chats = bool(getattr(self.words, "chat_template", None))
        told = (self._chat(picture) if chats else self._plain(picture)).to(self.model.device, self.model.dtype)
        made = self.model.generate(**told, max_new_tokens=LONGEST, do_sample=False)
        asked = told.get("input_ids")
        if asked is not None and (chats or self._is_shown(asked)) and torch.equal(made[:, : asked.shape[1]], asked):
            made = made[:, asked.shape[1] :]  # the question comes back before the answer
        ends = self.model.generation_config.eos_token_id
        ended = made.shape[1] > 0 and int(made[0, -1]) in (ends if isinstance(ends, list) else [ends])
        return made, ended or made.shape[1] < LONGEST

    def _is_shown(self, asked: torch.Tensor) -> bool:
        """Whether the picture stands in what the model is told, which is a question then, not how a caption begins."""
        token = getattr(self.model.config, "image_token_id", None)
        return token is not None and bool((asked == token).any())

    def _plain(self, picture: Image.Image) -> Any:
        """For models that describe unasked; a prompt is the beginning of the caption, or the task's name."""
        return self.images(images=picture, return_tensors="pt", **({"text": self.prompt} if self.prompt else {}))

    def _chat(self, picture: Image.Image) -> Any:
        """For models that want to be asked."""
        content = [{"type": "image", "image": picture}, {"type": "text", "text": self.prompt or INSTRUCTION}]
        return self.words.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars that transformers draws while it loads."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _whole_sentences(text: str) -> str:
    """What ends in the middle, as far as the last sentence that is whole, or the last word."""
    sentences = re.match(r".*[.!?](?= )", text)
    return sentences[0] if sentences else text.rpartition(" ")[0] or text


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def _no_captioner(source: str, error: Exception) -> BadInput:
    package = _PACKAGE.search(str(error)) if isinstance(error, ImportError) else None
    if package:
        name = (package[1] or package[2]).lower()
        return BadInput(source, f"this model needs the package {name}, which is not installed",
                        f"install it (pip install {name}), or choose another captioner")  # fmt: skip
    reason = _line(error)
    if Path(source).is_dir():
        what = f"this folder holds no model that puts pictures into words ({reason})"
        return BadInput(source, what, "choose another folder, or the captioner 'file names'")
    what = f"there is no such folder, and the hub does not give a captioner of that name ({reason})"
    return BadInput(source, what, "check the name and the network, or choose the captioner 'file names'")
