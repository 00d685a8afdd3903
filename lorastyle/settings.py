"""The table of settings: every setting of a training run once, with its type, range, unit, group, help and reason.

:class:`lorastyle.recipe.Recipe` is this table with what one does with it. Whoever needs a list of settings (command
line, form, documentation) takes it from the JSON schema of that class: `description` is the help, and `group`, `unit`
and `reason` (why the default is what it is) stand beside it.
"""

import difflib
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lorastyle.errors import BadInput

TARGETS = ("attention", "attention+mlp", "all")

# The kinds of adapters that can be trained: those of the folder adapters/kinds, which cannot be asked here without
# loading torch. Kinds from outside are put in by lorastyle.adapters.kinds.register.
KINDS = ["lora", "dora", "lokr", "oft"]

# Settings that only some kinds have; OWN are those that a kind calls by the rest of the name.
OF_KINDS = {"rslora": ("lora", "dora"), "lora_plus_ratio": ("lora", "dora"), "lokr_factor": ("lokr",)}
OWN = ("lokr_factor",)

Precision = Literal["fp32", "bf16"]

STEP = 8  # pixels; what a resolution is a multiple of

# Classes of torch.optim that take one gradient per step and parameters of any shape.
Optimizer = Literal[
    "AdamW", "Adam", "NAdam", "RAdam", "Adamax", "Adafactor", "Adagrad", "Adadelta", "RMSprop", "SGD", "ASGD"
]

_AUTO = BeforeValidator(lambda value: None if value == "auto" else value)
_OFF = BeforeValidator(lambda value: None if value == "off" else value)


def _setting(
    group: str, default: Any, unit: str, help: str, reason: str, choices: list[str] | None = None, **limits: Any
) -> Any:
    extra: dict[str, Any] = {"group": group, "unit": unit, "reason": reason}
    if choices is not None:
        extra["enum"] = choices
    return Field(default=default, description=help, json_schema_extra=extra, **limits)


