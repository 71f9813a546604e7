"""The one error shape."""

import pickle

import pytest

from bert_mobile import errors
from bert_mobile.errors import (
    ArtifactError,
    BertMobileError,
    InputError,
    MissingExtraError,
    RunError,
)


class Metadata:
    """Stands for the installed package's metadata."""

    def get_all(self, _name):
        return ["train", "export"]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(errors, "metadata", lambda _name: Metadata())


@pytest.mark.parametrize(("kind", "code"), [(InputError, 2), (ArtifactError, 2), (RunError, 1)])
def test_message_hint_and_exit_code_survive_a_process_boundary(kind, code):
    error = pickle.loads(pickle.dumps(kind("found, expected", hint="do this")))
    assert type(error) is kind
    assert isinstance(error, BertMobileError)
    assert (str(error), error.message, error.hint) == (
        "found, expected",
        "found, expected",
        "do this",
    )
    assert error.exit_code == code


def test_an_error_without_a_hint_cannot_be_made():
    with pytest.raises(TypeError, match="hint"):
        InputError("found, expected")


def test_a_missing_extra_names_the_command_that_installs_it():
    error = pickle.loads(pickle.dumps(MissingExtraError("torch", "train")))
    assert type(error) is MissingExtraError
    assert error.message == "this needs the Python package 'torch', which is not installed"
    assert error.hint == 'pip install "bert-mobile[train]"'
    assert error.exit_code == 2


def test_an_extra_that_the_package_does_not_have_is_our_own_mistake():
    with pytest.raises(LookupError, match="no extra 'trian'"):
        MissingExtraError("torch", "trian")
