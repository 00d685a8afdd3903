"""Captioners of the real classes with random weights, saved as they come from a hub; a vocabulary made here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = ["a", "cat", "dog", "of", "red", "old", "barn", "asked", "cat. red"]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LAYERS: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2
}  # fmt: skip
EYES: dict[str, Any] = {**LAYERS, "image_size": 32, "patch_size": 16}
SQUARE = {"height": 32, "width": 32}
Parts = tuple[Any, Any]  # a model and its processor


def tokenizer(*special: str, **named: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *special, *named.values(), *WORDS]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    read = PreTrainedTokenizerFast(tokenizer_object=made, extra_special_tokens=named, **names)
    read.add_tokens(list(special), special_tokens=True)
    return read


def template(image: str) -> str:
    """How a conversation is told to a model, with `image` where the picture stands."""
    return (
        "{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %} {{ part['text'] }} {% endif %}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %} barn {% endif %}"
    )


def language(words: Any) -> dict[str, Any]:
    return {**LAYERS, **IDS, "num_key_value_heads": 1, "vocab_size": len(words), "max_position_embeddings": 512}


def llava() -> Parts:
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    words = tokenizer(image_token="<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**EYES), text_config=LlamaConfig(**language(words)),
        image_token_id=words.image_token_id, vision_feature_select_strategy="default", vision_feature_layer=-1,
    )  # fmt: skip
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE), words, patch_size=16,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=template("<image>"),
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor


def gemma3() -> Parts:
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    words = tokenizer(boi_token="<boi>", eoi_token="<eoi>", image_token="<image>")
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**EYES | {"patch_size": 8}),
        text_config=Gemma3TextConfig(**language(words), head_dim=8),
        mm_tokens_per_image=4, boi_token_index=words.boi_token_id, eoi_token_index=words.eoi_token_id,
        image_token_id=words.image_token_id,
    )  # fmt: skip
    images = Gemma3ImageProcessor(size=SQUARE)
    processor = Gemma3Processor(images, words, chat_template=template("<boi>"), image_seq_length=4)
    return Gemma3ForConditionalGeneration(config), processor


def idefics3() -> Parts:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
        LlamaConfig,
    )

    words = tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    place = words.convert_tokens_to_ids("<image>")
    config = Idefics3Config(image_token_id=place, vision_config=EYES | {"patch_size": 8}, scale_factor=2,
                            text_config=LlamaConfig(**language(words)))  # fmt: skip
    images = Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, words, image_seq_len=4, chat_template=template("<image>"))
    return Idefics3ForConditionalGeneration(config), processor


def florence2() -> Parts:
    from transformers import (
        BartConfig,
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
        Florence2VisionConfig,
    )

    words = tokenizer(image_token="<image>")
    eyes = Florence2VisionConfig(
        depths=(1, 1), patch_size=(7, 3), patch_stride=(4, 2), patch_padding=(3, 1), patch_prenorm=(False, True),
        embed_dim=(8, 16), num_heads=(1, 1), num_groups=(1, 1), window_size=4, projection_dim=16,
    )  # fmt: skip
    sizes = {f"{part}_{what}": size for part in ("encoder", "decoder")
             for what, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    language = BartConfig(d_model=16, vocab_size=len(words), max_position_embeddings=512, decoder_start_token_id=2,
                          **sizes, **IDS)  # fmt: skip
    config = Florence2Config(text_config=language, vision_config=eyes, image_token_id=words.image_token_id, **IDS)
    images = CLIPImageProcessor(size=SQUARE, crop_size=SQUARE, do_center_crop=False)
    images.image_seq_length = 17
    return Florence2ForConditionalGeneration(config), Florence2Processor(images, words)


def blip2() -> Parts:
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor, OPTConfig

    words = tokenizer("<image>")
    language = OPTConfig(**LAYERS, **IDS, ffn_dim=16, word_embed_proj_dim=16, vocab_size=len(words))
    between = {**LAYERS, "encoder_hidden_size": 16, "vocab_size": len(words)}
    config = Blip2Config(
        vision_config=EYES, qformer_config=between, text_config=language, num_query_tokens=4,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return Blip2ForConditionalGeneration(config), Blip2Processor(BlipImageProcessor(size=SQUARE), words, 4)


def git() -> Parts:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    words = tokenizer()
    config = GitConfig(vision_config=EYES, vocab_size=len(words), **LAYERS, **IDS)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE)
    return GitForCausalLM(config), GitProcessor(images, words)


CAPTIONERS: dict[str, Callable[[], Parts]] = {
    one.__name__: one for one in (llava, gemma3, idefics3, florence2, blip2, git)
}
ASKED = ("llava", "gemma3", "idefics3")  # in a conversation


def saved(folder: Path, name: str, *, says: str | None = None, half: bool = False, chats: bool = True) -> str:
    """A captioner in a folder: one that `says` this word only ("" nothing), in half precision, or without the template
    of its conversations."""
    import torch
    from transformers import set_seed

    set_seed(1)
    model, processor = CAPTIONERS[name]()
    for weights in model.parameters():
        if weights.ndim > 1:
            weights.data *= 8  # or what it is told would hardly matter
    words = processor.tokenizer
    if says is not None:
        end = IDS["eos_token_id"]
        only = {words.convert_tokens_to_ids(says), end} if says else {end}
        model.generation_config.suppress_tokens = sorted(set(range(len(words))) - only)
    if says != "":
        model.generation_config.min_new_tokens = 75  # as many as there may be
    if not chats:
        processor.chat_template = None
    model.to(torch.bfloat16 if half else torch.float32).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def saved_qwen(folder: Path) -> str:
    """A Qwen2.5-VL, whose processor also looks at films; its parts lie in the folder as on the hub."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessor

    words = tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>")
    turned = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
    eyes = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 16,
            "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [0]}  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config={**language(words), "rope_parameters": turned}, vision_config=eyes,
        image_token_id=words.image_token_id, video_token_id=words.video_token_id,
    )  # fmt: skip
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    words.save_pretrained(folder)
    images = Qwen2VLImageProcessor(patch_size=4, min_pixels=64, max_pixels=1024).to_dict()
    told = images | {"processor_class": "Qwen2_5_VLProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(told, default=str))
    return str(folder)
