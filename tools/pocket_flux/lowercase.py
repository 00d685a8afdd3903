"""SentencePiece's precompiled character map, for A-Z to a-z: all that T5's tokenizer keeps of a normalisation."""

import string
import struct

CHILDREN, LEAVES = 256, 512  # places of the nodes of the bytes, and of what they lead to


def lowercase_map() -> bytes:
    """The length in bytes of a trie, the trie, then the replacements, each ended by a zero.

    The trie is a double array as Darts lays it out, in units of 32 bits: a node's offset << 10, bit 8 where a leaf
    follows, its byte as label. A child lies at its parent's place ^ the parent's offset ^ its byte, a leaf at the
    node's place ^ its offset; the leaf holds, with bit 31, where its replacement begins.
    """
    units = [0] * (LEAVES + 256)
    units[0] = CHILDREN << 10
    for number, letter in enumerate(string.ascii_uppercase):
        child, leaf = CHILDREN ^ ord(letter), LEAVES ^ ord(letter)
        units[child] = (child ^ leaf) << 10 | 1 << 8 | ord(letter)
        units[leaf] = 1 << 31 | 2 * number
    replacements = "".join(f"{letter}\0" for letter in string.ascii_lowercase)
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + replacements.encode()
