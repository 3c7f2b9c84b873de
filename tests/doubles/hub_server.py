"""A local server that speaks the part of the Hub's HTTP API that pushing and reading back needs.

Large files take the LFS route (batch, upload, verify), small ones come base64-encoded in the commit, as on the Hub.
Repositories are dictionaries in memory.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

TOKEN = "hf_test"
LARGE = (".parquet", ".safetensors", ".gguf", ".bin")


@dataclass
class Repository:
    kind: str
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)  # their messages

    @property
    def head(self) -> str:
        return hashlib.sha1(repr(self.commits).encode()).hexdigest()


@dataclass
class Hub:
    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)  # by kind and owner/name
    blobs: dict[str, bytes] = field(default_factory=dict)  # LFS, by sha256
    requests: list[str] = field(default_factory=list)


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()

    class Bound(Handler):
        pass

    Bound.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub of the test's own, which huggingface_hub takes for the real one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with hub_server() as server:
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # of commands that the test runs
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status, self.message, self.code = status, message, code  # the Hub's X-Error-Code


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for method, pattern, route in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and method in (self.command, "GET" if self.command == "HEAD" else ""):
                    if self.command != "PUT" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                        raise Refused(401, "Invalid username or password.")
                    route(self, body, **found.groupdict())
                    return
            raise Refused(404, f"no route for {self.command} {path}")
        except Refused as refused:
            self._json({"error": refused.message}, refused.status, {"X-Error-Code": refused.code})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _repository(self, kind: str, repo: str) -> Repository:
        try:
            return self.hub.repositories[kind, repo]
        except KeyError:
            raise Refused(404, "Repository not found", "RepoNotFound") from None

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        owner, kind = asked.get("organization") or "me", asked.get("type") or "model"
        if owner == "somebody-else":
            raise Refused(403, "You don't have the rights to create a repository under this namespace")
        id = f"{owner}/{asked['name']}"
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{id}"
        there = (kind, id) in self.hub.repositories
        if not there:
            self.hub.repositories[kind, id] = Repository(kind, asked.get("visibility") == "private")
        self._json({"url": url, "name": id, "id": "0"}, 409 if there else 200)

    def validate_yaml(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        header = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        warnings = [] if header else [{"message": "empty or missing yaml metadata in repo card"}]
        try:
            yaml.safe_load(header[1] if header else "")
        except yaml.YAMLError as error:
            self._json({"errors": [{"message": str(error)}], "warnings": warnings}, 400)
            return
        self._json({"errors": [], "warnings": warnings})

    def preupload(self, body: bytes, kind: str, repo: str) -> None:
        self._repository(kind, repo)
        answer = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(body)["files"]
        ]
        self._json({"files": answer})

    def batch(self, body: bytes, prefix: str | None, repo: str) -> None:
        self._repository("dataset" if prefix else "model", repo)
        asked = json.loads(body)
        assert asked["operation"] == "upload" and "basic" in asked["transfers"]
        objects = []
        for item in asked["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.blobs:
                upload, verify = f"{self.hub.url}/lfs/{item['oid']}", f"{self.hub.url}/lfs-verify"
                answer["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
            objects.append(answer)
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, "the content does not have this hash")
        self.hub.blobs[oid] = body
        self._send(b"")

    def verify(self, body: bytes) -> None:
        asked = json.loads(body)
        if len(self.hub.blobs.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(404, "not uploaded")
        self._json({})

    def commit(self, body: bytes, kind: str, repo: str) -> None:
        repository = self._repository(kind, repo)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        added = {}
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                assert value["encoding"] == "base64"
                added[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile" and value["oid"] in self.hub.blobs:
                added[value["path"]] = self.hub.blobs[value["oid"]]
            else:
                raise Refused(400, f"cannot commit {operation['key']} {value['path']}")
        repository.files |= added
        repository.commits.append(header["value"]["summary"])
        oid = repository.head
        self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"})

    def info(self, body: bytes, kind: str, repo: str) -> None:
        found = self._repository(kind, repo)
        siblings = [{"rfilename": name} for name in found.files]
        self._json({"id": repo, "sha": found.head, "private": found.private, "siblings": siblings, "tags": []})

    def resolve(self, body: bytes, prefix: str | None, repo: str, path: str) -> None:
        repository = self._repository("dataset" if prefix else "model", repo)
        if path not in repository.files:
            raise Refused(404, "Entry not found", "EntryNotFound")
        content = repository.files[path]
        tag = hashlib.sha256(content).hexdigest()
        self._send(content, headers={"ETag": f'"{tag}"', "X-Repo-Commit": repository.head})


REPO = r"(?P<repo>[\w.\-]+/[\w.\-]+)"
KIND = r"/api/(?P<kind>dataset|model)s/" + REPO
ROUTES = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate_yaml),
    ("POST", KIND + "/preupload/main", Handler.preupload),
    ("POST", KIND + "/commit/main", Handler.commit),
    ("GET", KIND + r"(?:/revision/\w+)?", Handler.info),
    ("POST", rf"/(?P<prefix>datasets/)?{REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", Handler.upload),
    ("POST", "/lfs-verify", Handler.verify),
    ("GET", rf"/(?P<prefix>datasets/)?{REPO}/resolve/\w+/(?P<path>.+)", Handler.resolve),
]
