"""`python -m lrsearch`."""

from lrsearch.cli import main

if __name__ == "__main__":
    main()
