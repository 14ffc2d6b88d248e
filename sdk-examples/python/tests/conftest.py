"""The live stack under test, known only by the environment that an application would have."""

import os

import pytest
from account import Account
from openai import OpenAI


@pytest.fixture(scope="session")
def model():
    return os.environ["COCOON_MODEL"]


@pytest.fixture(scope="session")
def client():
    # A retry would be a second request with a second charge, and hide the first one's end.
    return OpenAI(max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def account():
    return Account(os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"])


@pytest.fixture(scope="session")
def empty_key():
    return os.environ["COCOON_EMPTY_KEY"]
