"""A W&B server for one run, on loopback: what the client must be answered, and the rows that it sends."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

ENTITY = {"id": "e1", "name": "me"}


class WandbServer(ThreadingHTTPServer):
    """Keeps the history rows of a run as they arrive; `die` breaks all connections from then on.

    Attributes:
        history: Rows by their place in the history.
        summary: The last summary sent.
        axes: Step axis by key or pattern, as the run has declared them.
        uploads: Files by their name in the run, as they were put.
        views: Saved views of a workspace, as they were sent.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.history: dict[int, dict[str, Any]] = {}
        self.summary: dict[str, Any] = {}
        self.axes: dict[str, str] = {}
        self.uploads: dict[str, bytes] = {}
        self.views: list[dict[str, Any]] = []
        self.dead = threading.Event()
        self.arrived = threading.Event()

    @property
    def url(self) -> str:
        """Where the client finds it."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event."""

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        if operation == "Viewer":
            return {"viewer": {"id": "u1", "entity": "me", "username": "me", "email": "", "flags": "{}",
                               "teams": {"edges": []}}}  # fmt: skip
        if operation == "UpsertBucket":
            declared = json.loads(variables.get("config") or "{}").get("_wandb", {}).get("value", {}).get("m", [])
            # Each has its name in "1" or its pattern in "2", and in "5" which of the others is its axis, from 1.
            self.axes |= {one.get("1") or one["2"]: declared[one["5"] - 1]["1"] for one in declared if "5" in one}
            project = {"id": "p1", "name": variables.get("project") or "p", "entity": ENTITY}
            bucket = {"id": "b1", "name": variables["name"], "displayName": "run", "description": "", "config": "{}",
                      "sweepName": None, "historyLineCount": 0, "project": project}  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b1", "uploadHeaders": [], "files": files}}
        if operation == "UpsertView2":
            self.views.append({**variables, "spec": json.loads(variables["spec"])})
            view = {"id": f"v{len(self.views)}", "name": variables["name"]}
            return {"upsertView": {"view": view, "inserted": True}}
        return {"serverInfo": {"features": []}, "entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def take(self, files: dict[str, Any]) -> None:
        """Part of the file stream."""
        part = files.get("wandb-history.jsonl")
        if part:
            rows = [json.loads(line) for line in part["content"]]
            self.history.update(enumerate(rows, part["offset"]))
            self.arrived.set()
        if "wandb-summary.json" in files:
            self.summary = json.loads(files["wandb-summary.json"]["content"][-1])


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        self.server.uploads[unquote(self.path.removeprefix("/upload/"))] = self._body()
        self._reply({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            operation = asked.get("operationName") or asked["query"].split("(")[0].split("{")[0].split()[-1]
            self._reply({"data": self.server.answer(operation, asked.get("variables") or {})})
            return
        if "/file_stream" in self.path:
            self.server.take(json.loads(body).get("files") or {})
        self._reply({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, answer: dict[str, Any]) -> None:
        if self.server.dead.is_set():
            self.close_connection = True
            self.connection.close()
            return
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def serving() -> Iterator[WandbServer]:
    """A running server."""
    server = WandbServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
