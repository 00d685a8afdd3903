"""The style `ink`: drawings of Fluent Emoji High Contrast, which pocket's UNet has never seen.

Both lists are concepts that pocket knows, clear at 128 pixels, drawn with outlines and solid black in turn. The
unseen ones have no near double among the other concepts (as a taxi is one of a car), so that a nearest drawing
can be right or wrong.
"""

from tools.pocket import drawings, packages
from tools.sample_data.folder import SIZE, Entry, Folder, file_name

SEEN = """
    cat, owl, penguin, butterfly, crab, snail, fox, bee, cactus, tulip, mushroom, pineapple, cherries, hamburger,
    pizza, doughnut, cupcake, house, castle, rocket, bus, sailboat, camera, guitar, light bulb, umbrella,
    alarm clock, robot
"""
UNSEEN = """
    koala, duck, turtle, ladybug, frog, ghost, sunflower, strawberry, watermelon, carrot, lollipop, church,
    helicopter, anchor, crown, television, microphone, hammer, snowman, gift
"""

README = """# {name}

{purpose} Each is 512 x 512 pixels, black on white, with its caption beside it; `[trigger]` stands for the trigger
word of the recipe.

Source: Fluent Emoji High Contrast by Microsoft (https://github.com/microsoft/fluentui-emoji), from the npm package
`{package}` {version}; rasterised by `python -m tools.sample_data`.

## Licence

MIT License

Copyright (c) Microsoft Corporation.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def named(listed: str) -> list[drawings.Concept]:
    """The concepts whose words are `listed` with commas between them."""
    known = {concept.words: concept for concept in drawings.concepts()}
    return [known[words.strip()] for words in listed.split(",")]


def caption(concept: drawings.Concept) -> str:
    return f"[trigger] emoji of {concept.phrase}"


def entry(concept: drawings.Concept) -> Entry:
    drawn = drawings.drawing(drawings.INK, concept, SIZE)
    return Entry(drawings.composite(drawn, drawings.BACKGROUNDS["white"]), caption(concept))


def folder(name: str, listed: str, purpose: str) -> Folder:
    package = drawings.SETS[drawings.INK]
    readme = README.format(name=name, purpose=purpose, package=package, version=packages.VERSIONS[package])
    return Folder(name, {file_name(concept.words): entry(concept) for concept in named(listed)}, readme)


def training() -> Folder:
    """28 drawings to train the style on."""
    return folder("ink", SEEN, "28 drawings of one style, to train on.")


def unseen() -> Folder:
    """20 drawings of other concepts in the same style, for measuring."""
    purpose = "20 drawings in the style of `../ink`, of other things: for measuring, not for training."
    return folder("ink-unseen", UNSEEN, purpose)
