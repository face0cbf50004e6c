"""A summary as JSON, for programs: every field of `Summary` under its name."""

import json

import msgspec

from bulk_eraser.evidence.summary import Summary

__all__ = ["as_json"]


def as_json(summary: Summary) -> str:
    fields = {"type": "report", "format": 1, **msgspec.to_builtins(summary)}
    return json.dumps(fields, indent=1) + "\n"
