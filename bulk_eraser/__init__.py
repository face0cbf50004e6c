"""bulk-eraser: bulk erasure requests to the Voyado Elevate GDPR API, resumable from a ledger."""

__all__ = ["__version__"]

__version__ = "0.1.0"
