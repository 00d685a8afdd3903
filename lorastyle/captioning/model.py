"""A transformers model that puts pictures into words."""

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


@dataclass(frozen=True)
class Captioner:
    """Call it with a picture. `prompt` is told to the model with each."""

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
            raise _no_captioner(source, str(error)) from error
        model, told = loaded
        if told["missing_keys"]:
            raise _no_captioner(source, f"its weights lack {min(told['missing_keys'])}")
        if prompt and not joint:
            raise BadInput("prompt", f"{source} describes pictures unasked, it reads no prompt", "leave it out")
        return cls(model.eval().to(PartialState().device), images, words, prompt)

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> str:
        chats = bool(getattr(self.words, "chat_template", None))
        told = self._chat(picture) if chats else self._plain(picture)
        made = self.model.generate(**told.to(self.model.device), max_new_tokens=LONGEST, do_sample=False)
        if chats:
            made = made[:, told["input_ids"].shape[1] :]  # the question comes back before the answer
        (text,) = self.words.batch_decode(made, skip_special_tokens=True)
        return " ".join(text.split())

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


def _no_captioner(source: str, reason: str) -> BadInput:
    reason = " ".join(reason.split())[:200]
    if Path(source).is_dir():
        what = f"this folder holds no model that puts pictures into words ({reason})"
        return BadInput(source, what, "choose another folder, or the captioner 'file names'")
    what = f"there is no such folder, and the hub does not give a captioner of that name ({reason})"
    return BadInput(source, what, "check the name and the network, or choose the captioner 'file names'")
