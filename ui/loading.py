"""Loading Gradio, which is most of what a start of the studio takes."""

import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_WRITES_STUBS = "gradio.component_meta"


def prepare(uploads: Path) -> None:
    """Before Gradio is loaded: what comes in goes into the folder `uploads`, and nothing is reported to anybody."""
    os.environ.update(
        GRADIO_TEMP_DIR=str(uploads),
        GRADIO_EXAMPLES_CACHE=str(uploads / "examples"),
        GRADIO_ANALYTICS_ENABLED="False",
        GRADIO_RUN_HISTORY="False",
        GRADIO_MCP_SERVER="False",
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    if _WRITES_STUBS not in sys.modules and not any(isinstance(finder, _WithoutStubs) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WithoutStubs())


class _WithoutStubs(importlib.abc.MetaPathFinder):
    """Finds Gradio's module that rewrites the stubs of its components for editors, and takes that out of it.

    It parses the source of each component on every start, which takes as long as all the rest of Gradio, and two
    studios that start at once would write to the same files.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:  # fmt: skip
        if name != _WRITES_STUBS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def without_stubs(module: Any) -> None:
            execute(module)
            if not callable(getattr(module, "create_or_modify_pyi", None)):
                raise ImportError(f"{name} has changed; ui/loading.py must follow")
            module.create_or_modify_pyi = lambda *_: None

        spec.loader.exec_module = without_stubs  # type: ignore[method-assign]
        return spec
