"""`import tutelage` offers the stages as functions."""

import tutelage


def test_every_public_name_is_there_and_no_stage_hides_another() -> None:
    for name in tutelage.__all__:
        assert callable(getattr(tutelage, name)), name
    assert callable(tutelage.collect_traces)  # still, with every stage imported
