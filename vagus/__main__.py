"""`python -m vagus` is the `vagus` command."""

from vagus.cli import main

if __name__ == "__main__":
    main()
