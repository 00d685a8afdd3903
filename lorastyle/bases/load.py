"""Loading a base from wherever it is."""

import re
from dataclasses import replace
from pathlib import Path

import torch

from lorastyle.bases.base import Base
from lorastyle.bases.family import Family, families
from lorastyle.bases.layout import Layout, read_layout
from lorastyle.bases.loading import quiet
from lorastyle.bases.parts import Parts
from lorastyle.errors import BadInput, Unsupported
from lorastyle.recipe import Precision

EMBEDDED = {"pocket": Path(__file__).parent / "pocket", "pocket-flux": Path(__file__).parent / "pocket_flux"}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_base(
    source: str | Path = "pocket", device: torch.device | str | None = None, precision: Precision = "fp32"
) -> Base:
    """The base at `source`: "pocket", "pocket-flux", a diffusers folder, a .safetensors checkpoint, or a hub id.

    Its parts are loaded when they are first used. Only a hub id, and a single checkpoint without a folder of
    configurations beside it, ask the network.

    Args:
        device: where it computes; by default the one that accelerate chooses.
        precision: what the denoiser and the text encoders are held in and compute with; the recipes trained on the
            base must say the same. In "bf16" they take half the memory; the autoencoder stays fp32.

    Raises:
        BadInput: there is nothing at `source`, and the hub has no such base or cannot be reached.
        BadFile: what is there is damaged, incomplete, or a pickle.
        Unsupported: it is a base, but of no family that lorastyle knows.
    """
    layout = read_layout(_located(source))
    family = detect(layout)
    if precision == "bf16":
        layout = replace(layout, halved=frozenset({*family.roles["denoiser"], *family.roles["text"]}))
    base = Base(_name(source), family, Parts(family.loaders(layout)), precision=precision, source=layout.path)
    base.to(device or _default_device())
    return base


def detect(layout: Layout) -> Family:
    """The family of the base with this layout; raises Unsupported where it is of none."""
    if layout.marker is not None:
        if layout.marker not in families():
            what = f"this is a base of the family {layout.marker!r}, which this version of lorastyle does not know"
            raise Unsupported(str(layout.path), what, "update lorastyle")
        return families()[layout.marker]
    for family in families().values():
        if family.recognises(layout):
            return family
    known = ", ".join(family.title for family in families().values())
    raise Unsupported(str(layout.path), _seen(layout), f"use a base of one of these: {known}")


def _seen(layout: Layout) -> str:
    if any("lora_" in name or name.endswith(".alpha") for name in layout.tensors):
        return "this is an adapter, not a base"
    if layout.tensors:
        return "this checkpoint is of no family of bases that lorastyle knows, or a part of one"
    kind = layout.configs["model_index"].get("_class_name", "pipeline without a name")
    return f"a {kind} laid out like this is of no family of bases that lorastyle knows"


def _located(source: str | Path) -> Path:
    if source in EMBEDDED:
        return EMBEDDED[str(source)]
    path = Path(source)
    if path.exists():
        return path
    if isinstance(source, str) and _HUB_ID.fullmatch(source):
        return _downloaded(source)
    do = 'check the path, or give "pocket" or the id of a base on the hub, such as "owner/name"'
    raise BadInput(str(source), "there is neither a file nor a folder of that name", do)


def _downloaded(source: str) -> Path:
    """The folder in the hub's cache with the base of that id; its weights come after its configurations, if usable."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        configs = snapshot_download(source, allow_patterns=["*.json", "*/*.json"])
        detect(read_layout(Path(configs)))
        from diffusers import DiffusionPipeline

        with quiet():
            left_out = {"safety_checker": None, "feature_extractor": None}
            return Path(DiffusionPipeline.download(source, use_safetensors=True, **left_out))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise BadInput(source, *_not_given(error)) from error  # whose own words are for logs


def _not_given(error: Exception) -> tuple[str, str]:
    """Why the hub did not give a base, and what to do."""
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    token = "start again with your token in the environment (HF_TOKEN)"
    if isinstance(error, GatedRepoError):
        return "this base is for those alone who have agreed to its terms", f"agree to them on the hub, and {token}"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such base, or it is private", f"check the id; for a private one, {token}"
    if isinstance(error, LocalEntryNotFoundError | ConnectionError | TimeoutError):
        return "it is not on this machine, and the hub cannot be reached", "check the network, and try again"
    what = "there is no such folder, and the hub does not give a base of that id"
    return what, "check the id, the network, and whether the base needs a login"


def _name(source: str | Path) -> str:
    if source in EMBEDDED or not Path(source).exists():
        return str(source)
    path = Path(source).resolve()
    return path.stem if path.is_file() else path.name


def _default_device() -> torch.device:
    from accelerate import PartialState

    return PartialState().device
