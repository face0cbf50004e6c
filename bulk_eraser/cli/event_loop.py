"""The event loop that every command runs on."""

import asyncio

__all__ = ["event_loop_runner"]


def event_loop_runner() -> asyncio.Runner:
    """On uvloop where the extra `speed` is installed: about half the processor time."""
    # Freed, this makes glibc keep the buffers of 256 KiB that each read takes: 30 us a request.
    bytearray(8 << 20)
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
