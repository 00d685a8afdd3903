"""T5 text encoders, which several families read prompts with, beside CLIP.

Raffel et al. 2019, "Exploring the limits of transfer learning with a unified text-to-text transformer", arXiv
1910.10683.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lorastyle.bases.clip import token_count


def states(encoder: Any, tokenizer: Any, prompts: Sequence[str], longest: int) -> Tensor:
    """The last hidden states [batch, longest, width] of the prompts; warns of words that are too many to be read.

    The padding is read like any other token: so bases that are told by T5 were trained.
    """
    for prompt in prompts:
        if (count := token_count(tokenizer, prompt)) > longest - 1:
            warnings.warn(f"only the first {longest - 1} of {count} tokens are read of: {prompt}", stacklevel=4)
    told = tokenizer(list(prompts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
    return encoder(told.input_ids.to(encoder.device)).last_hidden_state


def tiny_tokenizer() -> Any:
    """A T5 tokenizer of 24 tokens whose tokens are printable characters, at the start of a word or in it, and "cat"."""
    from transformers import T5Tokenizer

    letters = [chr(code) for code in range(33, 127)]
    starts = [f"▁{letter}" for letter in letters]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = [*special, ("▁cat", -1.0), *((piece, -5.0) for piece in (*starts, *letters)), ("▁", -9.0)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=24)


def tiny_encoder(tokenizer: Any, width: int = 32) -> Any:
    """A text encoder of 2 layers with random weights, for that tokenizer."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=8,
        num_heads=4,
        d_ff=64,
        num_layers=2,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        is_encoder_decoder=False,
        use_cache=False,
    )
    return T5EncoderModel(config)
