"""The embedded endpoint's own process: `python -m tutelage.endpoint.embedded_process`.

It reads EmbeddedSettings as one line from standard input, writes `{"url": …}` to standard output once the server is
ready, and ends when standard input closes. llama.cpp's threads do not end by themselves, hence `os._exit`.
"""

import json
import os
import sys
import threading

from tutelage.endpoint.embedded import EmbeddedSettings
from tutelage.endpoint.processes import end_with_parent

PROMPT_CACHE_MIB = 256  # memory for prompts whose slot went to another request


def main() -> None:
    settings = EmbeddedSettings.model_validate_json(sys.stdin.readline())
    end_with_parent()  # also while the model loads
    import xllamacpp

    try:
        server = xllamacpp.Server(_parameters(settings))
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    print(json.dumps({"url": server.listening_address}), flush=True)
    threading.Event().wait()


def _parameters(settings: EmbeddedSettings):  # type: ignore[no-untyped-def]  # xllamacpp has no types
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(settings.gguf)
    params.model_alias = {settings.model_name}
    params.n_ctx = settings.context * settings.parallel  # shared out evenly among the slots
    params.n_parallel = settings.parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.hostnames, params.port = [settings.host], settings.port
    params.use_jinja, params.chat_template = True, settings.template
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_DEEPSEEK
    params.cont_batching, params.ctx_shift = True, False
    params.cache_prompt, params.cache_ram_mib = True, PROMPT_CACHE_MIB
    params.fit_params = False  # the context is what the project says, not what some memory allows
    params.slot_save_path = f"{settings.slots}/"
    params.ui = False
    if settings.adapter:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = str(settings.adapter), 1.0
        params.lora_adapters = [adapter]
    return params


if __name__ == "__main__":
    main()
