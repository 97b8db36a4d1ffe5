# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A Hub on localhost that speaks as much of the real one's protocol as huggingface_hub, transformers and datasets ask
of it: repositories with branches and tags, commits, large files, private repositories, and tokens. All in memory.

Beyond that it can fail as the real one does: a token that has expired, a repository that is somebody else's, a
connection that is cut in the middle of an upload (`cut_uploads`).
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

DATE = "2026-01-01T00:00:00.000Z"
LARGE = (".safetensors", ".parquet", ".arrow", ".png", ".wav", ".tar")


class HubError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Repository:
    """Branches and tags lead to commits, commits are lists of files: path -> (content, is large)."""

    private: bool
    references: dict[str, dict[str, str]] = field(default_factory=lambda: {"branch": {}, "tag": {}})
    commits: dict[str, dict[str, tuple[bytes, bool]]] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, tuple[bytes, bool]]) -> str:
        parent = self.references["branch"].get(branch)
        name = hashlib.sha1(f"{branch}{len(self.commits)}{parent}".encode()).hexdigest()  # noqa: S324 (names, as git gives them)
        self.commits[name], self.parents[name] = files, parent
        self.references["branch"][branch] = name
        return name

    def find(self, revision: str) -> str:
        for table in self.references.values():
            if revision in table:
                return table[revision]
        if revision in self.commits:
            return revision
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


