"""An adapter of any kind as a LoRA of a given rank: the nearest there is (Eckart and Young 1936)."""

from collections.abc import Mapping

from torch import Tensor

from lorastyle.adapters.algebra import nearest_lora, nearest_to_pair, scaled_pair
from lorastyle.adapters.file import Adapter
from lorastyle.adapters.header import published
from lorastyle.adapters.kinds import kind as kind_called
from lorastyle.errors import BadInput


def as_lora(adapter: Adapter, rank: int, base: Mapping[str, Tensor]) -> Adapter:
    """The LoRA of at most that rank whose changes are the nearest to the adapter's.

    base: the weights of the layers.

    Raises:
        BadInput: the kind's change depends on the base's weight, and it is missing.
    """
    if kind_called(adapter.kind).needs_weight and not base:
        what = f"what a {adapter.kind} changes depends on the base's weights"
        raise BadInput("rank", what, "give the base too")
    factors = {layer: _nearest(adapter, layer, rank, base.get(published(layer))) for layer in adapter.factors}
    alphas = {layer: float(len(held["down"])) for layer, held in factors.items()}
    return Adapter(adapter.family, "lora", factors, alphas, False, adapter.trigger, adapter.recipe, adapter.metadata)


def _nearest(adapter: Adapter, layer: str, rank: int, weight: Tensor | None) -> dict[str, Tensor]:
    if adapter.kind == "lora":
        down, up = scaled_pair(adapter, layer, 1.0)
        return nearest_to_pair({"down": down, "up": up}, rank)[0]
    return nearest_lora(adapter.change(layer, weight), rank)[0]
