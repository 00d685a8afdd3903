"""Adapters as HTML: a card for each, and the facts of the one that is open. All that people wrote is escaped."""

import time
from html import escape

from lorastyle import Card
from ui import files
from ui.widgets.entries import entry
from ui.widgets.parts import part
from ui.widgets.words import size

STYLE = part("adapters.css")
EMPTY = """<div class="empty"><p>Your library is empty.</p>
<p><a href="./">Teach a first style</a>, or bring in an adapter from elsewhere below.</p></div>"""
NOTHING_FOUND = """<div class="empty"><p>No adapter is called that, has such a trigger word or such a tag.</p></div>"""


def grid(cards: list[Card], chosen: str, search: str) -> str:
    """A card for each adapter."""
    if not cards:
        return NOTHING_FOUND if search.strip() else EMPTY
    return f'<ul class="cards">{"".join(f"<li>{_card(card, card.id == chosen)}</li>" for card in cards)}</ul>'


def _card(card: Card, is_chosen: bool) -> str:
    look = f'<img src="{escape(files.card(card))}" alt="" loading="lazy">' if card.thumbnail else "no picture yet"
    trigger = f"<span><code>{escape(card.trigger)}</code></span>" if card.trigger else ""
    about = f"{card.base or card.family or 'unknown base'}, {card.kind} of rank {card.rank}, {size(card.bytes)}"
    inside = (
        f'<span class="look">{look}</span><span class="told"><b>{escape(card.title)}</b>{trigger}'
        f'<span class="quiet">{escape(about)}</span><span class="quiet">{_day(card.date)}</span>{_tags(card)}</span>'
    )
    return entry("adapter", "adapter", card.id, is_chosen, inside)


def _tags(card: Card) -> str:
    tags = "".join(f'<span class="chip">{escape(tag)}</span>' for tag in card.tags)
    return f'<span class="tags">{tags}</span>' if tags else ""


def facts(card: Card) -> str:
    """What is known of one adapter, with its previews."""
    lines = {
        "Trigger word": f"<code>{escape(card.trigger)}</code>" if card.trigger else "none; it acts on every prompt",
        "Base": escape(card.base or "not said"),
        "Family": escape(card.family or "not said"),
        "Kind": escape(f"{card.kind}, rank {card.rank}"),
        "Added": _day(card.date),
        "Size": size(card.bytes),
        "Best strength": f"{card.strength:g}",
    }
    told = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in lines.items())
    shown = "".join(
        f'<img src="{escape(files.preview_of(card, number))}" alt="Preview {number + 1}" loading="lazy">'
        for number in range(len(card.previews))
    )
    return (
        f'<section class="opened"><h2>{escape(card.title)}</h2>'
        f"{f'<div class=previews>{shown}</div>' if shown else ''}<dl>{told}</dl>"
        f'<p class="links"><a href="./generate?adapter={escape(card.id)}">Draw with it</a>'
        f'<a href="./compare?adapter={escape(card.id)}">Compare with the base</a></p></section>'
    )


def _day(epoch: float) -> str:
    return time.strftime("%-d %B %Y", time.localtime(epoch))
