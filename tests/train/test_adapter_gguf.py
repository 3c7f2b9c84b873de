"""The converted adapter in llama.cpp against the PEFT adapter in Transformers."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from pydantic import JsonValue
from train_samples import tiny, with_random_lora
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.errors import TutelageError
from tutelage.render.student import embedded_gguf
from tutelage.train.adapter_gguf import convert_adapter
from tutelage.train.weights import permute, unpermute

PROMPTS = (
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite one sentence about the sea.<|im_end|>\n<|im_start|>assistant\n",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    'Tool call: {"name": "search_products", "arguments": {"query": "',
)


@pytest.mark.parametrize("options, alpha", [({}, 8.0), ({"use_rslora": True}, 16.0)])  # scales of 8 / 4 and 8 / sqrt(4)
def test_every_tensor_finds_its_place_and_alpha_goes_along(
    family: str, tmp_path: Path, options: dict[str, JsonValue], alpha: float
) -> None:
    model = with_random_lora(tiny(family, "sdpa"), options=options)
    model.get_base_model().config.save_pretrained(tmp_path / "weights")
    model.save_pretrained(tmp_path / "adapter")
    reader = gguf.GGUFReader(convert_adapter(tmp_path / "adapter", tmp_path / "weights", tmp_path / "a.gguf"))
    assert reader.fields["general.architecture"].contents() == family
    assert reader.fields["general.type"].contents() == "adapter"
    assert reader.fields["adapter.lora.alpha"].contents() == alpha
    stored = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    assert len(stored) == 2 * 7 * 2
    layer = model.get_base_model().model.layers[1]
    torch.testing.assert_close(stored["blk.1.ffn_up.weight.lora_b"], layer.mlp.up_proj.lora_B["default"].weight.data)
    query = layer.self_attn.q_proj.lora_B["default"].weight.data
    expected = torch.from_numpy(permute(query.numpy(), 6)) if family == "llama" else query
    torch.testing.assert_close(stored["blk.1.attn_q.weight.lora_b"], expected)


def test_permuting_back_gives_the_matrix() -> None:
    matrix = torch.randn(24, 5).numpy()
    assert (unpermute(permute(matrix, 3), 3) == matrix).all()


def test_what_the_format_cannot_say_is_refused(tmp_path: Path) -> None:
    model = with_random_lora(tiny("llama", "sdpa"))
    model.get_base_model().config.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "use_dora": True}))
    with pytest.raises(TutelageError, match="only plain LoRA"):
        convert_adapter(tmp_path, tmp_path, tmp_path / "a.gguf")


@pytest.mark.slow
def test_llama_cpp_and_transformers_agree_on_the_trained_student(student: Path, tmp_path: Path) -> None:
    """Greedy tokens equal wherever the choice is not a near tie, and log-probabilities close.

    llama.cpp rounds activations to 8 bits in each product, so the base model differs too: its difference is measured
    along with the adapter's, and the adapter's must be of the same size.
    """
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    adapted = with_random_lora(model, rank=16)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.mul_(
                2.0 if "q_proj" in name or "k_proj" in name else 0.3
            )  # so that a wrong order would show
    adapted.save_pretrained(tmp_path / "adapter")
    converted = convert_adapter(tmp_path / "adapter", student, tmp_path / "adapter.gguf")
    tokenizer = AutoTokenizer.from_pretrained(student)
    worst = {}
    with EmbeddedEndpoint(embedded_gguf(), "{{ messages[0].content }}", adapter=converted, parallel=1) as endpoint:
        moved = []
        for prompt in PROMPTS:
            ids = tokenizer.encode(prompt, add_special_tokens=False)
            ours = first_logprobs(adapted, ids)
            with adapted.disable_adapter():
                base = first_logprobs(adapted, ids)
            moved.append((ours - base).abs().max().item())
            for scale, expected in ((0.0, base), (1.0, ours)):
                theirs = server_logprobs(endpoint.url, ids, scale)
                best = max(theirs, key=theirs.__getitem__)
                gap = (expected.max() - expected[best]).item()
                difference = max(abs(expected[token].item() - logprob) for token, logprob in theirs.items())
                worst[scale] = max(worst.get(scale, 0.0), difference)
                assert gap < 0.2, (prompt, scale, gap)  # the same token, but for a near tie
    print(f"largest difference of a log-probability: base {worst[0.0]:.3f}, adapter {worst[1.0]:.3f}; moved {moved}")
    assert min(moved) > 1.0  # the adapter does change the answer
    assert worst[1.0] < max(0.5, 2 * worst[0.0])


def first_logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    return logits.log_softmax(-1)


def server_logprobs(url: str, ids: list[int], scale: float) -> dict[int, float]:
    """The ten most likely next tokens."""
    body = {"prompt": ids, "n_predict": 1, "n_probs": 10, "temperature": 0, "lora": [{"id": 0, "scale": scale}]}
    request = urllib.request.Request(
        url.removesuffix("/v1") + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        first = json.load(answer)["completion_probabilities"][0]
    return {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]}
