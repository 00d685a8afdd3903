"""What is suggested for training large transformers that were trained by flow matching; families share it."""

from collections.abc import Mapping

from lorastyle.recipe import Preset, Suggestion

COMMON = {
    "learning_rate": Suggestion(1e-4, "the usual rate for LoRA with AdamW on large transformers; 4e-4 breaks detail"),
    "min_snr": Suggestion(None, "flow matching weighs its times by how often it trains them"),
}
SUBJECT = COMMON | {
    "targets": Suggestion("attention+mlp", "shapes sit in the MLPs too; attention alone gets little beyond colours"),
    "flip": Suggestion(False, "a subject is seldom symmetric"),
    "caption_dropout": Suggestion(0.05, "the trigger word, not the empty prompt, should call up the subject"),
    "preservation": Suggestion(1.0, "prompts without the trigger word keep what the base draws"),
}
STYLE = COMMON | {
    "targets": Suggestion("attention", "attention layers carry most of a style and leave shapes alone"),
    "rank": Suggestion(16, "enough for most styles, too little to learn the images by heart"),
    "caption_dropout": Suggestion(0.1, "the style also shows without a word for it"),
    "flip": Suggestion(True, "a style is the same mirrored, and this doubles the images"),
}
TRANSFORMER: Mapping[str, Preset] = {
    "style": Preset(STYLE, 30, 500, 2000, "a style needs few looks at each image, and copies motifs beyond 2,000"),
    "character": Preset(
        SUBJECT | {"rank": Suggestion(32, "a face has more details than a style or an object")},
        steps_per_image=80,
        least_steps=800,
        most_steps=3000,
        steps_reason="a face takes many looks; beyond 3,000 steps its poses and clothes stick to it",
    ),
    "object": Preset(
        SUBJECT | {"rank": Suggestion(16, "an object has fewer details than a face")},
        steps_per_image=100,
        least_steps=500,
        most_steps=1500,
        steps_reason="beyond 1,500 steps an object's surroundings stick to it",
    ),
}
