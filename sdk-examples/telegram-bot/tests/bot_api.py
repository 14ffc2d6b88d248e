"""A stand-in of Telegram's Bot API: the methods that the bot uses, with the checks and limits that the real one has.

People in it write to the bot and see what a chat shows. Whatever the real server would refuse is refused with its
words, and also kept in `mistakes`, since a bot that is refused for anything but its pace has a bug.
"""

import asyncio
import time

from aiohttp import web

TEXT_UNITS_MAX = 4096
# About one message or edit per second and chat; a little less strict, since a network has jitter too.
PACE_SECONDS = 1.0
POLL_SECONDS_MAX = 50
ACTIONS = {"typing", "upload_photo", "record_video", "upload_document", "choose_sticker"}
PARAMETERS = {
    "getMe": set(),
    "setMyCommands": {"commands", "scope", "language_code"},
    "getUpdates": {"offset", "limit", "timeout", "allowed_updates"},
    "sendMessage": {"chat_id", "text", "parse_mode", "entities", "reply_markup", "disable_notification"},
    "editMessageText": {"chat_id", "message_id", "text", "parse_mode", "entities", "reply_markup"},
    "sendChatAction": {"chat_id", "action"},
}


class Refusal(Exception):
    def __init__(self, code, description, retry_after=None):
        self.code, self.description, self.retry_after = code, description, retry_after


class Chat:
    def __init__(self, person):
        self.person = person
        # Of the bot, by number: each a list of the texts that the message has had.
        self.messages = {}
        self.last = 0.0
        # Times of all attempts to send or edit, and how many were told to wait.
        self.sent = []
        self.paced = 0

    def shown(self):
        """What the bot's messages say now, oldest first."""
        return [versions[-1] for _, versions in sorted(self.messages.items())]


class BotApi:
    def __init__(self, token):
        self.token = token
        self.chats = {}
        self.updates = []
        self.mistakes = []
        self.calls = []
        self.busy_chats = set()
        self._numbers = 0
        self._polling = False
        self._news = asyncio.Condition()

    def application(self):
        application = web.Application()
        application.router.add_route("*", "/bot{token}/{method}", self._handle)
        return application

    # --- People ---

    async def write(self, person, text=None, **content):
        """A person writes to the bot; returns the chat."""
        chat = self.chats.setdefault(person, Chat(person))
        message = self._message(chat, {"id": person, "is_bot": False, "first_name": f"Person {person}"})
        message |= {"text": text} if text is not None else content
        if text is not None and text.startswith("/"):
            length = len(text.split()[0])
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
        self._numbers += 1
        self.updates.append({"update_id": self._numbers, "message": message})
        async with self._news:
            self._news.notify_all()
        return chat

    def be_busy(self, person):
        """The next message or edit in this chat is told to wait for a second."""
        self.busy_chats.add(person)

    # --- Methods ---

    async def _handle(self, request):
        try:
            result = await self._call(request)
            return web.json_response({"ok": True, "result": result})
        except Refusal as refusal:
            body = {"ok": False, "error_code": refusal.code, "description": refusal.description}
            if refusal.retry_after is not None:
                body["parameters"] = {"retry_after": refusal.retry_after}
            else:
                self.mistakes.append(f"{request.match_info['method']}: {refusal.description}")
            return web.json_response(body, status=refusal.code)

    async def _call(self, request):
        method = request.match_info["method"]
        if request.match_info["token"] != self.token:
            raise Refusal(401, "Unauthorized")
        if method not in PARAMETERS:
            raise Refusal(404, "Not Found")
        form = dict(await request.post())
        if unknown := set(form) - PARAMETERS[method]:
            self.mistakes.append(f"{method}: unknown parameters {sorted(unknown)}")
        self.calls.append((method, time.monotonic()))
        return await getattr(self, f"_{method}")(form)

    async def _getMe(self, _):
        return {
            "id": 1,
            "is_bot": True,
            "first_name": "Cocoon",
            "username": "cocoon_bot",
            "can_join_groups": False,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
        }

    async def _setMyCommands(self, form):
        if "commands" not in form:
            raise Refusal(400, "Bad Request: can't parse BotCommand: Field \"commands\" must be of type Array")
        return True

    async def _getUpdates(self, form):
        if self._polling:
            text = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
            raise Refusal(409, text)
        self._polling = True
        try:
            offset = int(form.get("offset", 0))
            wait = min(int(form.get("timeout", 0)), POLL_SECONDS_MAX)
            # What was asked beyond is taken for handled.
            self.updates = [update for update in self.updates if update["update_id"] >= offset]
            async with self._news:
                try:
                    await asyncio.wait_for(self._news.wait_for(lambda: self.updates), wait)
                except TimeoutError:
                    return []
            return self.updates[: int(form.get("limit", 100))]
        finally:
            self._polling = False

    async def _sendMessage(self, form):
        chat, text = self._chat(form), self._text(form)
        self._pace(chat)
        message = self._message(chat, await self._getMe(form))
        chat.messages[message["message_id"]] = [text]
        return message | {"text": text}

    async def _editMessageText(self, form):
        chat, text = self._chat(form), self._text(form)
        number = int(form.get("message_id", 0))
        if number not in chat.messages:
            raise Refusal(400, "Bad Request: message to edit not found")
        if chat.messages[number][-1] == text:
            raise Refusal(400, "Bad Request: message is not modified: specified new message content is the same")
        self._pace(chat)
        chat.messages[number].append(text)
        return self._message(chat, await self._getMe(form)) | {"message_id": number, "text": text}

    async def _sendChatAction(self, form):
        self._chat(form)
        if form.get("action") not in ACTIONS:
            raise Refusal(400, "Bad Request: wrong parameter action in request")
        return True

    # --- Rules ---

    def _chat(self, form):
        chat = self.chats.get(int(form.get("chat_id", 0)))
        if chat is None:
            raise Refusal(400, "Bad Request: chat not found")
        return chat

    def _text(self, form):
        # The server drops spaces around a text.
        text = form.get("text", "").strip()
        if not text:
            raise Refusal(400, "Bad Request: message text is empty")
        if len(text.encode("utf-16-le")) // 2 > TEXT_UNITS_MAX:
            raise Refusal(400, "Bad Request: message is too long")
        if form.get("parse_mode", "HTML") not in ("HTML", "Markdown", "MarkdownV2"):
            raise Refusal(400, "Bad Request: unsupported parse_mode")
        return text

    def _pace(self, chat):
        now = time.monotonic()
        chat.sent.append(now)
        if chat.person in self.busy_chats:
            self.busy_chats.remove(chat.person)
            chat.paced += 1
            raise Refusal(429, "Too Many Requests: retry after 1", retry_after=1)
        if chat.messages and now - chat.last < PACE_SECONDS:
            self.mistakes.append(f"{now - chat.last:.2f} s after the last message or edit of this chat")
        chat.last = now

    def _message(self, chat, sender):
        self._numbers += 1
        return {
            "message_id": self._numbers,
            "date": int(time.time()),
            "chat": {"id": chat.person, "type": "private", "first_name": f"Person {chat.person}"},
            "from": sender,
        }
