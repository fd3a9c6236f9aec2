"""`lrsearch serve`: the pages of runs over HTTP, to this machine alone.

Python's own server is enough: a few readers on one machine, who get whole pages and small answers;
another server would be one more package for all who install lrsearch. It is none for a network, and
so it takes none: it listens on the loopback address alone.
"""

from __future__ import annotations

import errno
import gc
import json as json_text
import secrets
import socketserver
import sys
import threading
import traceback
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit

import typer

from lrsearch.cli import options
from lrsearch.cli.closing import say
from lrsearch.errors import UsageError
from lrsearch.terminal import visible_line

if TYPE_CHECKING:
    from lrsearch.cli.watching import Site

HOST = "127.0.0.1"

NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Names by which a browser may ask; any other is one that a web site has made to point here. Any
port will do, as through a tunnel of SSH."""

METHODS = ("GET", "HEAD")

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer. The policy of a page itself stands in it, with the hashes of its style
and scripts; a browser applies both."""

WAIT = 30.0
"""Seconds in which a request has to come whole."""

LONGEST = 4096
"""Characters of an address."""


class Refused(Exception):
    """A request that gets no page: the status, and why."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Server(ThreadingHTTPServer):
    """The server of a site, behind a token that its addresses begin with."""

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self.token = secrets.token_urlsafe(24)
        super().__init__((HOST, port), Handler)

    @property
    def address(self) -> str:
        """The address of the list of runs."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Bind, as the base class, but ask no name server for a name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a reader who has left."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """An answer to one request."""

    server: Server
    server_version, sys_version = "lrsearch", ""
    timeout = WAIT

    def parse_request(self) -> bool:
        """Read a request, as the base class; False where it was answered already."""
        if not super().parse_request():
            return False
        if self.command in METHODS:
            return True
        text = f"405: {' and '.join(METHODS)} alone are answered: nothing can be changed here\n"
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", text, Allow=", ".join(METHODS))
        return False

    def do_GET(self) -> None:
        """Answer a request."""
        try:
            self._answer()
        except Refused as refused:
            self._send(refused.status, "text/plain", f"{refused.status.value}: {refused.text}\n")
        except OSError:
            raise  # Its reader has left.
        except Exception:
            say(traceback.format_exc())
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            self._send(status, "text/plain", "500: a bug: lrsearch serve printed its traceback\n")

    do_HEAD = do_GET

    def _answer(self) -> None:
        host = (self.headers.get("Host") or "").strip().lower()
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        name = name if port.isdigit() and name else host
        if name not in NAMES:
            text = f"this server is asked by the names {', '.join(NAMES)} alone"
            raise Refused(HTTPStatus.FORBIDDEN, text)
        if len(self.path) > LONGEST:
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "no address here is that long")
        if self.path == "/favicon.ico":  # Browsers ask by themselves.
            self._send(HTTPStatus.NO_CONTENT, "image/x-icon", "")
            return
        try:
            asked = urlsplit(self.path)
            query = parse_qs(asked.query, errors="surrogateescape", max_num_fields=100)
            _, token, *parts = asked.path.split("/")
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "that is no address") from None
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            text = "nothing is here; lrsearch serve prints the whole address"
            raise Refused(HTTPStatus.NOT_FOUND, text)
        if not parts or parts[-1] not in ("", "news"):
            if self._find([*parts, ""])[0]:
                target = f"{asked.path}/" + (f"?{asked.query}" if asked.query else "")
                self._send(HTTPStatus.PERMANENT_REDIRECT, "text/plain", "", Location=target)
                return
            raise Refused(HTTPStatus.NOT_FOUND, "nothing is here")
        self._show(parts, query)

    def _find(self, parts: list[str]) -> tuple[str, str]:
        """The page that a path means, and the run that it is of; ("", "") of none."""
        match parts[:-1]:
            case []:
                return "list", ""
            case ["compare"]:
                return "compare", ""
            case ["runs", name] if name:
                return "run", unquote(name, errors="surrogateescape")
        return "", ""

    def _show(self, parts: list[str], query: dict[str, list[str]]) -> None:
        page, name = self._find(parts)
        at = None
        if parts[-1] == "news":
            told = query.get("at", ["0"])[0]
            at = int(told) if told.isascii() and told.isdigit() and len(told) < 19 else 0
        site = self.server.site
        try:
            match page:
                case "list":
                    found = site.list_runs(at)
                case "compare":
                    found = site.compare(query.get("run", []), at)
                case "run":
                    found = site.show(name, at)
                case _:
                    raise Refused(HTTPStatus.NOT_FOUND, "nothing is here")
        except KeyError:
            text = f"there is no run {visible_line(name)} here; ../../ lists the runs there are"
            raise Refused(HTTPStatus.NOT_FOUND, text) from None
        # A template leaves circles of few objects, which hold all that stood in the page.
        gc.collect(0)
        if isinstance(found, str):
            self._send(HTTPStatus.OK, "text/html", found)
        else:
            self._send(HTTPStatus.OK, "application/json", json_text.dumps(found))

    def _send(self, status: HTTPStatus, kind: str, text: str, **more: str) -> None:
        content = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        for name, value in {**HEADERS, **more}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status != HTTPStatus.NO_CONTENT:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: an address has the token."""


def serve(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="RUNS",
            help="A folder of runs, or one run by its folder, name or spec. Without it: --runs.",
            show_default=False,
        ),
    ] = None,
    runs: options.Runs = options.USUAL_RUNS,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            metavar="N",
            help="The port of this machine; 0 takes a free one.",
        ),
    ] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the address as JSON.")] = False,
) -> None:
    """Show runs as live pages, to this machine alone, until Ctrl-C."""
    from lrsearch.cli.going_on import beginning
    from lrsearch.cli.watching import Site
    from lrsearch.reports.page.live import link
    from lrsearch.store import names

    root, name = _find_target(target, runs)
    with _listen(Site(root), port) as server:
        address = server.address + (f"runs/{link(name)}/" if name else "")
        if json:
            said = {"format": 1, "url": address, "port": server.server_port, "runs": str(root)}
            print(json_text.dumps(said), flush=True)
        else:
            print(address, flush=True)
        if not name and not names(root):
            say(f"there are no runs yet: they appear there as they begin\n  {beginning(runs)}")
        say(
            f"serving {visible_line(str(root))} to this machine alone, by this address; nothing "
            "can be changed there; Ctrl-C ends it"
        )
        if open_:
            # A browser of the terminal takes it until it is closed.
            threading.Thread(target=_open, args=(address,), daemon=True).start()
        server.serve_forever()


def _open(address: str) -> None:
    if not webbrowser.open(address):
        say("no browser was found: open the address yourself")


def _listen(site: Site, port: int) -> Server:
    """The server at a port. Raises UsageError for one that cannot be had."""
    try:
        return Server(site, port)
    except OSError as error:
        told, another = f"port {port} cannot be used: {error.strerror}", "--port 0"
        if error.errno == errno.EADDRINUSE:
            told = f"port {port} is in use"
            another = f"--port {port + 1}" if port < 65535 else another
        elif error.errno == errno.EACCES:
            told, another = f"port {port} is kept for the system", "--port 8080"
        raise UsageError(
            told,
            where="--port",
            hint=f"write lrsearch serve {another}, or leave it out: a free one is taken",
        ) from None


def _find_target(target: str | None, runs: Path) -> tuple[Path, str]:
    """The folder of runs, and the name of the one run that was asked for. Raises RunError or
    UsageError where there is none."""
    from lrsearch.cli.going_on import beginning, runs_there
    from lrsearch.cli.targets import find_run
    from lrsearch.errors import RunError
    from lrsearch.store import holds_run

    if target is None:
        if not runs.is_dir() and (runs.exists() or runs != options.USUAL_RUNS):
            raise RunError(
                f"there are no runs in {runs}: there is no such folder", hint=beginning(runs)
            )
        return runs, ""
    path = Path(target)
    if path.is_dir() and not holds_run(path):
        return path, ""
    if not path.exists() and not (runs / path).is_dir() and path.suffix not in (".yaml", ".yml"):
        told = f"{target} is no folder of runs, and no run"
        raise RunError(told, hint=runs_there(runs, path.name))
    folder = find_run(target, runs).resolve()
    return folder.parent, folder.name
