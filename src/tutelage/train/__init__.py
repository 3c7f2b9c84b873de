"""Train the student's adapters, or all of it, computing what rows share once.

    tree.py          token rows -> prefix tree; microbatches
    steps.py         which rows make up each optimizer step; several datasets
    attention.py     attention over a tree, branch by branch, for any Transformers decoder
    flex.py          the same on a GPU, by FlexAttention
    hybrid.py        gated delta layers over a tree (Qwen3.5)
    sharing.py       whether a student can be run over trees, tried before training
    loss.py          log-probabilities of the targets, without all logits; head.py: what makes logits
    fast.py          leaner forms of LoRA and MLP modules
    lora.py          adapters, fresh or gone on from
    student.py       the student as it is trained
    objectives.py    what is learnt: sft.py imitates rows, dpo.py prefers one of a pair
    trainer.py       the Hugging Face Trainer whose batch is a step's trees
    setup.py         it with its arguments; progress.py: how far it is
    checkpoints.py   what the training in a folder is of, and where it stopped
    processes.py     several processes that train together
    shards.py        a student whose layers are divided over them
    planner.py       memory and time, before a training starts
    run.py           `train`: a build's rows -> adapter, losses, TensorBoard
    trained.py       the folder that a training leaves
    stage.py         the same for a project
    weights.py, adapter_gguf.py, model_gguf.py   from and to llama.cpp's files

The words and the reasons: design.md, "Computing shared prefixes once".
"""

from tutelage.train.stage import TrainingPlan, plan_training, run_training, train_config, with_train

__all__ = ["TrainingPlan", "plan_training", "run_training", "train_config", "with_train"]
