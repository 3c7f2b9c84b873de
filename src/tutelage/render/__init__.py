"""A template's exact tokens: what the serving engine will show the student, and what the student should answer.

`Renderer` (renderer.py) makes a conversation's prompt and row; `template.py` renders as the engine does; `student.py`
finds the student's template and tokenizer.
"""
