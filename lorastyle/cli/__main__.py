"""`python -m lorastyle.cli` is `lorastyle`."""

from lorastyle.cli import main

if __name__ == "__main__":
    main()
