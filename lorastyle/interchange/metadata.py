"""What a foreign file tells of the adapter in it, at three levels.

none       what its tensors mean, and the proof
minimal    also what it is, for which bases, and how it is called up: modelspec.* (ModelSpec 1.0.1) and the ss_* strings
           that the tools show
full       also how it was made: the recipe, how often each tag was in the captions, a thumbnail

At no level does it tell where anything lay, who made it, or on which machine.
"""

import base64
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lorastyle import __version__
from lorastyle.adapters import header as headers
from lorastyle.adapters.file import Adapter, whole
from lorastyle.bases.family import Family
from lorastyle.interchange.assembly import ARCHITECTURE, KOHYA_BASE, modules_of
from lorastyle.interchange.format import Sheet
from lorastyle.interchange.spelling import ALPHA

LEVELS = ("none", "minimal", "full")
PROOF, BASE = "lorastyle.proof", "lorastyle.base"
THUMBNAIL = 256  # pixels
# Paths from a root, a drive, a home or a machine; not the slashes of URLs, dates and captions such as "black/white".
PLACE = re.compile(r"(?<![\w:/.])/[\w.-]+/[\w.-]|(?<![A-Za-z])[A-Za-z]:(?:\\|/)+\w|(?<!\w)~/|\\\\\w+\\")
LYCORIS = {"dora": {"algo": "lora", "dora_wd": "True"}, "oft": {"algo": "diag-oft"}}
KOHYA_OWN = ("lora",)
# What kohya's tools call the settings of a recipe.
SETTINGS = {
    "ss_steps": "steps",
    "ss_max_train_steps": "steps",
    "ss_learning_rate": "learning_rate",
    "ss_unet_lr": "learning_rate",
    "ss_text_encoder_lr": "text_encoder_learning_rate",
    "ss_optimizer": "optimizer",
    "ss_lr_scheduler": "schedule",
    "ss_batch_size_per_device": "batch",
    "ss_gradient_accumulation_steps": "accumulation",
    "ss_seed": "seed",
    "ss_min_snr_gamma": "min_snr",
    "ss_caption_dropout_rate": "caption_dropout",
    "ss_flip_aug": "flip",
}
# What is kept, at the level full, of what the file of another tool told.
HASHES = ("ss_sd_model_hash", "ss_new_sd_model_hash")
KEPT = ("modelspec.description", "ss_sd_model_name", "ss_tag_frequency", "ss_num_train_images")


def header(adapter: Adapter, family: Family, sheet: Sheet, level: str, source: Path, title: str) -> dict[str, str]:
    """The strings of the header.

    Args:
        source: the adapter's own file; what its run left beside it is told at the level full.
    """
    strings = {"format": "pt"} | dict(sheet.header)
    if level == "none":
        return strings
    strings |= _spec(adapter, family, title) | _network(adapter, family, sheet, title) | _hashes(sheet)
    if level == "full":
        strings |= _making(adapter) | _run(source, title)
    return without_places(strings)


def without_places(strings: Mapping[str, str]) -> dict[str, str]:
    """The strings that hold no path."""
    return {name: text for name, text in strings.items() if text.startswith("data:image/") or not PLACE.search(text)}


def preview(source: Path) -> Path | None:
    """The picture in a run's folder that shows best what the adapter does: its last preview, or the comparison."""
    samples = sorted((source.parent / "samples").glob("step-*-0.png"))
    return next((path for path in (*reversed(samples), source.with_name("comparison.png")) if path.is_file()), None)


def _spec(adapter: Adapter, family: Family, title: str) -> dict[str, str]:
    """ModelSpec 1.0.1, https://github.com/Stability-AI/ModelSpec."""
    told = {
        name: text
        for name, text in adapter.metadata.items()
        if name in ("modelspec.resolution", "modelspec.prediction_type")
    }
    architecture = adapter.metadata.get(ARCHITECTURE) or f"{family.architecture(family.tiny(0))}/lora"
    spec = {
        "modelspec.sai_model_spec": "1.0.1",
        ARCHITECTURE: architecture,
        "modelspec.implementation": "https://github.com/huggingface/diffusers",
        "modelspec.title": adapter.metadata.get("modelspec.title") or title,
    }
    if adapter.trigger:
        spec |= {
            "modelspec.trigger_phrase": adapter.trigger,
            "modelspec.usage_hint": f"Write {adapter.trigger} in the prompt.",
            headers.TRIGGER: adapter.trigger,
        }
    return told | spec | {headers.FAMILY: family.name}


