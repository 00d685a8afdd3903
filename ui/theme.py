"""How the studio looks: one accent colour on quiet greys, the fonts of the person's own system, light and dark."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes.utils.colors import Color

_HERE = Path(__file__).parent
_STYLED = (
    "steps",
    "drop",
    "shelf",
    "review",
    "settings",
    "watch",
    "previews",
)  # widgets whose style is the whole page's
_FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Cantarell", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Cascadia Mono", "DejaVu Sans Mono", "monospace")

# Viridian, a painter's green; 700 on white and 300 on 900 both keep a contrast above 4.5.
# fmt: off
_ACCENT = Color("#effaf6", "#d5f1e8", "#abe2d1", "#78ccb4", "#47b095", "#28937a",
                "#1b7663", "#175f51", "#154c42", "#123f37", "#08241f", name="viridian")
_GREY = Color("#f8f8f7", "#f0f0ee", "#e3e3e0", "#cfcfcb", "#9b9b97", "#6c6c69",
              "#4d4d4b", "#383837", "#272726", "#1b1b1a", "#121211", name="paper")
# fmt: on


def theme() -> gr.themes.Base:
    """The theme of all pages."""
    return gr.themes.Base(
        primary_hue=_ACCENT,
        secondary_hue=_ACCENT,
        neutral_hue=_GREY,
        font=_FONT,
        font_mono=_MONO,
        spacing_size=gr.themes.sizes.spacing_lg,
        radius_size=gr.themes.sizes.radius_lg,
        text_size=gr.themes.sizes.text_md,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_border_width="1px",
        block_shadow="none",
        block_shadow_dark="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*neutral_500",
        block_label_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="white",
        input_border_width="1px",
        input_radius="10px",
        block_radius="14px",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_border_width="1px",
        button_transition="background-color 0.15s ease",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        link_text_color_hover="*primary_800",
        link_text_color_hover_dark="*primary_200",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        checkbox_background_color_selected="*primary_600",
        checkbox_background_color_selected_dark="*primary_600",
        checkbox_border_color_selected="*primary_600",
        checkbox_label_background_fill_selected="*primary_100",
        checkbox_label_background_fill_selected_dark="*primary_900",
        checkbox_label_text_color_selected="*primary_900",
        checkbox_label_text_color_selected_dark="*primary_100",
        stat_background_fill="*primary_600",
        stat_background_fill_dark="*primary_500",
        error_text_color="#9f2d20",
        error_text_color_dark="#f0a59a",
    )


def look() -> dict[str, Any]:
    """What `gr.mount_gradio_app` or `Blocks.launch` must be given so that the studio looks as it should."""
    return {
        "theme": theme(),
        "css_paths": [_HERE / "style.css", *(_HERE / "widgets" / f"{name}.css" for name in _STYLED)],
        "footer_links": [],
    }
