"""`python -m lorastyle.cli` is `lorastyle`."""

from lorastyle.cli import program

if __name__ == "__main__":
    program()