def _network(adapter: Adapter, family: Family, sheet: Sheet, title: str) -> dict[str, str]:
    modules = modules_of(adapter).values()
    ranks = {module.made.rank(module.factors) for module in modules}
    alphas = {round(module.alpha, 6) for module in modules} if _tells_alpha(sheet) else ranks
    network = {
        "ss_network_module": family.known_as.get("networks", "networks.lora"),
        "ss_network_dim": _single(ranks),
        "ss_network_alpha": _single(alphas),
        "ss_output_name": title,
    }
    if adapter.kind not in KOHYA_OWN:
        arguments = LYCORIS.get(adapter.kind, {"algo": adapter.kind})
        network |= {"ss_network_module": "lycoris.kohya", "ss_network_args": json.dumps(arguments)}
    if version := family.known_as.get("kohya"):
        network |= {KOHYA_BASE: version, "ss_v2": str(version.startswith("sd_v2"))}
    if side := adapter.recipe.get("resolution"):
        network["ss_resolution"] = f"({side}, {side})"
    elif resolution := adapter.metadata.get("ss_resolution"):
        network["ss_resolution"] = resolution
    return network


def _tells_alpha(sheet: Sheet) -> bool:
    return any(name.endswith(f".{ALPHA}") for name in sheet.tensors)


def _single(values: set[Any]) -> str:
    """The only value; "Dynamic", as kohya's tools say, where there are several."""
    return f"{values.pop():g}" if len(values) == 1 else "Dynamic"


def _hashes(sheet: Sheet) -> dict[str, str]:
    """SHA-256 of the tensors as they lie in the file, whatever its header says, as kohya's tools compute it."""
    data = whole(sheet.tensors, {})
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    return {"sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}


def _making(adapter: Adapter) -> dict[str, str]:
    """How it was made, from its recipe, or from what the tool told that made it."""
    told = {name: adapter.metadata[name] for name in (*KEPT, *HASHES, *SETTINGS) if name in adapter.metadata}
    if base := adapter.metadata.get(BASE):
        told |= {"ss_sd_model_name": base, BASE: base}
    if not adapter.recipe:
        return told
    named = {
        name: str(adapter.recipe[field]) for name, field in SETTINGS.items() if adapter.recipe.get(field) is not None
    }
    if skipped := adapter.recipe.get("clip_skip"):
        named["ss_clip_skip"] = str(skipped + 1)  # they count the layer that is read, from the last one as 1
    recipe = json.dumps(dict(adapter.recipe), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return told | named | {headers.RECIPE: recipe, "ss_training_comment": f"lorastyle {__version__}"}


def _run(source: Path, title: str) -> dict[str, str]:
    """What the adapter's run left beside its file: the captions' tags, and a picture."""
    told: dict[str, str] = {}
    listed = source.with_name("dataset.jsonl")
    if listed.is_file():
        rows = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines() if line]
        captions = [str(row["caption"]) for row in rows if row.get("caption")]
        tags = Counter(tag.strip() for caption in captions for tag in caption.split(",") if tag.strip())
        told = {
            "ss_num_train_images": str(len(captions)),
            "ss_tag_frequency": json.dumps({title: dict(tags.most_common())}, ensure_ascii=False),
            "ss_dataset_dirs": json.dumps({title: {"n_repeats": 1, "img_count": len(captions)}}),
        }
    picture = preview(source)
    return told | ({"modelspec.thumbnail": _thumbnail(picture)} if picture else {})


def _thumbnail(picture: Path) -> str:
    with Image.open(picture) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    small.save(data, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
