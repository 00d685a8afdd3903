"""The browser front end of lorastyle; it uses the public names of the package and nothing else."""
