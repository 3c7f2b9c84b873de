from tutelage.endpoint.doctor import family_name
from tutelage.endpoint.vllm import student_command, teacher_commands


def test_each_family_gets_its_parsers() -> None:
    for model, tool, reasoning in (
        ("Qwen/Qwen3-30B-A3B", "hermes", "qwen3"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_xml", None),
        ("openai/gpt-oss-20b", "openai", "openai_gptoss"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3_json", None),
    ):
        for command in teacher_commands(model):
            assert f"--tool-call-parser {tool}" in command.line()
            assert (f"--reasoning-parser {reasoning}" in command.line()) == (reasoning is not None)


def test_every_flag_says_why() -> None:
    for command in (*teacher_commands("Qwen/Qwen3-30B-A3B"), student_command("Qwen/Qwen3-4B", "training/adapter")):
        assert all(flag.why for flag in command.flags)


def test_a_models_name_tells_its_family() -> None:
    assert family_name("Qwen/QwQ-32B") == family_name("Qwen/Qwen3-4B") == "qwen"
    assert family_name("scripted-shop-expert") is None
    assert family_name("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B") == "deepseek"
