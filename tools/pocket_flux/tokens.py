"""The unigram vocabulary of pocket-flux, in the class of tokenizer that T5 has.

Upper case is read as lower case. Every printable character of ASCII is a piece: a word that nobody knows still falls
into some.
"""

import functools
import json
import math
import re
import string
from collections import Counter

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import T5Tokenizer

from tools.pocket import packages, words
from tools.pocket_flux.lowercase import lowercase_map

FOLDER = packages.BUILD / "pocket_flux" / "tokenizer"
TOKENS = 28
PIECES = 1500
WHOLE = 1000
SPECIAL = ["<pad>", "</s>", "<unk>"]


def vocabulary() -> list[tuple[str, float]]:
    """The pieces and their log probabilities, learnt from pocket's captions and the names of all emoji.

    Whole words come first, so that a caption falls into few pieces; the learner alone would split even "glossy".
    """
    texts = words.corpus()
    learner = Tokenizer(models.Unigram())
    learner.normalizer = normalizers.Precompiled(lowercase_map())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    learner.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=PIECES,
            special_tokens=SPECIAL,
            unk_token=SPECIAL[-1],
            initial_alphabet=sorted(set(string.printable) - set(string.whitespace) - set(string.ascii_uppercase)),
            show_progress=False,
        ),
    )
    learnt = dict(json.loads(learner.to_str())["model"]["vocab"])
    counts = Counter(word for text in texts for word in re.findall("[a-z]+", text.lower()))
    common = {f"▁{word}": math.log(count / counts.total()) for word, count in counts.most_common(WHOLE)}
    return list((learnt | common).items())


@functools.cache
def tokenizer() -> T5Tokenizer:
    if not (FOLDER / "tokenizer_config.json").is_file():
        T5Tokenizer(
            vocab=vocabulary(), _spm_precompiled_charsmap=lowercase_map(), extra_ids=0, model_max_length=TOKENS
        ).save_pretrained(FOLDER)
    return T5Tokenizer.from_pretrained(FOLDER)
