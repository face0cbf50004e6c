"""The event loop that every command runs on."""

import asyncio
import gc

__all__ = ["event_loop_runner"]


def event_loop_runner() -> asyncio.Runner:
    """On uvloop where the extra `speed` is installed: about half the processor time."""
    # Freed, this makes glibc keep the buffers of 256 KiB that each read takes: 30 us a request.
    bytearray(8 << 20)
    # Requests make many objects and few cycles: looking for those less often saves 10 us a request,
    # and what was imported and surveyed is not looked at again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
