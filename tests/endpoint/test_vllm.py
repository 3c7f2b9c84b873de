from tutelage.endpoint.doctor import family_name
from tutelage.endpoint.vllm import student_command, teacher_commands

STUDENT = student_command(
    "Qwen/Qwen3-4B",
    "training/adapter",
    chat_format="qwen3",
    chat_template="template.jinja",
    template_fields={"enable_thinking": True},
)


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
    for command in (*teacher_commands("Qwen/Qwen3-30B-A3B"), STUDENT):
        assert all(flag.why for flag in command.flags)


def test_a_models_name_tells_its_family() -> None:
    assert family_name("Qwen/QwQ-32B") == family_name("Qwen/Qwen3-4B") == "qwen"
    assert family_name("scripted-shop-expert") is None
    assert family_name("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B") == "deepseek"


def test_the_student_is_asked_in_the_format_that_it_was_trained_in_whatever_its_base() -> None:
    assert "--chat-template template.jinja" in STUDENT.line()
    assert "--tool-call-parser hermes" in STUDENT.line()
    assert "--reasoning-parser qwen3" in STUDENT.line()
    assert """--default-chat-template-kwargs '{"enable_thinking": true}'""" in STUDENT.line()