class HubServer(ThreadingHTTPServer):
    """`tokens`: token -> user, or None for one that has expired."""

    daemon_threads = True

    def __init__(self, tokens: dict[str, str | None]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.tokens = tokens
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []  # the paths of all requests
        self.cut_uploads = 0  # so many of the next uploads of large files break off
        self.lock = threading.RLock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 (names, as git gives them)


def describe(path: str, content: bytes, is_large: bool) -> dict:
    found = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if is_large:
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    ROUTES = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", r"/api/repos/create", "create"),
        ("PUT", r"/large/(?P<oid>[0-9a-f]{64})", "upload"),
        ("POST", r"/(?P<kind>datasets/|)(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
        ("GET", r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>.+))?", "info"),
        ("GET", r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/auth-check", "auth_check"),
        (
            "GET",
            r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)/?(?P<path>.*)",
            "tree",
        ),
        ("POST", r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)", "paths"),
        ("GET", r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/refs", "refs"),
        ("POST", r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/preupload/(?P<revision>.+)", "preupload"),
        ("POST", r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/commit/(?P<revision>.+)", "commit"),
        (
            "POST",
            r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/(?P<table>branch|tag)/(?P<reference>.+)",
            "refer",
        ),
        ("GET", r"/(?P<kind>datasets/|)(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "download"),
    )

    def log_message(self, *_):
        pass

    def handle_request(self) -> None:
        url, self.content = urlsplit(self.path), None
        self.server.asked.append(url.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        try:
            for method, pattern, name in self.ROUTES:
                match = re.fullmatch(pattern, url.path)
                if match and method == self.command.replace("HEAD", "GET"):
                    arguments = {key: unquote(value or "") for key, value in match.groupdict().items()}
                    if "kind" in arguments:
                        arguments["kind"] = "dataset" if "dataset" in arguments["kind"] else "model"
                    return getattr(self, name)(**arguments)
            raise HubError(404, f"No such endpoint: {self.command} {url.path}")
        except HubError as error:
            self.body()
            headers = {"X-Error-Message": str(error)} | ({"X-Error-Code": error.code} if error.code else {})
            self.answer({"error": str(error)}, error.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    # ---- what a request brings, and what it gets

    def body(self) -> bytes:
        if self.content is None:
            self.content = self.read_body()
        return self.content

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, content, status: int = 200, headers: dict | None = None) -> None:
        is_bytes = isinstance(content, bytes)
        content = content if is_bytes else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/octet-stream" if is_bytes else "application/json"} | (headers or {})
        for name, value in ({"Content-Length": len(content)} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def user(self, needed: bool = True) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not token and not needed:
            return None
        user = self.server.tokens.get(token)
        if user is None:
            raise HubError(
                401, "User Access Token has expired" if token in self.server.tokens else "Invalid credentials"
            )
        return user

    def repository(self, kind: str, name: str, write: bool = False) -> Repository:
        user = self.user(needed=write)
        found = self.server.repositories.get((kind, name))
        is_owner = name.partition("/")[0] == user
        if found is None or (found.private and not is_owner):
            raise HubError(404, "Repository not found", "RepoNotFound")
        if write and not is_owner:
            raise HubError(403, f"You do not have the rights to write to {name}")
        return found

    # ---- the endpoints

    def whoami(self):
        user = self.user()
        token = {"displayName": "test", "role": "write"}
        self.answer({"type": "user", "name": user, "orgs": [], "auth": {"type": "access_token", "accessToken": token}})

    def validate(self):
        self.body()
        self.answer({"errors": [], "warnings": []})

    def create(self):
        asked, user = json.loads(self.body()), self.user()
        kind, owner = asked.get("type") or "model", asked.get("organization") or user
        name = f"{owner}/{asked['name']}"
        url = f"{self.server.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if owner != user:
            raise HubError(403, f"You don't have the rights to create a {kind} under the namespace {owner}")
        with self.server.lock:
            if (kind, name) in self.server.repositories:
                return self.answer({"error": "You already created this repo", "url": url}, 409)
            is_private = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.server.repositories[kind, name] = repository = Repository(is_private)
            repository.commit("main", {".gitattributes": (b"*.safetensors filter=lfs\n", False)})
        self.answer({"url": url, "name": name, "id": "0" * 24})

    def info(self, kind: str, name: str, revision: str):
        repository = self.repository(kind, name)
        commit = repository.find(revision or "main")
        files = [{"rfilename": path} for path in sorted(repository.commits[commit])]
        facts = {
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": repository.private,
            "tags": [],
            "siblings": files,
        }
        more = {"_id": "0" * 24, "author": name.partition("/")[0], "createdAt": DATE, "lastModified": DATE}
        self.answer(facts | more | {"gated": False, "disabled": False, "downloads": 0, "likes": 0})

    def auth_check(self, kind: str, name: str):
        self.repository(kind, name)
        self.answer({})

    def tree(self, kind: str, name: str, revision: str, path: str):
        repository = self.repository(kind, name)
        commit = repository.find(revision)
        prefix = path.strip("/") + "/" if path.strip("/") else ""
        inside = {p: file for p, file in repository.commits[commit].items() if p.startswith(prefix)}
        if prefix and not inside:
            raise HubError(404, "Entry not found", "EntryNotFound")
        is_recursive = self.query.get("recursive", "").lower() in ("1", "true")
        folders = {prefix + p.removeprefix(prefix).partition("/")[0] for p in inside if "/" in p.removeprefix(prefix)}
        found = [{"type": "directory", "path": folder, "size": 0, "oid": "0" * 40} for folder in sorted(folders)]
        for p, file in sorted(inside.items()):
            if is_recursive or "/" not in p.removeprefix(prefix):
                found.append(describe(p, *file))
        self.answer(found, headers={"X-Repo-Commit": commit})

    def paths(self, kind: str, name: str, revision: str):
        repository = self.repository(kind, name)
        is_json = "json" in self.headers.get("Content-Type", "")
        asked = json.loads(self.body()) if is_json else parse_qs(self.body().decode())
        files, found = repository.commits[repository.find(revision)], []
        for path in asked.get("paths", []):
            if path in files:
                found.append(describe(path, *files[path]))
            elif any(p.startswith(path.rstrip("/") + "/") for p in files):
                found.append({"type": "directory", "path": path, "size": 0, "oid": "0" * 40})
        self.answer(found)

    def refs(self, kind: str, name: str):
        tables = self.repository(kind, name).references
        found = {
            key: [{"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": c} for n, c in tables[table].items()]
            for key, folder, table in (("branches", "heads", "branch"), ("tags", "tags", "tag"))
        }
        self.answer(found | {"converts": [], "pullRequests": []})

    def refer(self, kind: str, name: str, table: str, reference: str):
        repository, asked = self.repository(kind, name, write=True), json.loads(self.body() or b"{}")
        start = reference if table == "tag" else asked.get("startingPoint") or "main"
        reference = asked["tag"] if table == "tag" else reference
        if reference in repository.references[table]:
            raise HubError(409, f"Reference already exists: {reference}")
        repository.references[table][reference] = repository.find(start)
        self.answer({})

    def preupload(self, kind: str, name: str, revision: str):
        self.repository(kind, name, write=True)
        files = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
            for f in json.loads(self.body())["files"]
        ]
        self.answer({"files": files})

    def batch(self, kind: str, name: str):
        self.repository(kind, name, write=True)
        objects = []
        for asked in json.loads(self.body())["objects"]:
            found = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.server.large:
                found["actions"] = {"upload": {"href": f"{self.server.endpoint}/large/{asked['oid']}"}}
            objects.append(found)
        self.answer({"transfer": "basic", "objects": objects})

    def upload(self, oid: str):
        if self.server.cut_uploads:
            self.server.cut_uploads -= 1
            self.rfile.read(100)
            self.close_connection = True
            return self.connection.close()
        content = self.body()
        if hashlib.sha256(content).hexdigest() != oid:
            raise HubError(400, "The content has another hash")
        self.server.large[oid] = content
        self.answer({})

    def commit(self, kind: str, name: str, revision: str):
        repository = self.repository(kind, name, write=True)
        with self.server.lock:
            files = dict(repository.commits[repository.find(revision)])
            for line in filter(None, self.body().splitlines()):
                operation = json.loads(line)
                value = operation["value"]
                if operation["key"] == "file":
                    files[value["path"]] = (base64.b64decode(value["content"]), False)
                elif operation["key"] == "lfsFile":
                    files[value["path"]] = (self.server.large[value["oid"]], True)
                elif operation["key"] == "deletedFile":
                    del files[value["path"]]
                elif operation["key"] == "deletedFolder":
                    files = {path: file for path, file in files.items() if not path.startswith(value["path"])}
            commit = repository.commit(revision, files)
        url = f"{self.server.endpoint}/{name}/commit/{commit}"
        self.answer({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def download(self, kind: str, name: str, revision: str, path: str):
        repository = self.repository(kind, name)
        commit = repository.find(revision)
        if path not in repository.commits[commit]:
            raise HubError(404, "Entry not found", "EntryNotFound")
        content, is_large = repository.commits[commit][path]
        oid = hashlib.sha256(content).hexdigest() if is_large else git_oid(content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
        if is_large:
            headers |= {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": len(content)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked or self.command == "HEAD":
            return self.answer(content, headers=headers)
        start, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self.answer(content[start : end + 1], 206, headers)
