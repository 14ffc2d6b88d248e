"""Scripted conversations of one client: each proves that some features work, and says so in a line of JSON.

A runner registers functions with the features that they show, and `main` runs those that are named on the command line,
or all. One line per feature goes to the standard output:

    {"client": "openai-python", "version": "3.54.0", "feature": "chat.plain", "passed": true, "seconds": 0.1}

A failure's line also has `error`; its traceback goes to the other output. The exit code is 1 if anything failed.
"""

import asyncio
import inspect
import json
import os
import re
import sys
import time
import traceback

from account import Account

CONVERSATION_SECONDS_MAX = 60
# From here down to a runner's own lines; what the client does below them is noise.
TRACEBACK_FRAMES_MAX = 5
# A short answer may be complete before its cancellation arrives; then another one is asked.
CANCEL_ATTEMPTS_MAX = 10

MODEL = os.environ["COCOON_MODEL"]
EMBEDDING_MODEL = os.environ.get("COCOON_EMBEDDING_MODEL", "")
ACCOUNT = Account(os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"])

CAPITAL = "What is the capital of France?"
STORY = "Tell me a long story."
PERSON = "Give me a person as JSON."
WEATHER = "What is the weather in Paris?"
WEATHER_TWICE = "What is the weather in Paris and Rome?"
WEATHER_RESULT = json.dumps({"temperature": 21, "sky": "sunny"})
WEATHER_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
PERSON_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "city": {"type": "string"},
    },
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}


class Conversations:
    def __init__(self, client, version):
        self.client = client
        self.version = version
        self.registered = []

    def shows(self, *features):
        """Registers a conversation, plain or async, that shows these features when it returns."""

        def register(function):
            self.registered.append((features, function))
            return function

        return register

    def main(self):
        chosen = sys.argv[1:]
        failed = False
        for features, function in self.registered:
            if chosen and not any(feature.startswith(tuple(chosen)) for feature in features):
                continue
            start, error = time.monotonic(), None
            try:
                run(function)
            except Exception as caught:  # noqa: BLE001 whatever it is, it is the result
                traceback.print_exc(limit=TRACEBACK_FRAMES_MAX)
                error = f"{type(caught).__name__}: {caught}"[:500]
                failed = True
            for feature in features:
                line = {"client": self.client, "version": self.version, "feature": feature}
                line |= {"passed": error is None, "seconds": round(time.monotonic() - start, 3)}
                print(json.dumps(line | ({"error": error} if error else {})), flush=True)
        sys.exit(1 if failed else 0)


def run(function):
    if inspect.iscoroutinefunction(function):
        asyncio.run(asyncio.wait_for(function(), CONVERSATION_SECONDS_MAX))
    else:
        function()


def check_person(person):
    assert set(person) == {"name", "age", "city"}, person
    assert type(person["age"]) is int, person
    assert isinstance(person["name"], str) and isinstance(person["city"], str), person


def check_weather(answer):
    """The model has read the result; reading the number right is beyond a model of this size."""
    assert re.fullmatch(r"It is -?\d+ degrees and sunny in Paris\.", answer), answer


def check_usage(prompt, completion, total):
    assert prompt > 0 and completion > 0 and total == prompt + completion, (prompt, completion, total)


def check_cancelled(ask):
    """`ask` starts an answer and leaves it in its middle; the worker must stop, and only its work be charged."""
    outcomes = []
    for _ in range(CANCEL_ATTEMPTS_MAX):
        before = ACCOUNT.settled()
        ask()
        after = ACCOUNT.settled()
        row = ACCOUNT.get("/usage?limit=1")["data"][0]
        assert before["available_nano"] - after["available_nano"] == row["charge_nano"], row
        outcomes.append(row["outcome"])
        if row["outcome"] == "client_gone":
            return
        assert row["outcome"] == "completed", row
    raise AssertionError(f"no cancellation arrived in time: {outcomes}")
