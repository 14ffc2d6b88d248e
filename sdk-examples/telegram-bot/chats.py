"""What the bot knows of each chat: its last messages, its model, and whether an answer is on its way."""

import asyncio
import collections
import contextlib

# The chats that are remembered; the one that was silent the longest is forgotten first.
CHATS_MAX = 10_000
# Per chat; the model's own limit may be reached earlier.
MESSAGES_MAX = 20
CHARS_MAX = 16_000
# Whoever has read an answer's last word may write before its end has come.
GRACE_SECONDS = 3


class Chat:
    def __init__(self):
        self.history = []
        self.model = None
        self._task = None
        self._was_reset = False
        self._is_free = asyncio.Event()
        self._is_free.set()

    async def begin(self, task):
        """False while another answer is on its way, and stays so."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_free.wait(), GRACE_SECONDS)
        if self._task is not None:
            return False
        self._task, self._was_reset = task, False
        self._is_free.clear()
        return True

    def end(self):
        self._task = None
        self._is_free.set()

    def reset(self):
        """Forgets, and stops the answer that is on its way: the gateway then stops too, and charges what was made."""
        self.history = []
        if self._task is not None:
            self._was_reset = True
            self._task.cancel()

    def was_reset(self):
        return self._was_reset

    def remember(self, question, answer):
        self.history += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        while len(self.history) > MESSAGES_MAX or sum(len(m["content"]) for m in self.history) > CHARS_MAX:
            del self.history[:2]

    def shorten(self):
        """Drops the first half, question and answer together; False where there is nothing to drop."""
        pairs = len(self.history) // 2
        del self.history[: 2 * ((pairs + 1) // 2)]
        return pairs > 0


class Chats:
    def __init__(self):
        self._chats = collections.OrderedDict()

    def of(self, chat_id):
        chat = self._chats.setdefault(chat_id, Chat())
        self._chats.move_to_end(chat_id)
        while len(self._chats) > CHATS_MAX:
            self._chats.popitem(last=False)
        return chat
