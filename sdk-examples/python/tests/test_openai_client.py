"""What the official client gets from a live gateway, and what that does to the balance.

Each way for a request to end is one of the package's own results or exceptions, and the ledger
is exact after each: the balance changed by the request's charge, the charge is the metering of
its usage at the published price, and nothing stays reserved.
"""

import asyncio
import concurrent.futures
import contextlib

import openai
import pytest
from account import Account, metered

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a long story about everything that you know."}]


def assert_exact(account, model, before, request_id):
    """The books after one charged request; returns its row."""
    row = account.row(request_id)
    after = account.settled()
    charge = row["charge_nano"]
    assert before["available_nano"] - after["available_nano"] == charge
    assert after["charged_nano"] - before["charged_nano"] == charge
    assert charge == metered(row["usage"], account.price(model))
    return row


@contextlib.contextmanager
def uncharged(account):
    """Whatever happens inside leaves the books as they were."""
    before = account.settled()
    yield
    assert account.settled() == before


def told(usage):
    """Usage as an answer tells it, in the words of the usage list."""
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return usage.prompt_tokens, cached or 0, usage.completion_tokens


def listed(row):
    usage = row["usage"]
    return usage["prompt_tokens"], usage["cached_tokens"], usage["completion_tokens"]


# === Answers ===


def test_whole_answer(client, account, model):
    before = account.settled()
    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
    completion = raw.parse()
    assert completion.choices[0].message.content
    assert completion.choices[0].finish_reason == "stop"
    row = assert_exact(account, model, before, raw.headers["x-request-id"])
    assert (row["outcome"], row["streamed"], row["model"]) == ("completed", False, model)
    assert listed(row) == told(completion.usage)


def stream_all(raw):
    """Text, usage and finish reason of a stream read to its end."""
    text, usage, finish, ids = "", None, None, set()
    for chunk in raw.parse():
        ids.add(chunk.id)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            assert finish is None or choice.finish_reason is None, "two finish reasons"
            finish = choice.finish_reason or finish
    assert len(ids) == 1, "the chunks of one answer have one id"
    return text, usage, finish


def test_stream_without_usage(client, account, model):
    before = account.settled()
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=QUESTION, stream=True
    )
    text, usage, finish = stream_all(raw)
    assert (bool(text), usage, finish) == (True, None, "stop")
    row = assert_exact(account, model, before, raw.headers["x-request-id"])
    assert (row["outcome"], row["streamed"]) == ("completed", True)


def test_stream_with_usage(client, account, model):
    before = account.settled()
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    text, usage, finish = stream_all(raw)
    assert (bool(text), finish) == (True, "stop")
    # When a client sees the end, its balance is already exact: no waiting here.
    after = account.balance()
    assert after["reserved_nano"] == 0
    row = assert_exact(account, model, before, raw.headers["x-request-id"])
    assert listed(row) == told(usage)
    assert before["available_nano"] - after["available_nano"] == row["charge_nano"]


def test_stream_and_whole_answer_agree(client, model):
    settings = {"model": model, "messages": QUESTION, "seed": 7, "temperature": 0}
    whole = client.chat.completions.create(**settings)
    raw = client.chat.completions.with_raw_response.create(stream=True, **settings)
    assert stream_all(raw)[0] == whole.choices[0].message.content


def test_token_limit(client, account, model):
    before = account.settled()
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=STORY, max_completion_tokens=3
    )
    assert raw.parse().choices[0].finish_reason == "length"
    row = assert_exact(account, model, before, raw.headers["x-request-id"])
    assert row["usage"]["completion_tokens"] == 3


def test_async_client(account, model):
    async def ask():
        async with openai.AsyncOpenAI(max_retries=0, timeout=60) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model=model, messages=QUESTION, stream=True
            )
            pieces = [c.choices[0].delta.content or "" async for c in raw.parse() if c.choices]
            return "".join(pieces), raw.headers["x-request-id"]

    before = account.settled()
    text, request_id = asyncio.run(ask())
    assert text
    assert_exact(account, model, before, request_id)


def test_many_at_once(client, account, model):
    def ask(_):
        raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
        raw.parse()
        return raw.headers["x-request-id"]

    before = account.settled()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(ask, range(16)))
    assert len(set(ids)) == len(ids)
    charges = [account.row(request_id)["charge_nano"] for request_id in ids]
    assert before["available_nano"] - account.settled()["available_nano"] == sum(charges)


def test_cancelled_in_the_middle(client, account, model):
    outcomes = []
    # A short answer may be complete before the cancellation arrives; then another one is asked.
    for _ in range(10):
        before = account.settled()
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=STORY, stream=True
        )
        pieces = 0
        with raw.parse() as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    pieces += 1
                    break
        row = assert_exact(account, model, before, raw.headers["x-request-id"])
        assert row["usage"]["completion_tokens"] >= pieces
        outcomes.append(row["outcome"])
        if row["outcome"] == "client_gone":
            return
        assert row["outcome"] == "completed"
    pytest.fail(f"no cancellation arrived in time: {outcomes}")


# === Refusals ===


def assert_error_object(error, status):
    assert error.status_code == status
    assert isinstance(error.body, dict), error.body
    assert error.body["message"] and error.body["type"]
    assert error.request_id


def test_wrong_key(account, model):
    client = openai.OpenAI(api_key="sk-cocoon-wrong", max_retries=0)
    with uncharged(account):
        for ask in (
            lambda: client.chat.completions.create(model=model, messages=QUESTION),
            lambda: client.chat.completions.create(model=model, messages=QUESTION, stream=True),
            lambda: client.models.list(),
        ):
            with pytest.raises(openai.AuthenticationError) as caught:
                ask()
            assert_error_object(caught.value, 401)


def test_empty_balance(account, model, empty_key):
    client = openai.OpenAI(api_key=empty_key, max_retries=0)
    empty = Account(account.base_url, empty_key)
    with uncharged(account), uncharged(empty):
        for stream in (False, True):
            with pytest.raises(openai.APIStatusError) as caught:
                client.chat.completions.create(model=model, messages=QUESTION, stream=stream)
            assert_error_object(caught.value, 402)
    assert empty.balance()["charged_nano"] == 0


def test_unknown_model(client, account):
    with uncharged(account):
        for stream in (False, True):
            with pytest.raises(openai.NotFoundError) as caught:
                client.chat.completions.create(
                    model="no-such-model", messages=QUESTION, stream=stream
                )
            assert_error_object(caught.value, 404)
            assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("no/such/model")


def test_oversized_body(client, account, model):
    content = "x" * (33 * 1024 * 1024)
    with uncharged(account):
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": content}]
            )
        assert_error_object(caught.value, 413)


def test_invalid_request(client, account, model):
    with uncharged(account):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=model, messages="not a list")
        assert_error_object(caught.value, 400)


# === Models, receipts ===


def test_models(client, model):
    listed_model = next(m for m in client.models.list() if m.id == model)
    assert client.models.retrieve(model) == listed_model
    price = listed_model.pricing_nano_per_million
    assert all(isinstance(price[kind], int) for kind in ("prompt", "cached", "completion"))


def test_receipt(client, account, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
    raw.parse()
    assert raw.headers["cocoon-receipt-id"] == raw.headers["x-request-id"]
    assert raw.headers["cocoon-assurance"] in ("hardware", "software")
    receipt = account.receipt(raw.headers["cocoon-receipt-id"])
    assert receipt["assurance"] == raw.headers["cocoon-assurance"]
    assert receipt["sig_worker"] and receipt["sig_gateway"]
