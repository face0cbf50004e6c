"""`bulk-eraser fleet`: many clusters side by side, as a file names them."""

from bulk_eraser.cli.fleet.group import fleet

__all__ = ["fleet"]
