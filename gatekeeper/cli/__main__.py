"""`python -m gatekeeper.cli` is the console script `gatekeeper`."""

from gatekeeper.cli.entry import main

if __name__ == "__main__":
    main()
