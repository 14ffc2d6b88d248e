"""A Telegram bot that answers chats through a Cocoon gateway.

Long polling, so it needs no address of its own. It remembers the last messages of each chat, in memory only, shows an
answer while it is made by editing its message, and logs that something happened, never what was said.
"""

import asyncio
import logging
import os

import openai
from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.enums import ChatType
from aiogram.exceptions import TelegramAPIError
from aiogram.filters import Command, CommandObject, CommandStart
from aiogram.types import BotCommand, Message
from chats import Chats
from reply import Reply

log = logging.getLogger("bot")

# --- Settings ---------------------------------------------------------------

TOKEN = os.environ["TELEGRAM_BOT_TOKEN"]
API_BASE = os.environ.get("TELEGRAM_API_BASE", "https://api.telegram.org")
MODEL = os.environ["COCOON_MODEL"]
# Whoever may see the balance: Telegram user ids, with commas.
OWNERS = {int(name) for name in os.environ.get("BOT_OWNERS", "").split(",") if name}
SYSTEM_PROMPT = os.environ.get("BOT_SYSTEM_PROMPT", "")

ANSWER_TOKENS_MAX = int(os.environ.get("BOT_ANSWER_TOKENS_MAX", "1000"))
# 0 always takes the likeliest words, 1 the model's own mixture.
TEMPERATURE = float(os.environ.get("BOT_TEMPERATURE", "1"))
QUESTION_CHARS_MAX = 4000
# Answers at once, over all chats; more wait, and more than that many updates are not even fetched.
ANSWERS_MAX = 8
UPDATES_MAX = 64
ANSWER_SECONDS_MAX = 300
# Model names shown by /model.
MODELS_MAX = 20

CHAT = "/v1/chat/completions"
COMMANDS = {
    "start": "what this bot is",
    "reset": "forget this chat, and stop answering",
    "model": "show the models, or choose one",
    "balance": "what is left to spend (for the owner)",
}

client = openai.AsyncOpenAI(timeout=60)  # reads OPENAI_BASE_URL and OPENAI_API_KEY
chats = Chats()
answering = asyncio.Semaphore(ANSWERS_MAX)
dispatcher = Dispatcher()
dispatcher.message.filter(F.chat.type == ChatType.PRIVATE)


# --- Words for what can go wrong --------------------------------------------


def apology(error):
    """What a person is told; the log has the rest."""
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "That took too long. Please try again."
    if isinstance(error, openai.APIStatusError):
        if error.status_code == 402:
            return "This bot's balance is used up. Its owner has to top it up."
        if error.status_code in (429, 503):
            wait = error.response.headers.get("retry-after")
            return f"Too many people are asking. Please try again in {wait or 'a few'} seconds."
        if error.code == "context_length_exceeded":
            return "That is more than the model can read at once. Send less, or /reset."
        if error.status_code == 404:
            return "That model is not served any more. Choose another with /model."
    if isinstance(error, openai.APIConnectionError):
        return "The gateway cannot be reached. Please try again later."
    return "Something went wrong. Please try again."


# --- Commands ---------------------------------------------------------------


@dispatcher.message(CommandStart())
async def start(message: Message):
    await message.answer("Hello! Ask me anything.\n" + "\n".join(f"/{name}: {text}" for name, text in COMMANDS.items()))


@dispatcher.message(Command("reset"))
async def reset(message: Message):
    chats.of(message.chat.id).reset()
    await message.answer("Forgotten.")


@dispatcher.message(Command("model"))
async def model(message: Message, command: CommandObject):
    chat = chats.of(message.chat.id)
    try:
        served = await client.models.list()
    except openai.OpenAIError as error:
        log.warning("models: %s", type(error).__name__)
        await message.answer(apology(error))
        return
    # A gateway lists embedding models too; these cannot chat.
    names = [m.id for m in served.data if CHAT in (m.model_extra or {}).get("supported_endpoints", [CHAT])]
    names = names[:MODELS_MAX]
    wanted = (command.args or "").strip()
    if wanted in names:
        chat.model = wanted
        await message.answer(f"From now on: {wanted}")
    elif wanted:
        await message.answer("There is no such model. /model shows them.")
    else:
        lines = [f"{'→ ' if name == (chat.model or MODEL) else '   '}{name}" for name in names]
        await message.answer("\n".join(["/model NAME chooses:", *lines]))


@dispatcher.message(Command("balance"))
async def balance(message: Message):
    if message.from_user is None or message.from_user.id not in OWNERS:
        await message.answer("Only the owner may see that.")
        return
    try:
        account = await client.get("/balance", cast_to=dict[str, object])
    except openai.OpenAIError as error:
        log.warning("balance: %s", type(error).__name__)
        await message.answer(apology(error))
        return
    grams = int(account["available_nano"]) / 1_000_000_000
    await message.answer(f"{grams:.4f} GRAM available")


# --- Questions --------------------------------------------------------------


@dispatcher.message(F.text)
async def question(message: Message):
    chat = chats.of(message.chat.id)
    if len(message.text) > QUESTION_CHARS_MAX:
        await message.answer(f"Please ask in at most {QUESTION_CHARS_MAX} characters.")
    elif not await chat.begin(asyncio.current_task()):
        await message.answer("One question at a time, please. /reset stops the answer.")
    else:
        try:
            await answer(message, chat)
        except asyncio.CancelledError:
            if not chat.was_reset():
                raise  # the program ends
        except TelegramAPIError as error:
            log.warning("telegram: %s", type(error).__name__)
        finally:
            chat.end()


@dispatcher.message()
async def something_else(message: Message):
    await message.answer("I only read text.")


async def answer(message, chat):
    async with Reply(message) as reply:
        await reply.typing()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX), answering:
                await stream(message.text, chat, reply)
        except (openai.OpenAIError, TimeoutError) as error:
            log.warning("answer: %s %s", type(error).__name__, getattr(error, "request_id", None) or "")
            await reply.finish(apology(error))
        else:
            chat.remember(message.text, reply.text)
            await reply.finish()


async def stream(text, chat, reply):
    """Fills the reply. A conversation that has become too long loses its first half, once."""
    try:
        chunks = await ask(text, chat)
    except openai.BadRequestError as error:
        if error.code != "context_length_exceeded" or not chat.shorten():
            raise
        chunks = await ask(text, chat)
    finished = False
    async with chunks:
        async for chunk in chunks:
            if chunk.choices:
                finished = finished or chunk.choices[0].finish_reason is not None
                reply.add(chunk.choices[0].delta.content or "")
    if not finished:
        # A connection that ends early may look like an end; only a reason makes it one.
        raise openai.APIConnectionError(request=chunks.response.request)


async def ask(text, chat):
    system = [{"role": "system", "content": SYSTEM_PROMPT}] if SYSTEM_PROMPT else []
    return await client.chat.completions.create(
        model=chat.model or MODEL,
        messages=[*system, *chat.history, {"role": "user", "content": text}],
        max_completion_tokens=ANSWER_TOKENS_MAX,
        temperature=TEMPERATURE,
        stream=True,
    )


async def main():
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # These would log addresses of requests, which hold the bot's token.
    for name in ("httpx", "httpx2", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    session = AiohttpSession(api=TelegramAPIServer.from_base(API_BASE))
    async with Bot(TOKEN, session=session) as bot:
        await bot.set_my_commands([BotCommand(command=name, description=text) for name, text in COMMANDS.items()])
        await dispatcher.start_polling(bot, tasks_concurrency_limit=UPDATES_MAX, close_bot_session=False)


if __name__ == "__main__":
    asyncio.run(main())
