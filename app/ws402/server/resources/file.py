"""A file over HTTP, for as long as the session lives: ranges (RFC 9110 §14), validators, HEAD."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import re
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from ws402.errors import ConfigurationError, InvalidRequestError, NotFoundError
from ws402.server.resources.base import Receive, Scope, Send, Stream
from ws402.server.resources.http_answers import abort, header, is_gone, safe_headers
from ws402.server.resources.requests import HttpServed

T = TypeVar("T")

CHUNK_BYTES: Final = 262_144

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


class MethodNotAllowedError(InvalidRequestError):
    """The resource is not asked this way."""

    code = "method_not_allowed"
    status = 405


class FileResource(HttpServed):
    """One file; it may be replaced while the server runs."""

    def check(self) -> None:
        """The file can be read."""
        path = Path(self.settings.target)
        if not path.is_file():
            raise ConfigurationError(f"Resource '{self.settings.id}': {path} is not a file.", remedy="Fix the target.")
        if not os.access(path, os.R_OK):
            raise ConfigurationError(
                f"Resource '{self.settings.id}': {path} cannot be read.", remedy="Let the server's user read it."
            )

    async def answer(self, stream: Stream, path: str, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer GET and HEAD."""
        if path:
            raise NotFoundError("This resource is a single file.")
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowedError("This resource is read with GET or HEAD.")
        opened: list[int] = []
        try:
            await _in_thread(lambda: opened.append(os.open(self.settings.target, os.O_RDONLY)))
            await self._tell(stream, opened[0], scope, send)
        except FileNotFoundError as error:
            raise NotFoundError("The file is gone for now.", remedy="Ask whoever runs this server.") from error
        finally:
            for file in opened:
                os.close(file)

    async def _tell(self, stream: Stream, file: int, scope: Scope, send: Send) -> None:
        status = os.fstat(file)
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        headers = [
            (b"etag", etag.encode()),
            (b"last-modified", formatdate(status.st_mtime, usegmt=True).encode()),
            (b"accept-ranges", b"bytes"),
            *safe_headers(),
        ]
        if etag in [each.strip() for each in header(scope, b"if-none-match").split(",")]:
            await _respond(send, 304, headers)
            return
        first, last, code = _wanted(scope, status.st_size, etag)
        if code == 416:
            await _respond(send, 416, [*headers, (b"content-range", f"bytes */{status.st_size}".encode())])
            return
        if code == 206:
            headers.append((b"content-range", f"bytes {first}-{last}/{status.st_size}".encode()))
        kind = mimetypes.guess_type(self.settings.target)[0] or "application/octet-stream"
        name = quote(Path(self.settings.target).name)
        headers += [
            (b"content-type", kind.encode()),
            (b"content-length", str(last - first + 1).encode()),
            (b"content-disposition", f"inline; filename*=UTF-8''{name}".encode()),
        ]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        if scope["method"] == "GET":
            await self._body(stream, file, first, last + 1, scope, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _body(self, stream: Stream, file: int, at: int, end: int, scope: Scope, send: Send) -> None:
        while at < end:
            piece = await _in_thread(partial(os.pread, file, min(CHUNK_BYTES, end - at), at))
            if not piece or not stream.live or is_gone(scope):  # truncated meanwhile, or no longer paid for
                await abort(scope)
                return
            at += len(piece)
            stream.count(len(piece))
            await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _in_thread(work: Callable[[], T]) -> T:
    """Run it in a thread. Who is cancelled waits for it: the file that it uses must not be closed, or lost, before."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _wanted(scope: Scope, size: int, etag: str) -> tuple[int, int, int]:
    """First and last byte and the status. Several ranges, or one that cannot be read, are answered with the whole."""
    whole = (0, size - 1, 200)
    condition = header(scope, b"if-range")
    if condition and condition != etag:
        return whole
    match = _RANGE.fullmatch(header(scope, b"range").strip())
    if match is None or match.group(0) == "bytes=-":
        return whole
    start, stop = match.groups()
    if not start:
        length = min(int(stop), size)
        return (size - length, size - 1, 206) if length else (0, 0, 416)
    first = int(start)
    last = min(int(stop), size - 1) if stop else size - 1
    if stop and int(stop) < first:
        return whole
    return (first, last, 206) if first < size else (0, 0, 416)


async def _respond(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    length = [] if status == 304 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers + length})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
