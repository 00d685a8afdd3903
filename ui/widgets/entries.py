"""Entries of a list that can be opened: buttons that `choose.js` listens to."""

from html import escape


def entry(style: str, name: str, id: str, is_open: bool, inside: str, title: str = "") -> str:
    """A button that opens `id` and puts it into the address as `name`; `inside` is HTML, all else is escaped."""
    hint = f' title="{escape(title)}"' if title else ""
    return (
        f'<button type="button" class="{escape(style)}" data-name="{escape(name)}" data-id="{escape(id)}"'
        f'{hint} aria-current="{str(is_open).lower()}">{inside}</button>'
    )