class Settings(BaseModel):
    """Everything that decides what is trained, apart from the base and the images.

    Raises BadInput, naming the field as ``recipe.<field>``, for an unknown field, a value that cannot be used, and
    settings that exclude each other. A unit of "" marks text, choices and switches. None stands for "auto", what the
    preset and the images give, except in `min_snr`, where it stands for "off".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    # fmt: off
    # A table, two lines of prose for each setting; one argument per line would make it twice as long.

    purpose: Literal["style", "character", "object"] = _setting(
        "subject", "style", "",
        "What the adapter should learn: how pictures are drawn, one figure, or one thing.",
        "A style is what most adapters are made for. The purpose chooses the preset of all other settings.",
    )
    trigger: str = _setting(
        "subject", "", "",
        "The word or words in a prompt that call up what was learnt. A made-up word works best.",
        "Without a trigger word the adapter acts on every prompt, which suits a style.",
        max_length=100,
    )
    class_word: str = _setting(
        "subject", "", "",
        "What the subject is in plain words, such as 'person' or 'mug'; stands in for the trigger word.",
        "Needed only where prompts without the trigger word are to stay as they were.",
        max_length=100,
    )

    kind: str = _setting(
        "adapter", "lora", "",
        "How a layer's change is put together: 'lora' as two thin matrices, 'dora' as those with a length for each "
        "output, 'lokr' as a small matrix repeated by a smaller one, 'oft' as rotations of blocks of outputs, the rank "
        "being the largest size of a block; there are no fewer blocks than that.",
        "Every tool reads LoRA. DoRA is slower and learns finer; LoKr and OFT make far smaller files.",
        choices=KINDS,
    )
    rank: int = _setting(
        "adapter", 16, "dimensions",
        "How much the adapter can hold. Higher takes in more detail, makes a larger file and overfits sooner.",
        "16 is enough for most styles, and small enough not to learn the images by heart.",
        ge=1, le=512,
    )
    ranks: dict[str, Annotated[int, Field(ge=1, le=512)]] = _setting(
        "adapter", {}, "dimensions",
        "The ranks of layers that are to have another, by patterns (regular expressions) over their names; the first "
        "pattern that matches counts.",
        "One rank for all layers is enough for most.",
    )
    alpha: Annotated[float | None, _AUTO] = _setting(
        "adapter", None, "dimensions",
        "How strongly the adapter acts, measured against its rank. Auto is the same as the rank.",
        "Equal to the rank the strength is 1, and the learning rate alone decides the pace.",
        gt=0, le=4096,
    )
    alphas: dict[str, Annotated[float, Field(gt=0, le=4096)]] = _setting(
        "adapter", {}, "dimensions",
        "The alphas of layers that are to have another, by patterns over their names. In all others alpha stands to "
        "the layer's rank as it does elsewhere.",
        "One strength for all layers leaves the pace to the learning rate.",
    )
    rslora: bool = _setting(
        "adapter", False, "",
        "Divide alpha by the square root of the rank instead of the rank (rsLoRA).",
        "It matters for ranks above 64, where plain LoRA learns too slowly (Kalajdzievski 2023).",
    )
    lokr_factor: int = _setting(
        "adapter", 8, "rows",
        "With the kind 'lokr' the largest number of rows and columns of the smaller matrix; the other one is as much "
        "smaller than the layer.",
        "8 is what most LoKr files of large bases were trained with.",
        ge=2, le=256,
    )
    targets: str | list[str] = _setting(
        "adapter", "attention", "",
        "The layers that get an adapter: 'attention', 'attention+mlp', 'all', or a list of patterns (regular "
        "expressions) over their names.",
        "Attention layers carry most of a style; more layers learn shapes too, and overfit sooner.",
    )

    learning_rate: float = _setting(
        "learning", 1e-4, "per step",
        "How far each step moves the adapter. Too high ruins pictures, too low learns nothing.",
        "1e-4 is the usual rate for LoRA with AdamW on large bases.",
        gt=0, le=10,
    )
    learning_rates: dict[str, Annotated[float, Field(gt=0, le=10)]] = _setting(
        "learning", {}, "per step",
        "The learning rates of layers that are to have another, by patterns (regular expressions) over their names; "
        "the first pattern that matches counts.",
        "One rate suits all layers of most bases.",
    )
    text_encoder_learning_rate: float = _setting(
        "learning", 0.0, "per step",
        "The same for the part that reads prompts. 0 leaves it as it is.",
        "Left alone, its outputs are computed once and it leaves memory.",
        ge=0, le=10,
    )
    lora_plus_ratio: float = _setting(
        "learning", 1.0, "times",
        "How many times faster the second factor of each layer (B) learns than the first (LoRA+).",
        "1 is plain LoRA. Hayou et al. (2024) found up to 16 to learn faster.",
        gt=0, le=64,
    )
    steps: Annotated[int | None, _AUTO] = _setting(
        "learning", None, "steps",
        "How many steps to train. Auto goes by the purpose and the number of images.",
        "Too few steps miss the subject, too many copy the images.",
        ge=1, le=1_000_000,
    )
    epochs: Annotated[float | None, _AUTO] = _setting(
        "learning", None, "epochs",
        "How often to go through all images, instead of a number of steps.",
        "Say either steps or epochs, not both.",
        gt=0, le=100_000,
    )
    batch: int = _setting(
        "learning", 4, "images",
        "How many images each step looks at. More is steadier, and takes more memory and time.",
        "4 steadies the steps at little cost.",
        ge=1, le=1024,
    )
    accumulation: int = _setting(
        "learning", 1, "batches",
        "How many batches make one step; acts as a larger batch without its memory.",
        "1 is fastest; raise it where a larger batch does not fit.",
        ge=1, le=1024,
    )
    optimizer: Optimizer = _setting(
        "learning", "AdamW", "",
        "The rule that turns gradients into steps: a class of torch.optim.",
        "AdamW works with the same learning rates on nearly every base.",
    )
    weight_decay: float = _setting(
        "learning", 0.01, "per step",
        "How strongly the adapter is pulled back to nothing while it learns.",
        "0.01 is AdamW's own default and hardly felt in short runs.",
        ge=0, le=10,
    )
    schedule: Literal["cosine", "linear", "constant"] = _setting(
        "learning", "cosine", "",
        "How the learning rate falls after the warm-up.",
        "Cosine gives most of the time to high rates and settles gently at the end.",
    )
    warmup: float = _setting(
        "learning", 0.05, "share of steps",
        "The share of steps over which the learning rate rises from 0.",
        "A short rise keeps the first, roughest steps from doing damage.",
        ge=0, lt=1,
    )
    learning_rate_floor: float = _setting(
        "learning", 0.1, "share of learning rate",
        "What is left of the learning rate at the last step.",
        "A tenth still learns a little at the end.",
        ge=0, le=1,
    )
    gradient_clip: float = _setting(
        "learning", 1.0, "norm",
        "The longest gradient that a step may follow; longer ones are shortened. 0 turns it off.",
        "1 leaves ordinary steps alone and tames outliers.",
        ge=0, le=1000,
    )
    ema: float = _setting(
        "learning", 0.0, "decay per step",
        "Keep a moving average of the adapter with this decay, and save that. 0 turns it off.",
        "Short runs end before an average has settled; 0.99 suits runs of 1,000 steps and more.",
        ge=0, lt=1,
    )

    min_snr: Annotated[float | None, _OFF] = _setting(
        "loss", 5.0, "signal-to-noise ratio",
        "Weigh almost clean pictures down to this signal-to-noise ratio. 'off' weighs all alike.",
        "5 trains shape and detail at an even pace (Hang et al. 2023).",
        gt=0, le=1000,
    )
    noise_offset: float = _setting(
        "loss", 0.0, "share of noise",
        "Shift the noise of each picture a little, so that very dark and very bright pictures can be learnt.",
        "Off unless pictures come out too evenly lit; then 0.05.",
        ge=0, le=1,
    )
    preservation: float = _setting(
        "loss", 0.0, "weight in the loss",
        "How strongly prompts without the trigger word are held to what the base draws. 0 turns it off.",
        "A style may colour everything; a character or object should not.",
        ge=0, le=100,
    )

    zero_terminal_snr: bool = _setting(
        "loss", False, "",
        "Let the noise end in nothing but noise, where the base's own schedule leaves a trace of the picture.",
        "It lets pictures be very dark or bright, but a base not made so needs long training; only for v-prediction.",
    )

    clip_skip: int = _setting(
        "images", 0, "layers",
        "How many of the last layers of the CLIP text encoders are left out when captions are read.",
        "0 is how most bases were trained; many for anime want 1, which other tools count as 2.",
        ge=0, le=31,
    )
    caption_dropout: float = _setting(
        "images", 0.1, "share of images",
        "How often an image is shown without its caption.",
        "Guidance compares with an empty prompt, so the adapter must know that too.",
        ge=0, le=1,
    )
    shuffle_tags: bool = _setting(
        "images", False, "",
        "Mix the order of comma-separated tags in captions.",
        "Right for lists of tags, wrong for sentences.",
    )
    keep_tags: int = _setting(
        "images", 1, "tags",
        "How many tags at the start of a caption stay in place when tags are mixed.",
        "The first tag is most often the trigger word.",
        ge=0, le=1000,
    )
    flip: bool = _setting(
        "images", False, "",
        "Show half of the images mirrored.",
        "It doubles the images for a style, and ruins writing and faces that are not symmetric.",
    )
    prefix_trigger: bool = _setting(
        "images", True, "",
        "Put the trigger word in front of captions that do not contain it.",
        "A caption without the trigger word would teach every prompt.",
    )
    resolution: Annotated[int | None, _AUTO] = _setting(
        "images", None, "pixels",
        "The side of the square that has as many pixels as the trained pictures. Auto is the base's own.",
        "A base draws best at the size it was trained at.",
        ge=STEP, le=4096, multiple_of=STEP,
    )
    background: str = _setting(
        "images", "#ffffff", "",
        "The colour put behind transparent pixels, as #rrggbb.",
        "Most drawings with transparency are made for a white page.",
        pattern="^#[0-9a-fA-F]{6}$",
    )
    held_out: Annotated[float | None, _AUTO] = _setting(
        "images", None, "share of images",
        "The share of images never trained on, to measure what the adapter has learnt. Auto is 0.1 from 20 images on.",
        "With fewer than 20 images every one is needed for training.",
        ge=0, le=0.5,
    )
    held_out_every: int = _setting(
        "images", 50, "steps",
        "How often the held-out images are measured.",
        "Often enough to see the turn from learning to copying.",
        ge=1, le=1_000_000,
    )

    preview_prompts: list[str] = _setting(
        "previews", [], "",
        "Prompts to draw while training, and to compare the base with the adapter at the end.",
        "Previews cost time and change nothing in the adapter.",
        max_length=64,
    )
    preview_every: int = _setting(
        "previews", 0, "steps",
        "How often previews are drawn. 0 turns them off.",
        "Previews cost time and change nothing in the adapter.",
        ge=0, le=1_000_000,
    )
    preview_steps: int = _setting(
        "previews", 20, "steps",
        "How many steps of denoising make a preview.",
        "20 show a picture nearly as it will be.",
        ge=1, le=1000,
    )
    guidance: Annotated[float | None, _AUTO] = _setting(
        "previews", None, "times",
        "How closely previews follow the prompt. 1 turns guidance off; auto is the base's own.",
        "Each base has a value at which its pictures look best.",
        ge=0, le=50,
    )

    checkpoint_every: int = _setting(
        "run", 100, "steps",
        "How often everything is saved, so that the run can be resumed.",
        "At most 100 steps are lost when the machine stops.",
        ge=1, le=1_000_000,
    )
    keep_checkpoints: int = _setting(
        "run", 3, "checkpoints",
        "How many of the newest checkpoints stay on the disk.",
        "Enough to go back when the last steps went too far.",
        ge=1, le=10_000,
    )
    trackers: list[Literal["tensorboard", "wandb"]] = _setting(
        "run", [], "",
        "Programs that record the run beside metrics.jsonl: tensorboard, wandb.",
        "metrics.jsonl and the chart are always written; these need extra packages.",
    )
    gradient_checkpointing: bool = _setting(
        "run", False, "",
        "Save memory by computing parts of the base twice; a third slower.",
        "Needed only where training does not fit into memory.",
    )
    precision: Precision = _setting(
        "run", "fp32", "",
        "The numbers that the base is held in and computes with. bf16 takes half the memory; the adapter and the "
        "autoencoder stay fp32.",
        "fp32 works everywhere; on recent graphics cards bf16 is faster, and large bases fit in no other way.",
    )
    seed: int = _setting(
        "run", 0, "seed",
        "Any whole number; it fixes all that is random, so that the same run gives the same file.",
        "0 is as good as any.",
        ge=0, le=2**63 - 1,
    )
    # fmt: on

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_words(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            settings = handler(values)
        except ValidationError as error:
            raise _in_words(cls, error) from None
        settings._refuse_contradictions()
        return settings

    @field_validator("trigger", "class_word")
    @classmethod
    def _on_one_line(cls, words: str) -> str:
        return " ".join(words.split())

    @field_validator("kind")
    @classmethod
    def _refuse_unknown_kinds(cls, kind: str) -> str:
        if kind not in KINDS:
            what = f"no kind of adapter called {kind!r} can be trained"
            raise BadInput("recipe.kind", what, f"choose from {', '.join(KINDS)}")
        return kind

    @field_validator("ranks", "alphas", "learning_rates")
    @classmethod
    def _refuse_bad_patterns(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for pattern in values:
            _refuse_bad_pattern(pattern, f"recipe.{info.field_name}")
        return values

    @field_validator("targets")
    @classmethod
    def _refuse_bad_targets(cls, targets: str | list[str]) -> str | list[str]:
        presets = ", ".join(TARGETS)
        if isinstance(targets, str) and targets not in TARGETS:
            do = f'give one of {presets}, or a list of patterns such as [".*attn1.*"]'
            raise BadInput("recipe.targets", f"there are no targets called {targets!r}", do)
        if not targets:
            raise BadInput("recipe.targets", "an empty list adapts no layer", f"give patterns, or one of {presets}")
        for pattern in targets if isinstance(targets, list) else []:
            _refuse_bad_pattern(pattern, "recipe.targets")
        return targets

    def _refuse_contradictions(self) -> None:
        if "[trigger]" in self.trigger.casefold():
            what = "[trigger] stands for the trigger word in captions, so it cannot be the word"
            raise BadInput("recipe.trigger", what, "write the word itself, such as inkpen")
        if self.steps is not None and self.epochs is not None:
            raise BadInput("recipe.epochs", "steps and epochs are both given", "keep one, or set the other to auto")
        if self.preservation > 0 and not self.trigger:
            what = f"preservation ({self.preservation:g}) is for prompts without the trigger word, and there is none"
            raise BadInput("recipe.trigger", what, "give a trigger word, or set preservation to 0")
        if self.trigger and self.trigger.casefold() in self.class_word.casefold():
            what = f"the class word {self.class_word!r} contains the trigger word {self.trigger!r}"
            raise BadInput("recipe.class_word", what, "describe the subject in words other than the trigger")
        if self.keep_tags != 1 and not self.shuffle_tags:
            what = f"keep_tags is {self.keep_tags}, but tags are not shuffled"
            raise BadInput("recipe.keep_tags", what, "set shuffle_tags to true, or leave keep_tags out")
        if self.preview_every > 0 and not self.preview_prompts:
            raise BadInput("recipe.preview_prompts", "preview_every is set, but no prompt", "give preview_prompts")

        self._refuse_what_the_kind_has_not()

    def _refuse_what_the_kind_has_not(self) -> None:
        """What only some kinds of adapters have."""
        defaults = type(self).model_fields
        for name, kinds in OF_KINDS.items():
            if getattr(self, name) != defaults[name].default and self.kind not in kinds:
                what = f"only adapters of the kind {' or '.join(kinds)} have it, and the kind is {self.kind}"
                raise BadInput(f"recipe.{name}", what, "leave it out, or choose another kind")
        if self.kind == "oft" and (self.alphas or self.alpha not in (None, self.rank)):
            what = "a rotation has no alpha"
            raise BadInput(f"recipe.{'alphas' if self.alphas else 'alpha'}", what, "leave it out with the kind oft")

    @classmethod
    def in_group(cls, group: str) -> set[str]:
        """The names of the settings in one group."""
        properties = cls.model_json_schema()["properties"]
        return {name for name, schema in properties.items() if schema["group"] == group}

    @classmethod
    def allowed(cls, name: str) -> str:
        """What the setting `name` takes, in words, such as "a whole number, at least 1 and at most 512"."""
        schema = cls.model_json_schema()["properties"][name]
        kinds = [_allowed(kind) for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
        open_ends = [none_word(name)] if {"type": "null"} in schema.get("anyOf", []) else []
        return ", or ".join(kinds + open_ends)


def none_word(name: str) -> str:
    """The word that stands for None in TOML, which has no null."""
    return "off" if name == "min_snr" else "auto"


def _in_words(settings: type[Settings], error: ValidationError) -> BadInput:
    """The first thing that pydantic found wrong, as our sentence."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return BadInput("recipe", "is not a table of settings", "give names and values")
    name = str(first["loc"][0])
    if name not in settings.model_fields:
        near = difflib.get_close_matches(name, settings.model_fields, n=1)
        do = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(settings.model_fields)}"
        return BadInput(f"recipe.{name}", "there is no such setting", do)
    return BadInput(f"recipe.{name}", f"{first['input']!r} cannot be used", f"give {settings.allowed(name)}")


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if "pattern" in schema:
        return f"text of the form {schema['default']}"
    if schema["type"] == "object":
        return f"a table of patterns, each with {_allowed(schema['additionalProperties'])}"
    if schema["type"] == "array":
        return f"a list, each entry {_allowed(schema['items'])}"
    length = f" of at most {schema['maxLength']} characters" if "maxLength" in schema else ""
    nouns = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": f"text{length}"}
    return nouns[schema["type"]] + _limits(schema)


def _limits(schema: dict[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
        "multipleOf": "a multiple of",
    }
    limits = [f"{words[limit]} {schema[limit]}" for limit in words if limit in schema]
    return f", {' and '.join(limits)}" if limits else ""


def _refuse_bad_pattern(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        what = f"{pattern!r} is not a pattern ({error})"
        raise BadInput(where, what, "give regular expressions over names of layers") from error
