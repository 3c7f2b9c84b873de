"""Train the student's adapters, computing what rows share once.

    tree.py          token rows -> prefix tree; steps and microbatches
    attention.py     attention over a tree, branch by branch, for any Transformers decoder
    hybrid.py        gated delta layers over a tree (Qwen3.5)
    sharing.py       whether a student can be run over trees, tried before training
    loss.py          log-probabilities of the targets, without all logits
    fast.py          leaner forms of LoRA and MLP modules
    sft.py           the Hugging Face Trainer whose batch is a step's trees
    processes.py     several processes that train together
    planner.py       memory and time, before a training starts
    run.py           `train`: a build's rows -> adapter, losses, TensorBoard
    stage.py         the same for a project
    weights.py, adapter_gguf.py   from and to llama.cpp's files

The words and the reasons: design.md, "Computing shared prefixes once".
"""

from tutelage.train.stage import TrainingPlan, plan_training, run_training

__all__ = ["TrainingPlan", "plan_training", "run_training"]
