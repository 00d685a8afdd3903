"""Qwen language models, which several families read prompts with.

Yang et al. 2025, "Qwen3 technical report", arXiv 2505.09388; Bai et al. 2025, "Qwen2.5-VL technical report", arXiv
2502.13923.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorastyle.bases.clip import token_count

MARK = "\ue000"  # no conversation has it; to find where a prompt begins
# How Qwen3 writes a conversation down, as far as a single question needs it.
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def warn_of_unread(tokenizer: Any, prompts: Sequence[str], longest: int) -> None:
    """Warn of each prompt of more than `longest` tokens."""
    for prompt in prompts:
        if (count := token_count(tokenizer, prompt)) > longest:
            warnings.warn(f"only the first {longest} of {count} tokens are read of: {prompt}", stacklevel=4)


def asked(tokenizer: Any, prompts: Sequence[str], longest: int, thinking: bool) -> Any:
    """Each prompt as a question in a conversation, its token ids and attention mask, each [batch, longest]; warns of
    words that are too many to be read. With `thinking` the answer may begin with thoughts."""

    def conversation(prompt: str) -> str:
        question = [{"role": "user", "content": prompt}]
        return tokenizer.apply_chat_template(
            question, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )

    before = conversation(MARK).partition(MARK)[0]
    warn_of_unread(tokenizer, prompts, longest - token_count(tokenizer, before))
    told = [conversation(prompt) for prompt in prompts]
    return tokenizer(told, padding="max_length", max_length=longest, truncation=True, return_tensors="pt")


def fixed_length(states: Tensor, mask: Tensor, longest: int, skip: int = 0) -> dict[str, Tensor]:
    """States [batch, any, width] where `mask` [batch, any] is not 0, without the first `skip` of each row, as
    {"prompt": [batch, longest, width], "prompt_mask": [batch, longest]}: cut off or filled up with zeros, so that
    prompts can be kept and stacked."""
    rows = [row[kept.bool()][skip : skip + longest] for row, kept in zip(states, mask, strict=True)]
    prompt = torch.stack([pad(row, (0, 0, 0, longest - len(row))) for row in rows])
    lengths = torch.tensor([len(row) for row in rows], device=states.device)
    return {"prompt": prompt, "prompt_mask": torch.arange(longest, device=states.device) < lengths[:, None]}


def tiny_tokenizer(words: Sequence[str] = ()) -> Any:
    """A Qwen2 tokenizer of 48 tokens whose tokens are bytes, "cat" and `words`, with or without a space before."""
    from transformers import Qwen2Tokenizer

    vocabulary, merges = tiny_vocabulary(["user", "assistant", *words])
    pairs: Any = merges  # as it takes them, whatever its annotation says
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=pairs,
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=48,
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def tiny_vocabulary(words: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Tokens by name, and what is merged to them: all bytes, "cat" and `words`, with or without a space before."""
    from tokenizers.pre_tokenizers import ByteLevel

    # \u0120 is how a space is written. Those with one come first, lest what they share with others is merged before.
    known = [space + word for space in ("\u0120", "") for word in ("cat", *words)]
    merges = list(dict.fromkeys((word[:end], word[end]) for word in known for end in range(1, len(word))))
    tokens = dict.fromkeys([*sorted(ByteLevel.alphabet()), *(first + second for first, second in merges)])
    return {token: number for number, token in enumerate(tokens)}, merges


def tiny_config(tokenizer: Any, layers: int) -> Any:
    """The configuration of a Qwen3 of that many layers, 32 wide, for that tokenizer."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
