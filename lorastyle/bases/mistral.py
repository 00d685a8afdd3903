"""Mistral language models as readers of prompts.

Mistral AI 2025, https://mistral.ai/news/mistral-small-3-1.
"""

from collections.abc import Sequence
from typing import Any

from lorastyle.bases.clip import token_count
from lorastyle.bases.qwen import MARK, warn_of_unread

PICTURE = "[IMG]"  # stands for a picture in a conversation; in a prompt it would be taken for one
# How a conversation of one system message and one question is written down.
CHAT = (
    "{{ bos_token }}{% for message in messages %}{% set text = message.content[0].text %}"
    "{% if message.role == 'system' %}[SYSTEM_PROMPT]{{ text }}[/SYSTEM_PROMPT]"
    "{% else %}[INST]{{ text }}[/INST]{% endif %}{% endfor %}"
)


def asked(tokenizer: Any, system: str, prompts: Sequence[str], longest: int) -> Any:
    """Each prompt as a question after the message `system`, its token ids and attention mask, each [batch, longest];
    warns of words that are too many to be read."""

    def conversation(prompt: str) -> list[dict[str, Any]]:
        said = {"system": system, "user": prompt.replace(PICTURE, "")}
        return [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said.items()]

    before = tokenizer.apply_chat_template(conversation(MARK), tokenize=False).partition(MARK)[0]
    warn_of_unread(tokenizer, prompts, longest - token_count(tokenizer, before))
    return tokenizer.apply_chat_template(
        [conversation(prompt) for prompt in prompts],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        padding="max_length",
        truncation=True,
        max_length=longest,
    )


def tiny_tokenizer(words: Sequence[str]) -> Any:
    """A tokenizer of 96 tokens, filled up on the left, whose tokens are bytes, "cat" and `words`, with or without a
    space before."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from lorastyle.bases.qwen import tiny_vocabulary

    vocabulary, merges = tiny_vocabulary(words)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", PICTURE],
        padding_side="left",
        model_max_length=96,
        chat_template=CHAT,
    )


def tiny_config(tokenizer: Any, layers: int) -> Any:
    """The configuration of a Mistral 3 of that many layers, 32 wide, for that tokenizer."""
    from transformers import Mistral3Config, MistralConfig, PixtralVisionConfig

    text = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = PixtralVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16
    )
    picture = tokenizer.convert_tokens_to_ids(PICTURE)
    return Mistral3Config(text_config=text, vision_config=vision, image_token_index=picture)
