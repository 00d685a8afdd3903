"""CLIP text encoders, which several families read prompts with.

Radford et al. 2021, "Learning transferable visual models from natural language supervision", arXiv 2103.00020.
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lorastyle.bases.family import Place
from lorastyle.errors import BadInput

# transformers before 5.6 had all layers under text_model; those with a projection still have.
ATTENTION = r"(?:text_model\.)?encoder\.layers\.\d+\.self_attn\.(?:q|k|v|out)_proj"
MLP = r"(?:text_model\.)?encoder\.layers\.\d+\.mlp\.fc[12]"

LONGEST = 77  # tokens that CLIP was trained with, the two at the ends among them

_OPEN_CLIP = {"self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
_FUSED = ("q_proj", "k_proj", "v_proj")


def token_count(tokenizer: Any, text: str) -> int:
    """Into how many tokens `text` falls, without those at its ends."""
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def tokenized(tokenizer: Any, prompts: Sequence[str]) -> Any:
    """The prompts' token ids and attention mask, each [batch, tokens]; warns of words that are too many to be read."""
    longest = min(tokenizer.model_max_length, LONGEST)
    for prompt in prompts:
        if (count := token_count(tokenizer, prompt)) > longest - 2:
            warnings.warn(f"only the first {longest - 2} of {count} tokens are read of: {prompt}", stacklevel=4)
    return gist(tokenizer, prompts)


def gist(tokenizer: Any, prompts: Sequence[str]) -> Any:
    """The same without a warning, where another encoder reads all of the words."""
    longest = min(tokenizer.model_max_length, LONGEST)  # some tokenizers tell of no end
    return tokenizer(list(prompts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt")


def states(encoder: Any, told: Any, skip: int, **options: Any) -> tuple[Tensor, Any]:
    """The hidden states [batch, tokens, width] before the last `skip` layers, not normalised, and all that the
    encoder gives. Raises BadInput where it has no more than `skip` layers."""
    layers = encoder.config.num_hidden_layers
    if skip >= layers:
        what = f"{skip} layers cannot be left out of a text encoder with {layers}"
        raise BadInput("clip_skip", what, "choose a smaller clip_skip; 1 is usual")
    given = encoder(told.input_ids.to(encoder.device), output_hidden_states=True, **options)
    return given.hidden_states[-1 - skip], given


def last_layers(part: str, encoder: Any, count: int) -> list[str]:
    """The pattern of the names of all that is in the last `count` layers of that part; none for a count of 0."""
    layers = encoder.config.num_hidden_layers
    last = "|".join(str(number) for number in range(layers - count, layers))
    return [rf"{part}\.(?:text_model\.)?encoder\.layers\.(?:{last})\..*"] if count else []


def plain_name(layer: str) -> str:
    """The name of a layer within its encoder as transformers had it for long, and other tools still do."""
    path = layer.partition(".")[2]
    return path if path.startswith(("text_model.", "text_projection")) else f"text_model.{path}"


def open_clip_place(prefix: str, layer: str) -> Place | None:
    """Where a layer stands in files that hold the encoder as open_clip does, with its q, k and v in one."""
    found = re.fullmatch(r"(?:text_model\.)?encoder\.layers\.(\d+)\.(.*)", layer.partition(".")[2])
    if found is None:
        return None
    block, rest = f"{prefix}.transformer.resblocks.{found[1]}", found[2]
    name = rest.removeprefix("self_attn.")
    if name in _FUSED:
        return Place(f"{block}.attn.in_proj", _FUSED.index(name), (1, 1, 1), ending="_weight")
    return Place(f"{block}.{_OPEN_CLIP[rest]}")


def tiny_tokenizer() -> Any:
    """A CLIP tokenizer of 24 tokens whose tokens are bytes, and "cat"."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    merges: Any = [("c", "a"), ("ca", "t</w>")]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=24)


def tiny_config(tokenizer: Any, **settings: Any) -> Any:
    """The settings of a text encoder of 2 layers, 32 wide, for that tokenizer."""
    from transformers import CLIPTextConfig

    end = tokenizer.eos_token_id
    small = {"hidden_size": 32, "intermediate_size": 64, "projection_dim": 32, "num_hidden_layers": 2}
    return CLIPTextConfig(
        **small | {"num_attention_heads": 4} | settings,
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=end,
    )
