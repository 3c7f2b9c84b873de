"""OpenAI-style endpoints: a client for any of them, the embedded one, and what `tutelage doctor` checks of them.

`client.ChatEndpoint` makes one model call; `embedded.EmbeddedEndpoint` serves a GGUF file from a process of its own;
`services.start_services` runs the processes that a project names; `vllm` writes the commands for a GPU.
"""
