"""Adapters in the files of other tools, both ways, with proof that every layer's change survives.

A foreign file is names (:mod:`~lorastyle.interchange.layers`: which layer a name means, and what is fused with it)
times spellings (:mod:`~lorastyle.interchange.spelling`: how the tensors of each kind end there). A format of the folder
`formats` chooses both; nothing here is a table of pairs.
"""
