"""The base that stays loaded between jobs. Nothing heavy is imported before one is asked for."""

import lorastyle


class WarmBase:
    """Holds the base that was used last; every public function leaves a base as it was."""

    def __init__(self) -> None:
        self._name = ""
        self._base: lorastyle.Base | None = None

    def get(self, name: str) -> "lorastyle.Base":
        """The base of that name; another one is let go first, since both together may not fit."""
        if self._base is None or name != self._name:
            self._base = None
            self._base, self._name = lorastyle.load_base(name), name
        return self._base
