"""The foreign formats, one file each; see :mod:`lorastyle.interchange.format`."""
