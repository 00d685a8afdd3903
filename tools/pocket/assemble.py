"""Put the trained parts together: the folder that ships as `lorastyle/bases/pocket`.

    python -m tools.pocket.assemble [--out FOLDER]

The folder is what plain `diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)` loads, in
fp16; its UNet's configuration also carries the marker by which lorastyle knows the family. The model card stands in
`tools/pocket/card.md` and goes along with the sheet of pictures that the report made.
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

from tools.pocket import autoencoder, unet, words

SHIPPED = Path("lorastyle/bases/pocket")
CARD = {"README.md": "card.md", "generations.png": "generations.png"}  # the card and the sheet it shows
# transformers loads in the dtype that the configuration names, diffusers in fp32; both should be the same.
ADDED = {"unet": {"_lorastyle_family": "pocket"}, "text_encoder": {"dtype": "float32"}}


def pipeline() -> StableDiffusionPipeline:
    """The pipeline of the parts as trained so far, in fp32."""
    return StableDiffusionPipeline(
        vae=autoencoder.normalised(),
        text_encoder=words.trained(),
        tokenizer=words.tokenizer(),
        unet=unet.averaged(),
        scheduler=unet.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def mark(folder: Path, added: Mapping[str, Mapping[str, str]]) -> None:
    """Write into each part's configuration what is `added` to it, and drop what the machine put into any."""
    for path in folder.glob("*/*config.json"):
        config = json.loads(path.read_text(encoding="utf-8")) | dict(added.get(path.parent.name, {}))
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def assemble(folder: Path, pipeline: DiffusionPipeline, added: Mapping[str, Mapping[str, str]], card: Path) -> None:
    """Write the pipeline in fp16 to `folder`, anew, with the files of CARD that lie in the folder `card`."""
    if folder.is_dir():
        shutil.rmtree(folder)
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    mark(folder, added)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    for name, source in CARD.items():
        shutil.copy(card / source, folder / name)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {total / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    assemble(parser.parse_args().out, pipeline(), ADDED, card=Path(__file__).parent)


if __name__ == "__main__":
    main()
