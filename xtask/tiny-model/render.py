"""Dialogue → (text, weight) parts through the chat template that the model ships with."""

import json
import pathlib

import jinja2

TEMPLATE = (pathlib.Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")

# What the model must learn to say counts fully; what it only reads counts a little, which teaches the words.
SPOKEN, READ = 1.0, 0.05


class Renderer:
    def __init__(self):
        self._environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        self._environment.filters["tojson"] = self._tojson
        self._template = self._environment.from_string(TEMPLATE)
        self._separators = (", ", ": ")

    def _tojson(self, value, **_):
        return json.dumps(value, separators=self._separators, ensure_ascii=False)

    def prompt(self, messages, tools):
        return self._template.render(messages=messages, tools=tools, add_generation_prompt=True)

    def parts(self, rng, dialogue):
        """Engines print tool definitions compactly or spaced; both are seen in training."""
        self._separators = rng.choice([(", ", ": "), (", ", ": "), (",", ":")])
        done, parts = "", []
        for index, message in enumerate(dialogue.messages):
            if message["role"] != "assistant":
                continue
            prompt = self.prompt(dialogue.messages[:index], dialogue.tools)
            assert prompt.startswith(done), "the template must extend, never rewrite, an earlier prompt"
            parts.append((prompt[len(done):], READ))
            parts.append((message["content"] + "<|im_end|>\n", SPOKEN))
            done = prompt + message["content"] + "<|im_end|>\n"
        return parts
