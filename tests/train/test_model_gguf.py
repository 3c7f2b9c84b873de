"""A whole model as GGUF, in llama.cpp."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_adapter_gguf import PROMPTS, first_logprobs, server_logprobs
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.render.student import embedded_gguf, load_tokenizer
from tutelage.train.model_gguf import convert_model


@pytest.mark.slow
def test_llama_cpp_serves_the_whole_model_as_it_was_trained(student: Path, tmp_path: Path) -> None:
    """Its weights moved, so that what is served cannot be the file that it began as."""
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data *= 1 + 0.03 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "model")
    made = convert_model(tmp_path / "model", embedded_gguf(), tmp_path / "model.gguf")
    assert load_tokenizer(made).encode(PROMPTS[0]) == load_tokenizer(embedded_gguf()).encode(PROMPTS[0])
    tokenizer = AutoTokenizer.from_pretrained(student)
    with EmbeddedEndpoint(made, "{{ messages[0].content }}", parallel=1) as endpoint:
        for prompt in PROMPTS:
            ids = tokenizer.encode(prompt, add_special_tokens=False)
            ours, theirs = first_logprobs(model, ids), server_logprobs(endpoint.url, ids, 0.0)
            best = max(theirs, key=theirs.__getitem__)
            assert (ours.max() - ours[best]).item() < 0.2, prompt  # the same token, but for a near tie
            assert max(abs(ours[token].item() - logprob) for token, logprob in theirs.items()) < 0.5, prompt


def test_matrices_are_rounded_to_8_bits_and_nothing_else_changes(tmp_path: Path) -> None:
    weights = load_weights(tmp_path)
    made = convert_model(tmp_path, write_origin(tmp_path / "origin.gguf"), tmp_path / "model.gguf")
    reader = gguf.GGUFReader(made)
    assert reader.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    stored = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    embedded = weights["model.embed_tokens.weight"].numpy()
    assert np.abs(stored["token_embd.weight"] - embedded).max() <= np.abs(embedded).max() / 240
    np.testing.assert_array_equal(stored["output_norm.weight"], weights["model.norm.weight"].numpy())


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    from transformers import Qwen3Config

    Qwen3Config(hidden_size=64, num_attention_heads=4, num_key_value_heads=2).save_pretrained(folder)
    tensors = {"model.embed_tokens.weight": torch.randn(2, 64), "model.norm.weight": torch.randn(64)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return load_file(folder / "model.safetensors")


def write_origin(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_token_list(["a", "b"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for name, shape in (("token_embd.weight", (2, 64)), ("output_norm.weight", (64,))):
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
