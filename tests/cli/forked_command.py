"""The command in processes that are forked from one that has imported the package already.

Starting Python and importing everything takes 0.3 s, a fork 10 ms. What is forked ends as
`python -m bulk_eraser` does: the child leaves the server's loop and runs the module as `__main__`
at the bottom of the stack, so that the interpreter itself takes the exit code, flushes the outputs
and waits for threads.

What a forked command cannot show, and a test of it needs a process of its own for: its command
line in /proc, its memory, how it imports and starts, PYTHON* variables, closed or further
descriptors.
"""

import asyncio
import fcntl
import gc
import io
import json
import os
import pkgutil
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from importlib import import_module
from typing import Any

STREAMS = ("stdin", "stdout", "stderr")
WAYS = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)
LARGEST_REQUEST = 100_000


class ForkedCommand:
    """A command on its way, with the methods of an `asyncio.subprocess.Process` that tests use."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._end: asyncio.Future[None] | None = None

    async def follow(self, ours: dict[str, int], told: int) -> None:
        """Take our ends of its pipes and of the one on which pid and exit code are told."""
        self.stdout = await _reader(ours["stdout"]) if "stdout" in ours else None
        self.stderr = await _reader(ours["stderr"]) if "stderr" in ours else None
        if "stdin" in ours:
            self.stdin = await _writer(ours["stdin"])
        telling = await _reader(told)
        self.pid = await _told("began", telling)
        self._end = asyncio.ensure_future(self._await_end(telling))

    async def _await_end(self, telling: asyncio.StreamReader) -> None:
        self.returncode = await _told("ended", telling)
        await telling.read()  # to the end, where it is closed
        if self.stdin is not None:
            self.stdin.close()

    async def communicate(self, feed: bytes | None = None) -> tuple[bytes | None, bytes | None]:
        """Write `feed`, read the outputs to their ends, wait for the process."""
        out, err, _ = await asyncio.gather(_all(self.stdout), _all(self.stderr), self._feed(feed))
        assert self._end is not None
        await asyncio.shield(self._end)
        return out, err

    async def _feed(self, feed: bytes | None) -> None:
        if feed is None or self.stdin is None:
            return
        with suppress(BrokenPipeError, ConnectionResetError):
            self.stdin.write(feed)
            await self.stdin.drain()
        self.stdin.close()


async def _told(word: str, telling: asyncio.StreamReader) -> int:
    line = (await telling.readline()).decode()
    assert line.startswith(word), f"the fork server told {line!r}, not that the command {word}"
    return int(line.removeprefix(word))


async def _reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
    )
    return reader


async def _writer(fd: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(fd, "wb", 0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _all(reader: asyncio.StreamReader | None) -> bytes | None:
    return None if reader is None else await reader.read()


class ForkServer:
    """The process from which commands are forked; `environment` is that of its start."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    async def start(
        self,
        arguments: list[str],
        *,
        cwd: str,
        env: dict[str, str],
        start_new_session: bool = False,
        controlling_terminal: bool = False,
        file_size_limit: int | None = None,
        **streams: Any,
    ) -> ForkedCommand:
        """Start the command; streams are those of `asyncio.create_subprocess_exec`."""
        told, tell = os.pipe()
        theirs, ours = [tell], {}
        for name, way in zip(STREAMS, WAYS, strict=True):
            stream = streams.pop(name)
            if stream == PIPE:
                reading, writing = os.pipe()
                mine, fd = (writing, reading) if name == "stdin" else (reading, writing)
                ours[name] = mine
            elif stream == DEVNULL:
                fd = os.open(os.devnull, way)
            else:
                fd = os.dup(stream if isinstance(stream, int) else stream.fileno())
            theirs.append(fd)
        assert not streams
        request = {
            "arguments": arguments,
            "cwd": cwd,
            "env": env,
            "start_new_session": start_new_session,
            "controlling_terminal": controlling_terminal,
            "file_size_limit": file_size_limit,
        }
        socket.send_fds(self._control, [json.dumps(request).encode()], theirs)
        for fd in theirs:
            os.close(fd)
        command = ForkedCommand()
        await command.follow(ours, told)
        return command

    def close(self) -> None:
        """End the server."""
        self._control.close()
        self._process.wait(timeout=10)


# ── on the other side ───────────────────────────────────────────────────────────────────────────


def import_everything() -> None:
    """Import all modules of the package, and what a command imports beside them on its way."""
    import bulk_eraser

    for module in pkgutil.walk_packages(bulk_eraser.__path__, "bulk_eraser."):
        if not module.name.endswith(".__main__"):
            import_module(module.name)
    reading, writing = os.pipe()
    if os.fork() == 0:
        become_silent()
        sys.argv[1:] = ["check", os.devnull]
        with suppress(SystemExit):
            runpy.run_module("bulk_eraser", run_name="__main__", alter_sys=True)
        with open(writing, "w") as names:
            names.write("\n".join(sys.modules))
        os._exit(0)
    os.close(writing)
    with open(reading) as names:
        for name in names.read().split():
            with suppress(ImportError):  # what is made while it runs
                import_module(name)
    os.wait()


def become_silent() -> None:
    """Point the outputs to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)


def serve(control: socket.socket) -> None:
    """Fork a child for each request, and tell of its end. Returns in the child, as the command."""
    woken, waking = os.pipe()
    for fd in (woken, waking):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    waits = select.poll()
    waits.register(woken, select.POLLIN)
    waits.register(control, select.POLLIN)
    tells: dict[int, int] = {}
    while True:
        ready = [fd for fd, _ in waits.poll()]
        if woken in ready:
            os.read(woken, 4096)
            tell_of_ends(tells)
        if control.fileno() not in ready:
            continue
        request, fds, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 4)
        if not request:
            sys.exit()
        assert len(os.listdir("/proc/self/task")) == 1, "what has threads must not be forked"
        pid = os.fork()
        if pid == 0:
            control.detach()
            become(json.loads(request), fds)
            return
        tells[pid] = fds[0]
        for fd in fds[1:]:
            os.close(fd)


def tell_of_ends(tells: dict[int, int]) -> None:
    """Tell the exit code of each child that has ended: -signum if it was killed."""
    while tells:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        tell = tells.pop(pid)
        with suppress(BrokenPipeError):  # nobody wants to know any more
            os.write(tell, b"ended %d\n" % os.waitstatus_to_exitcode(status))
        os.close(tell)


def become(request: dict[str, Any], fds: list[int]) -> None:
    """Make this child what a new process of the command would be, and tell its pid."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["start_new_session"]:
        os.setsid()
    tell, *streams = fds
    tell = os.dup2(tell, max(fds) + 1)  # above all that are taken for the streams
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    if request["file_size_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size_limit"],) * 2)
    if request["controlling_terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.closerange(3, tell)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    sys.argv[1:] = request["arguments"]
    sys.path[0] = request["cwd"]
    for number, name in enumerate(STREAMS):
        setattr(sys, name, standard_stream(number, getattr(sys, name)))
        setattr(sys, f"__{name}__", getattr(sys, name))
    os.write(tell, b"began %d\n" % os.getpid())
    os.closerange(tell, tell + 100)


def standard_stream(number: int, old: Any) -> Any:
    """What the interpreter puts there at its start."""
    new = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115 it stays open
    return io.TextIOWrapper(
        new,
        encoding=old.encoding,
        errors=old.errors,
        newline="\n",
        line_buffering=number == 2 or new.isatty(),
    )


if __name__ == "__main__":
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_everything()
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("bulk_eraser", run_name="__main__", alter_sys=True)
