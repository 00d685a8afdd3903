"""The base that stays loaded between jobs. Nothing heavy is imported before one is asked for."""

import lorastyle
from lorastyle.settings import Precision


class WarmBase:
    """Holds the base that was used last; every public function leaves a base as it was."""

    def __init__(self) -> None:
        self._held: tuple[str, Precision] | None = None
        self._base: lorastyle.Base | None = None

    def get(self, name: str, precision: Precision) -> "lorastyle.Base":
        """The base of that name; another one is let go first, since both together may not fit."""
        if self._base is None or self._held != (name, precision):
            self._base = None
            self._base, self._held = lorastyle.load_base(name, precision=precision), (name, precision)
        return self._base
