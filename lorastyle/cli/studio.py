"""The studio in the browser: `lorastyle ui`."""

from ui.command import ui

__all__ = ["ui"]
