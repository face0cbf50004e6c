"""`python -m bulk_eraser` is the command `bulk-eraser`."""

from bulk_eraser.cli.app import main

if __name__ == "__main__":
    main()
