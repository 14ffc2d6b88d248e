"""The bot as a person would run it, between a stand-in of Telegram and a live gateway."""

import asyncio
import contextlib
import json
import os
import pathlib
import sys
import time

from aiohttp import web
from bot_api import PACE_SECONDS, BotApi

FOLDER = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(FOLDER))
import chats  # noqa: E402 the bot's own modules
import reply  # noqa: E402

TOKEN = "123456:stand-in"
WAIT_SECONDS_MAX = 60
OWNER = 1000


@contextlib.asynccontextmanager
async def serve(application):
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


async def with_bot(api, scenarios, settings):
    """Starts the bot, plays all scenarios at once, each in a chat of its own, and looks at what is left behind."""
    async with serve(api.application()) as base:
        telegram = {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_API_BASE": base, "BOT_OWNERS": str(OWNER)}
        # What the model knows, it then says every time.
        telegram["BOT_TEMPERATURE"] = "0"
        bot = await asyncio.create_subprocess_exec(
            sys.executable,
            FOLDER / "bot.py",
            env=os.environ | telegram | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        log = asyncio.create_task(bot.stdout.read())
        try:
            await until(lambda: "getUpdates" in [method for method, _ in api.calls])
            played = [scenario(api, OWNER + 1 + n) for n, scenario in enumerate(scenarios)]
            results = await asyncio.gather(*played, return_exceptions=True)
            bot.terminate()
            assert await asyncio.wait_for(bot.wait(), 15) == 0, "SIGTERM is a clean end"
        finally:
            with contextlib.suppress(ProcessLookupError):
                bot.kill()
            await bot.wait()
        text = (await log).decode()
    failed = {s.__name__: r for s, r in zip(scenarios, results, strict=True) if r is not None}
    assert not failed, f"{failed}\n{text}"
    assert api.mistakes == []
    check_log(text, api)


def check_log(log, api):
    """Nothing that a person or the bot wrote, and no secret, is in the log."""
    assert TOKEN not in log and os.environ["OPENAI_API_KEY"] not in log
    texts = [text for chat in api.chats.values() for versions in chat.messages.values() for text in versions]
    texts += ["capital of France", "My name is"]
    assert [text for text in texts if len(text) > 4 and text in log] == []


async def until(condition):
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)
    return found


async def says(chat, *texts):
    """Waits until the bot's last messages are these."""
    try:
        await until(lambda: chat.shown()[-len(texts) :] == list(texts))
    except AssertionError:
        raise AssertionError(f"expected {texts}, the chat shows {chat.shown()}") from None


async def exchange(api, person, text, *expected):
    chat = await api.write(person, text)
    await says(chat, *expected)
    # People read before they write.
    await asyncio.sleep(PACE_SECONDS)
    return chat


# === With the live gateway ===


async def answers_and_remembers(api, person):
    chat = await api.write(person, "/start")
    await until(lambda: "Ask me anything" in " ".join(chat.shown()))
    await asyncio.sleep(PACE_SECONDS)
    await exchange(api, person, "What is the capital of France?", "The capital of France is Paris.")
    assert "sendChatAction" in [method for method, _ in api.calls]
    await exchange(api, person, "My name is Ada.", "Nice to meet you, Ada!")
    await exchange(api, person, "What is my name?", "Your name is Ada.")
    await exchange(api, person, "/reset", "Forgotten.")
    await api.write(person, "What is my name?")
    await until(lambda: chat.shown()[-1] != "Forgotten.")
    assert chat.shown()[-1] != "Your name is Ada."


async def shows_and_chooses_models(api, person):
    model = os.environ["COCOON_MODEL"]
    chat = await api.write(person, "/model")
    await until(lambda: f"→ {model}" in " ".join(chat.shown()))
    assert os.environ["COCOON_EMBEDDING_MODEL"] not in chat.shown()[-1]
    await asyncio.sleep(PACE_SECONDS)
    await exchange(api, person, f"/model {model}", f"From now on: {model}")
    await exchange(api, person, "/model none", "There is no such model. /model shows them.")


async def tells_only_the_owner_the_balance(api, person):
    await exchange(api, person, "/balance", "Only the owner may see that.")
    chat = await api.write(OWNER, "/balance")
    await until(lambda: chat.shown() and chat.shown()[-1].endswith("GRAM available"))


async def reads_only_text_of_some_length(api, person):
    chat = await api.write(person, dice={"emoji": "🎲", "value": 3})
    await says(chat, "I only read text.")
    await asyncio.sleep(PACE_SECONDS)
    await exchange(api, person, "x" * 4001, "Please ask in at most 4000 characters.")


async def answers_a_question(api, person):
    number = person % 10
    await exchange(api, person, f"What is {number} + 1?", f"{number} + 1 = {number + 1}")


async def has_no_funds(api, person):
    await exchange(api, person, "Hello!", "This bot's balance is used up. Its owner has to top it up.")


def test_live():
    scenarios = [
        answers_and_remembers,
        shows_and_chooses_models,
        tells_only_the_owner_the_balance,
        reads_only_text_of_some_length,
    ]
    # More chats than are answered at once.
    scenarios += [answers_a_question] * 12

    async def run():
        poor = {"OPENAI_API_KEY": os.environ["COCOON_EMPTY_KEY"]}
        async with asyncio.TaskGroup() as group:
            group.create_task(with_bot(BotApi(TOKEN), scenarios, {}))
            group.create_task(with_bot(BotApi(TOKEN), [has_no_funds], poor))

    asyncio.run(run())


# === With a gateway that has trouble ===


def chunk(text=None, finish=None):
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n".encode()


END = chunk(finish="stop") + b"data: [DONE]\n\n"
LOST = b'data: {"error":{"message":"no","type":"server_error","param":null,"code":"worker_lost"}}\n\n'
LONG = "word 🙂 " * 1500


class Shown(str):
    """A place in a stream: it goes on when the chat shows this text."""


# What the gateway answers to each question: a status, or what a stream consists of: texts, places, frames.
ANSWERS = {
    "slow": ["One ", Shown("One"), "two ", Shown("One two"), "three.", END],
    "busy": ["One two three four.", END],
    "long": [LONG, END],
    "endless": ["One ", Shown("never")],
    "after": ["three.", END],
    "empty": [END],
    "lost": ["Half an answer", LOST],
    "cut": ["Half an answer"],
    "404": 404,
    "429": 429,
    "500": 500,
    "503": 503,
}
WRONG = {
    "404": "That model is not served any more. Choose another with /model.",
    "429": "Too many people are asking. Please try again in 7 seconds.",
    "503": "Too many people are asking. Please try again in 7 seconds.",
    "500": "Something went wrong. Please try again.",
    "lost": "Half an answer\n\nSomething went wrong. Please try again.",
    "cut": "Half an answer\n\nThe gateway cannot be reached. Please try again later.",
    "empty": "(nothing)",
}


class Gateway:
    """Answers questions of the form `NAME PERSON`."""

    def __init__(self, api):
        self.api = api
        # Names of streams that the bot left.
        self.left = set()

    def application(self):
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._complete)
        return application

    async def _complete(self, request):
        name, person = (await request.json())["messages"][-1]["content"].split()
        answer = ANSWERS[name]
        if isinstance(answer, int):
            error = {"error": {"message": "no", "type": "error", "param": None, "code": None}}
            return web.json_response(error, status=answer, headers={"retry-after": "7", "x-should-retry": "false"})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in answer:
            if isinstance(part, Shown):
                chat = self.api.chats[int(person)]
                await until(lambda: chat.shown()[-1:] == [part] or request.transport is None)  # noqa: B023
                if request.transport is None:
                    self.left.add(name)
                    return response
            else:
                await response.write(chunk(part) if isinstance(part, str) else part)
        await response.write_eof()
        return response


