"""An adapter of any kind as a LoRA of a given rank: the nearest there is (Eckart and Young 1936)."""

from collections.abc import Mapping

from torch import Tensor

from lorastyle.adapters.algebra import nearest_lora
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
        raise BadInput("--rank", what, "give the base too, with --base")
    factors = {
        layer: nearest_lora(adapter.change(layer, base.get(published(layer))), rank)[0] for layer in adapter.factors
    }
    alphas = {layer: float(len(held["down"])) for layer, held in factors.items()}
    return Adapter(adapter.family, "lora", factors, alphas, False, adapter.trigger, adapter.recipe, adapter.metadata)
