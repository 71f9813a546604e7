"""Settings of benchmarks that take a second."""

import pytest

from bert_mobile.evaluate.glue.settings import GlueSettings


def quick(data, model, **changes):
    """Return settings of quick runs, with changes."""
    usual = {
        "data": str(data),
        "model": str(model),
        "tasks": ("cola",),
        "learning_rates": (2e-3,),
        "seeds": (1,),
        "epochs": 2,
        "batch_size": 16,
        "precision": "fp32",
    }
    return GlueSettings(**usual | changes)


@pytest.fixture(scope="package", autouse=True)
def no_pictures():
    """Spare the seconds that a picture of every run takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bert_mobile.train.finetune.command.draw_curve", lambda *_: None)
        patch.setattr("bert_mobile.tasks.reports.draw", lambda *_: None)
        yield


@pytest.fixture
def options(glue_data, tiny_checkpoint):
    """Return a function that makes settings of quick runs, with changes."""
    usual = {"data": glue_data, "model": tiny_checkpoint}
    return lambda **changes: quick(**usual | changes)
