"""DPO over trees is DPO over separate rows, and its loss is TRL's."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn import functional
from train_samples import interrupt_at, tiny, unrolled, with_random_lora, write_pairs
from train_settings import CONFIG
from transformers import AutoModelForCausalLM

from tutelage.errors import TutelageError
from tutelage.train.dpo import Dpo, dpo_losses
from tutelage.train.fast import speed_up
from tutelage.train.run import train
from tutelage.train.tree import Row


def pairs(count: int, seed: int = 0) -> list[Row]:
    """Chosen and rejected in turn, of one prompt each; the two answers begin alike."""
    draw = np.random.default_rng(seed)
    rows = []
    for i, chosen in enumerate(unrolled(traces=count, seed=seed, steps=1)):
        first = int(np.flatnonzero(chosen.weights)[0])
        other = np.concatenate([chosen.input_ids[: first + 2], draw.integers(3, 64, 5)])
        weights = (np.arange(len(other)) >= first).astype(np.float32)
        ones = (chosen.weights > 0).astype(np.float32)
        rows += [replace(chosen, trace_id=f"p{i}", weights=ones), Row(other, weights, f"p{i}")]
    return rows


def apart(model: PeftModel, row: Row) -> torch.Tensor:
    """A row's log-probability the plain way."""
    ids = torch.from_numpy(row.input_ids)[None]
    logprobs = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
    return (logprobs.gather(1, ids[0, 1:, None])[:, 0] * torch.from_numpy(row.weights[1:])).sum()


@pytest.mark.parametrize("budget", [10_000, 90])
def test_loss_and_gradients_are_those_of_separate_rows(family: str, budget: int) -> None:
    rows = pairs(5)
    plain, model = with_random_lora(tiny(family, "sdpa")), with_random_lora(tiny(family))
    speed_up(model)
    dpo = Dpo(budget, beta=0.3)
    dpo.begin(model.get_base_model(), rows)
    for adapted in (plain, model):
        torch.manual_seed(3)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data += 0.02 * torch.randn_like(parameter)  # as after some steps
    pieces = dpo.pieces(rows)
    assert (len(pieces) == 1) == (budget == 10_000)
    ours = sum(dpo.loss(model.get_base_model(), piece) for piece in pieces)
    ours.backward()
    theirs = torch.zeros(())
    for i in range(0, len(rows), 2):
        before = dpo.reference[rows[i].trace_id]
        chosen, rejected = (apart(plain, row) - then for row, then in zip(rows[i : i + 2], before, strict=True))
        theirs = theirs - functional.logsigmoid(0.3 * (chosen - rejected))
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        assert (found[name] - grad).norm() <= 1e-4 * grad.norm(), name


def test_the_reference_is_the_student_before_training(family: str) -> None:
    rows = pairs(3)
    model = tiny(family)
    dpo = Dpo(10_000)
    dpo.begin(model, rows)
    plain = tiny(family, "sdpa")
    for i, row in enumerate(rows):
        assert apart(plain, row).item() == pytest.approx(dpo.reference[row.trace_id][i % 2], rel=1e-4)
    (piece,) = dpo.pieces(rows)
    assert dpo.loss(model, piece).item() / dpo.weight(piece) == pytest.approx(np.log(2))


def test_the_loss_is_trls_on_the_same_numbers() -> None:
    """TRL's own method, given log-probabilities in the place of a model's output."""
    from trl import DPOTrainer

    torch.manual_seed(0)
    logps, reference = -5 * torch.rand(8), -5 * torch.rand(8)
    zeros = torch.zeros(8, 2)
    output = SimpleNamespace(
        log_probs=torch.stack([logps / 2, logps / 2], 1), entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
    )
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False),
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x, gather=lambda x: x),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=0.2,
        label_smoothing=0.0,
        _total_train_tokens=0,
        use_weighting=False,
        use_liger_kernel=False,
        _metrics={"eval": defaultdict(list)},
    )
    inputs = {
        "input_ids": torch.zeros(8, 3, dtype=torch.long),
        "attention_mask": torch.ones(8, 3),
        "completion_mask": torch.tensor([[0, 1, 1]] * 8),
        "ref_chosen_logps": reference[:4],
        "ref_rejected_logps": reference[4:],
    }
    theirs = DPOTrainer._compute_loss(trainer, lambda **given: output, inputs, False)
    gained = logps - reference
    assert dpo_losses(gained[:4], gained[4:], 0.2).mean().item() == pytest.approx(float(theirs), rel=1e-6)


def test_training_on_pairs_widens_the_margin_and_resumes(tmp_path: Path) -> None:
    build, rows = tmp_path / "build", pairs(12)
    build.mkdir()
    write_pairs(build / "train-pairs.parquet", rows)
    write_pairs(build / "validation-pairs.parquet", pairs(2, seed=5))
    tiny("llama", "sdpa").save_pretrained(tmp_path / "weights")
    config = CONFIG.model_copy(update={"objective": "dpo", "epochs": 3, "learning_rate": 5e-3})
    result = train(build, tmp_path / "weights", tmp_path / "whole", config)
    assert result.losses[0] == pytest.approx(np.log(2), rel=1e-3)
    assert result.losses[-1] < result.losses[0]
    assert result.tokens_unrolled > result.tokens_tree
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "weights")
    trained = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "weights"), tmp_path / "whole" / "adapter"
    )
    with torch.no_grad():
        gained = [(apart(trained, row) - apart(base, row)).item() for row in rows]
    widened = np.array(gained[::2]) - np.array(gained[1::2])
    assert (widened > 0).all() and widened.mean() > 0.1

    with pytest.raises(KeyboardInterrupt):
        train(build, tmp_path / "weights", tmp_path / "out", config, interrupt_at(4))
    again = train(build, tmp_path / "weights", tmp_path / "out", config)
    assert again.losses == pytest.approx(result.losses, rel=1e-5)
    assert again.eval_losses == pytest.approx(result.eval_losses, rel=1e-5)


def test_pairs_of_a_student_that_cannot_share_are_two_rows_each() -> None:
    separate = Dpo(100, share=False)
    assert [len(piece.trees) for piece in separate.pieces(pairs(2))] == [2, 2]


def test_a_build_without_pairs_says_how_to_get_some(tmp_path: Path) -> None:
    tiny("llama", "sdpa").save_pretrained(tmp_path / "weights")
    for name in ("train", "validation"):
        write_pairs(tmp_path / f"{name}-pairs.parquet", [])
    with pytest.raises(TutelageError, match=r"holds no pairs\. Approve and reject traces of the same tasks"):
        train(tmp_path, tmp_path / "weights", tmp_path / "out", CONFIG.model_copy(update={"objective": "dpo"}))
