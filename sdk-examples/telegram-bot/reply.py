"""An answer in a chat while it grows: one message that is edited, and another where one is not enough.

Telegram takes about one message or edit per second and chat, and 4096 UTF-16 units in a message. So the text is shown
at most every `EDIT_SECONDS`, whatever came in between, and a refusal with `retry_after` is waited for.
"""

import asyncio

from aiogram.enums import ChatAction
from aiogram.exceptions import TelegramAPIError, TelegramRetryAfter

MESSAGE_UNITS_MAX = 4096
EDIT_SECONDS = 1.2
ATTEMPTS_MAX = 5
RETRY_SECONDS_MAX = 60
EMPTY = "(nothing)"


def units(text):
    """Length as Telegram counts it."""
    return len(text.encode("utf-16-le")) // 2


def head(text):
    """The most of a text that one message takes, cut between words where there is one."""
    if units(text) <= MESSAGE_UNITS_MAX:
        return text
    # A character is one unit or two, so a prefix of this many characters is at most half too long.
    low, high = 0, min(len(text), MESSAGE_UNITS_MAX)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if units(text[:middle]) <= MESSAGE_UNITS_MAX else (low, middle - 1)
    space = text.rfind(" ", low // 2, low)
    return text[: space + 1] if space > 0 else text[:low]


class Reply:
    """Used as a context: its editor ends with it."""

    def __init__(self, question):
        self.text = ""
        self._question = question
        # What of the text is in messages that are full, the one that still grows, and what that one shows.
        self._settled = 0
        self._message = None
        self._shown = ""
        self._next = 0.0
        self._news = asyncio.Event()
        self._is_whole = False
        self._editor = None

    async def __aenter__(self):
        self._editor = asyncio.create_task(self._edit())
        return self

    async def __aexit__(self, *_):
        self._editor.cancel()

    async def typing(self):
        try:
            await self._question.bot.send_chat_action(self._question.chat.id, ChatAction.TYPING)
        except TelegramAPIError:
            pass  # an ornament

    def add(self, piece):
        """Raises what kept the editor from going on: then nobody sees what is still to come."""
        if self._editor.done():
            self._editor.result()
        self.text += piece
        self._news.set()

    async def finish(self, note=""):
        """Waits until all of it is shown, with a note below where the answer did not end well."""
        if note:
            self.text = f"{self.text}\n\n{note}" if self.text.strip() else note
        self.text = self.text if self.text.strip() else EMPTY
        self._is_whole = True
        self._news.set()
        await self._editor

    async def _edit(self):
        """Beside the answer, so that what has come is shown even when nothing follows for a while."""
        while self._news.is_set() or not self._is_whole:
            await self._news.wait()
            if self.text[self._settled :].strip() != self._shown:
                await self._pause()
            self._news.clear()
            await self._show()

    async def _show(self):
        while True:
            rest = self.text[self._settled :]  # more may come while it is being shown
            piece = head(rest)
            await self._put(piece.strip())
            if piece == rest:
                return
            self._settled += len(piece)
            self._message, self._shown = None, ""

    async def _put(self, piece):
        if not piece or piece == self._shown:
            return
        for attempt in range(1, ATTEMPTS_MAX + 1):
            await self._pause()
            try:
                if self._message is None:
                    self._message = await self._question.answer(piece)
                else:
                    await self._message.edit_text(piece)
            except TelegramRetryAfter as error:
                if attempt == ATTEMPTS_MAX or error.retry_after > RETRY_SECONDS_MAX:
                    raise
                self._next = asyncio.get_running_loop().time() + error.retry_after
            else:
                self._shown = piece
                self._next = asyncio.get_running_loop().time() + EDIT_SECONDS
                return

    async def _pause(self):
        await asyncio.sleep(max(0.0, self._next - asyncio.get_running_loop().time()))
