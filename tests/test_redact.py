from tutelage.redact import note_named_secrets, redact


def test_only_values_whose_names_say_that_they_are_secret_are_blotted_out() -> None:
    note_named_secrets({"AUTHOR": "Ada Lovelace", "KEYWORDS": "garden", "TOKENIZER": "cl100k"})
    plain = "Ada Lovelace wrote of a garden in cl100k"
    assert redact(plain) == plain
    note_named_secrets({"Authorization": "Bearer sesame-1", "GITHUB_TOKEN": "sesame-2"}, "http://x?api_key=sesame-3")
    assert redact("sesame-1 sesame-2 sesame-3") == "… … …"
