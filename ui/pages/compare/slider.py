"""Two pictures of the same prompt and seed under one slider."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from lorastyle import Area, BadInput, Job, Workspace
from ui.answers import told
from ui.pages.compare import sides
from ui.pages.compare.sides import Scene
from ui.session import area
from ui.widgets import jobs as words
from ui.widgets.choices import Choices, renewed, strength_of
from ui.widgets.events import QUIET, followed
from ui.widgets.panes import pane
from ui.widgets.parts import part

SECONDS = 1.0  # between looks at the store while a side is being drawn
PICTURE = "picture:"  # how a side begins that is a picture drawn before, see sides.py
NO_STRENGTH = {"base": "The base alone has none.", "picture": "As the picture was drawn."}
BOTH = "Both begin as the same noise."
HELD = "That of the picture, which is not drawn again. For another, choose an adapter in place of the picture."
SMALLEST = 512  # pixels; smaller pictures are enlarged by a whole number, so that each pixel stays as it is
HINT = """<div class="empty"><p>Two pictures will lie here, one over the other, with a slider between them.</p>
<p>Choose what stands on the left and on the right, and describe what both should show.</p></div>"""
# Where one is, for a reload: the two jobs stand in the address.
REMEMBER = """(pair) => {
  const address = new URL(location.href);
  for (const name of ["adapter", "job", "cell", "training"]) address.searchParams.delete(name);
  address.searchParams.set("left", pair[0]);
  address.searchParams.set("right", pair[1]);
  history.replaceState(history.state, "", address);
}"""


@dataclass(frozen=True)
class Slider:
    """The components; `shown` are the outputs that `open` has values for."""

    left: gr.Dropdown
    right: gr.Dropdown
    strengths: tuple[gr.Slider, gr.Slider]
    prompt: gr.Textbox
    seed: gr.Number
    draw: gr.Button
    pair: gr.JSON
    pictures: gr.State
    offered: gr.State
    progress: gr.HTML
    slider: gr.ImageSlider
    clock: gr.Timer

    @property
    def fields(self) -> list[Any]:
        return [self.left, self.right, *self.strengths, self.prompt, self.seed]

    @property
    def followed(self) -> list[Any]:
        """What `_looks` has values for."""
        return [self.progress, self.slider, self.clock]

    @property
    def shown(self) -> list[Any]:
        return [*self.fields, self.pair, self.pictures, self.offered, *self.followed]


def build(workspace: Workspace) -> Slider:
    """Build the fields and the slider, and connect the button."""
    most = workspace.settings.limits.prompt_characters
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            left = gr.Dropdown([], label="Left", allow_custom_value=True)
            left_strength = gr.Slider(0, 2, 1.0, step=0.05, label="Strength on the left")
            right = gr.Dropdown([], label="Right", allow_custom_value=True)
            right_strength = gr.Slider(0, 2, 1.0, step=0.05, label="Strength on the right")
            prompt = gr.Textbox(label="Prompt", lines=2, max_length=most, placeholder="a cat face, ink style")
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, info=BOTH)
            draw = gr.Button("Draw both", variant="primary")
        with gr.Column(scale=3, min_width=320):
            progress = pane(HINT, style=part("jobs.css"))
            slider = gr.ImageSlider(
                label="Left and right", show_label=False, format="png", interactive=False, max_height=640, visible=False
            )
    parts = Slider(left, right, (left_strength, right_strength), prompt, seed, draw,
                   gr.JSON([], visible=False, label="The two jobs"), gr.State([]), gr.State([]), progress,
                   slider, gr.Timer(SECONDS, active=False))  # fmt: skip
    _wire(workspace, parts)
    return parts


def _wire(workspace: Workspace, parts: Slider) -> None:
    def draw(
        left: str, right: str, left_strength: float, right_strength: float, prompt: str, seed: float | None,
        request: gr.Request,
    ) -> list[str]:  # fmt: skip
        here, jobs = area(request), workspace.jobs
        base = sides.base_of(workspace, here, (left, right))
        held = _picture(workspace, here, (left, right))
        scene = _scene(held) if held else _asked(prompt, seed, base)
        strengths = (left_strength, right_strength)
        drawn = [sides.drawn(jobs, here, side, strength, scene)
                 for side, strength in zip((left, right), strengths, strict=True)]  # fmt: skip
        return [job.id for job in drawn]

    def look(pair: list[str], request: gr.Request) -> list[Any]:
        return _looks(workspace, pair, request)

    def offer(pictures: list[str], known: Choices, request: gr.Request) -> list[Any]:
        here = area(request)
        found = [job for id in pictures if (job := words.find(workspace.jobs, id, here.user))]
        return renewed(sides.choices(workspace.jobs, here, found), known, 2)

    def choose(side: str | None, other: str | None, request: gr.Request) -> list[Any]:
        here = area(request)
        held = _picture(workspace, here, (side, other))
        return [_strength(side or "", _preferred(side or "", here)), *_shared(held, held is not None)]

    both = ((parts.left, parts.right), (parts.right, parts.left))
    for (side, other), strength in zip(both, parts.strengths, strict=True):
        # what was made since the page was opened
        side.focus(told(offer), [parts.pictures, parts.offered], [parts.offered, parts.left, parts.right], **QUIET)
        side.input(told(choose), [side, other], [strength, parts.prompt, parts.seed], **QUIET)
    done = parts.draw.click(told(draw), parts.fields, [parts.pair], api_name="compare_draw")
    done.success(None, [parts.pair], None, js=REMEMBER, api_visibility="private")
    followed([parts.clock.tick, parts.pair.change], look, [parts.pair], parts.followed)


def open(workspace: Workspace, request: gr.Request) -> list[Any]:
    """Values for `Slider.shown` of a page just opened; the address may name a picture, an adapter or two jobs."""
    here, jobs = area(request), workspace.jobs
    asked = {name: str(request.query_params.get(name, "")) for name in ("picture", "adapter", "left", "right")}
    sent, *both = (words.find(jobs, asked[name], here.user) for name in ("picture", "left", "right"))
    pair = [job for job in both if job] if all(both) else []
    chosen = [_side(job, sent, here) for job in pair]
    drawn = [job for job, (side, _) in zip(pair, chosen, strict=True) if side.startswith(PICTURE)]
    pictures = list({job.id: job for job in [*([sent] if sent else []), *drawn]}.values())
    offered = sides.choices(jobs, here, pictures)
    if not pair:
        chosen = [(sides.BASE, None), _first([side for _, side in offered], f"adapter:{asked['adapter']}", here)]
    held = _picture(workspace, here, [side for side, _ in chosen])
    return [
        *(gr.Dropdown(offered, value=side) for side, _ in chosen),
        *(_strength(side, strength) for side, strength in chosen),
        *_shared(held or (pair[1] if pair else None), held is not None),
        [job.id for job in pair],
        [job.id for job in pictures],
        offered,
        *_looks(workspace, [job.id for job in pair], request),
    ]


def _side(job: Job, sent: Job | None, here: Area) -> tuple[str, float | None]:
    """What a job has drawn, with its strength; the picture that was sent stays that picture."""
    return (f"{PICTURE}{job.id}", None) if sent and job.id == sent.id else sides.side_of(job, here)


def _first(offered: list[str], wanted: str, here: Area) -> tuple[str, float | None]:
    """What stands on the right at first, with its preferred strength: what the address names, or the newest."""
    side = wanted if wanted in offered else next(iter(offered[1:]), sides.BASE)
    return side, _preferred(side, here)


def _preferred(side: str, here: Area) -> float | None:
    kind, _, rest = side.partition(":")
    return strength_of(here, rest) if kind == "adapter" else None


def _strength(side: str, strength: float | None) -> gr.Slider:
    """The strength of a side, where it can have one; None: as it stands."""
    why = NO_STRENGTH.get(side.partition(":")[0], "")
    value = {} if strength is None else {"value": strength}
    return gr.Slider(interactive=not why, info=why, **value)


def _picture(workspace: Workspace, here: Area, chosen: Sequence[str | None]) -> Job | None:
    """The drawn picture that a side is, and whose settings both sides therefore have."""
    found = (side.removeprefix(PICTURE) for side in chosen if side and side.startswith(PICTURE))
    return next((workspace.jobs.get(job, here.user) for job in found), None)


def _shared(like: Job | None, held: bool) -> list[Any]:
    """The fields of the prompt and the seed, as a job has them; `held`: where they cannot be others."""
    prompt = {"value": like.settings["prompts"][0]} if like else {}
    seed = {"value": like.settings["seed"]} if like else {}
    return [
        gr.Textbox(interactive=not held, info=HELD if held else "", **prompt),
        gr.Number(interactive=not held, info=HELD if held else BOTH, **seed),
    ]


def _asked(prompt: str, seed: float | None, base: str) -> Scene:
    if not (prompt or "").strip():
        raise BadInput("the prompt", "it is empty", "describe in a few words what both should show")
    return Scene(prompt.strip(), int(seed or 0), base)


def _scene(job: Job) -> Scene:
    """What a picture was drawn with, but for its adapters."""
    details = {name: job.settings.get(name) for name in ("negative", "steps", "guidance", "width", "height")}
    held = {name: value for name, value in details.items() if value is not None}
    return Scene(job.settings["prompts"][0], job.settings["seed"], job.settings["base"], held)


def _looks(workspace: Workspace, pair: list[str], request: gr.Request) -> list[Any]:
    """How far both sides are, and once they are there, the slider."""
    here = area(request)
    both = [workspace.jobs.get(job, here.user) for job in pair or []]
    pictures = [path for job in both if (path := sides.picture(job))]
    if len(pictures) == 2:
        left, right = (escape(sides.label(job, here)) for job in both)
        caption = f'<p class="job-note labels"><span>{left}</span><span>{right}</span></p>'
        slider = gr.ImageSlider((_large(pictures[0]), _large(pictures[1])), visible=True)
        return [caption, slider, gr.Timer(active=False)]
    under_way = [job for job in both if not words.is_over(job)]
    failed = [job for job in both if words.is_over(job) and job.state != "done"]
    progress = "".join(words.strip(job) for job in failed or under_way) or HINT
    return [progress, gr.ImageSlider(visible=False), gr.Timer(active=bool(under_way) and not failed)]


def _large(path: Any) -> Image.Image:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    factor = max(1, SMALLEST // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
