"""The embedded endpoint: llama.cpp's server from the xllamacpp wheel, serving one GGUF file on the loopback address."""

import importlib.util
import json
import os
import select
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import BaseModel, ConfigDict

from tutelage.endpoint.processes import NO_PROXY, ChildProcess
from tutelage.errors import MissingExtra, TutelageError
from tutelage.machine import processors

START_SECONDS = 120.0
SLOT_SECONDS = 120.0  # for one request about a slot
SLOT_FILE = "slot"


class EmbeddedSettings(BaseModel):
    """What the server's process is told, as one line of JSON on its standard input."""

    model_config = ConfigDict(frozen=True)

    gguf: Path
    template: str  # the chat template's text
    adapter: Path | None = None  # LoRA weights as GGUF
    context: int = 2048  # tokens of prompt and completion together, one request
    parallel: int = 8  # requests worked on at once
    threads: int
    slots: Path = Path()  # a folder to put in what a slot holds
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    model_name: str = "student"


class EmbeddedEndpoint:
    """Serves `gguf` at `.url` ("http://127.0.0.1:PORT/v1") while it is open.

    The server is a process of its own that dies with this one, however this one dies. Requests are worked on
    `parallel` at a time, each with `context` tokens, and a prompt's beginning that a slot has seen before (system
    prompt, tools, earlier steps) is not computed again. With an `adapter`, a request's field
    `"lora": [{"id": 0, "scale": 0.0}]` is the base model; without the field, or with scale 1.0, the adapter applies.

    Raises TutelageError on entering: the file is missing, or the server did not start (with its last lines).
    """

    def __init__(
        self,
        gguf: Path,
        template: str,
        *,
        adapter: Path | None = None,
        context: int = 2048,
        parallel: int = 8,
        threads: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        model_name: str = "student",
        log: Path | None = None,
    ) -> None:
        self.settings = EmbeddedSettings(
            gguf=gguf.resolve(),
            template=template,
            adapter=adapter.resolve() if adapter else None,
            context=context,
            parallel=parallel,
            threads=threads or processors(),
            host=host,
            port=port,
            model_name=model_name,
        )
        self.url = ""
        self._log = log
        self._child: ChildProcess | None = None
        self._slots: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> "EmbeddedEndpoint":
        for path in (self.settings.gguf, self.settings.adapter):
            if path and not path.is_file():
                raise TutelageError(f"The embedded endpoint cannot start: {path} was not found.")
        if importlib.util.find_spec("xllamacpp") is None:
            raise MissingExtra("xllamacpp", "embedded")
        command = [sys.executable, "-m", "tutelage.endpoint.embedded_process"]
        self._child = ChildProcess(command, guarded=False, env=_threads_that_yield(), log=self._log)
        self._slots = tempfile.TemporaryDirectory(prefix="tutelage-slots-")
        self.settings = self.settings.model_copy(update={"slots": Path(self._slots.name)})
        try:
            self.url = self._start(self._child)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._child:
            self._child.close()
            self._child = None
        if self._slots:
            self._slots.cleanup()
            self._slots = None

    def share_slot(self, extra: Mapping[str, Any]) -> None:
        """Give every slot what slot 0 holds: a prompt computed there with `"id_slot": 0` is then not computed again.

        Eight slots that each compute the same 450 tokens of system prompt and tools take 12 s on two cores, this
        takes one. `extra` are the fields of the requests to come that name adapters: a slot forgets what it holds
        when it is asked for others. Raises TutelageError where the server refuses.
        """
        self._post("/slots/0?action=save", {"filename": SLOT_FILE})
        for slot in range(1, self.settings.parallel):
            self._post("/completion", {"prompt": "a", "n_predict": 1, "id_slot": slot, **extra})
            self._post(f"/slots/{slot}?action=restore", {"filename": SLOT_FILE})
        (self.settings.slots / SLOT_FILE).unlink()

    def wait(self) -> None:
        """Block while the server runs. Raises TutelageError, with its last lines, where it ends by itself."""
        assert self._child
        self._child.process.wait()
        raise TutelageError(f"The embedded endpoint ended. {self._quote()}")

    @property
    def pid(self) -> int | None:
        return self._child.process.pid if self._child else None

    def last_lines(self) -> str:
        """The end of the server's log."""
        return self._child.last_lines() if self._child else ""

    def _start(self, child: ChildProcess) -> str:
        stdin, stdout = child.process.stdin, child.process.stdout
        assert stdin and stdout
        try:
            stdin.write(self.settings.model_dump_json().encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it ended at once; its last lines say why
        deadline = time.monotonic() + START_SECONDS
        while not select.select([stdout], [], [], 0.5)[0]:
            if time.monotonic() > deadline:
                raise TutelageError(f"The embedded endpoint was not ready in {START_SECONDS:.0f} s. {self._quote()}")
        line = stdout.readline()
        if not line:
            child.process.wait()
            raise TutelageError(f"The embedded endpoint did not start with {self.settings.gguf.name}. {self._quote()}")
        return str(json.loads(line)["url"]) + "/v1"

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        url = self.url.removesuffix("/v1") + path
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with NO_PROXY.open(request, timeout=SLOT_SECONDS) as response:
                response.read()
        except OSError as error:
            raise TutelageError(f"The embedded endpoint refuses {path} ({error}). {self._quote()}") from None

    def _quote(self) -> str:
        return f"Its last lines:\n{self.last_lines() or '(none)'}"


def _threads_that_yield() -> dict[str, str]:
    """Threads that wait spin for a moment and then sleep. OpenMP reads it when it is loaded.

    Spinning for long keeps the processor from the thread that is waited for, where something else runs on the same
    cores: 19 tokens a second instead of 44. Sleeping at once costs more than an adapter's many small products take:
    300 ms a step of eight requests on an idle machine, instead of 150.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    return {} if chosen else {"GOMP_SPINCOUNT": "20000"}