async def shows_an_answer_while_it_is_made(api, person):
    chat = await exchange(api, person, f"slow {person}", "One two three.")
    assert chat.messages[min(chat.messages)] == ["One", "One two", "One two three."]


async def waits_when_telegram_says_so(api, person):
    api.be_busy(person)
    chat = await exchange(api, person, f"busy {person}", "One two three four.")
    assert chat.paced == 1
    assert chat.sent[1] - chat.sent[0] >= 1, "retry_after is a second"


async def splits_a_long_answer(api, person):
    chat = await api.write(person, f"long {person}")
    await until(lambda: " ".join(chat.shown()).split() == LONG.split())
    assert len(chat.messages) == 3


async def gives_one_answer_at_a_time(api, person):
    chat = await exchange(api, person, f"endless {person}", "One")
    await exchange(api, person, f"after {person}", "One question at a time, please. /reset stops the answer.")
    await exchange(api, person, "/reset", "Forgotten.")
    await exchange(api, person, f"after {person}", "three.")
    assert chat.shown()[0] == "One"


def says_what_is_wrong(name):
    async def scenario(api, person):
        await exchange(api, person, f"{name} {person}", WRONG[name])

    scenario.__name__ = f"says what is wrong: {name}"
    return scenario


def test_trouble():
    scenarios = [
        shows_an_answer_while_it_is_made,
        waits_when_telegram_says_so,
        splits_a_long_answer,
        gives_one_answer_at_a_time,
        *[says_what_is_wrong(name) for name in WRONG],
    ]

    async def run():
        api = BotApi(TOKEN)
        gateway = Gateway(api)
        async with serve(gateway.application()) as address:
            await with_bot(api, scenarios, {"OPENAI_BASE_URL": f"{address}/v1"})
        assert gateway.left == {"endless"}, "a reset leaves the stream, and so stops the worker"

    asyncio.run(run())


# === Pieces ===


def test_messages_are_cut_where_telegram_would_refuse_them():
    assert reply.head("a" * 4096) == "a" * 4096
    assert reply.head("a" * 4097) == "a" * 4096
    assert reply.head("🙂" * 3000) == "🙂" * 2048
    assert reply.head("a" * 4000 + " " + "b" * 200) == "a" * 4000 + " "
    text, pieces = "🙂 word " * 3000, []
    while text:
        pieces.append(reply.head(text))
        text = text[len(pieces[-1]) :]
    assert "".join(pieces) == "🙂 word " * 3000
    assert max(reply.units(piece) for piece in pieces) <= reply.MESSAGE_UNITS_MAX


def test_history_is_bounded():
    known = chats.Chats()
    chat = known.of(1)
    for n in range(100):
        chat.remember(f"question {n}", "answer")
    assert len(chat.history) == chats.MESSAGES_MAX
    assert chat.history[0]["content"] == f"question {100 - chats.MESSAGES_MAX // 2}"
    chat.remember("x" * chats.CHARS_MAX, "y")
    assert chat.history == [], "one exchange that is too long is not kept either"
    for n in range(3):
        chat.remember(str(n), "answer")
    assert chat.shorten() and [m["content"] for m in chat.history] == ["2", "answer"]
    assert chat.shorten() and not chat.shorten()
    for other in range(2, chats.CHATS_MAX + 2):
        known.of(other)
    assert known.of(1) is not chat
