"""Put the trained parts together: the folder that ships as `lorastyle/bases/pocket_flux`.

    python -m tools.pocket_flux.assemble [--out FOLDER]

The folder is what plain `diffusers.FluxPipeline.from_pretrained(folder)` loads, in fp16; its transformer's
configuration also carries the marker by which lorastyle knows the family. The model card stands in
`tools/pocket_flux/card.md` and goes along with the sheet of pictures that the report made.
"""

import argparse
from pathlib import Path

from diffusers import FluxPipeline

from tools.pocket import assemble
from tools.pocket_flux import parts, t5, transformer
from tools.pocket_flux.tokens import tokenizer

SHIPPED = Path("lorastyle/bases/pocket_flux")
ADDED = {
    "transformer": {"_lorastyle_family": "pocket-flux"},
    "text_encoder": {"dtype": "float32"},
    "text_encoder_2": {"dtype": "float32"},
}


def pipeline() -> FluxPipeline:
    """The pipeline of the parts as trained so far, in fp32."""
    return FluxPipeline(
        scheduler=transformer.scheduler(),
        vae=parts.autoencoder(),
        text_encoder=parts.clip(),
        tokenizer=parts.clip_tokenizer(),
        text_encoder_2=t5.trained(),
        tokenizer_2=tokenizer(),
        transformer=transformer.averaged(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    assemble.assemble(parser.parse_args().out, pipeline(), ADDED, card=Path(__file__).parent)


if __name__ == "__main__":
    main()
