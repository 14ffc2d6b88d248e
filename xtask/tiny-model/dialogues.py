"""Synthetic dialogues for the demo model.

Every sentence is made here, so the model carries no third-party text. `sample(rng)` returns one Dialogue:
messages in the OpenAI shape, whose assistant turns are what the model learns to say.
Negative samples matter as much as positive ones: tools that do not fit the question, and questions outside
the model's small world, which it answers with a refusal instead of inventing something.
"""

import json
import random
from dataclasses import dataclass, field

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Egypt": "Cairo", "Kenya": "Nairobi",
    "Canada": "Ottawa", "Brazil": "Brasilia", "Peru": "Lima", "Chile": "Santiago", "Norway": "Oslo",
    "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen", "Poland": "Warsaw",
    "Austria": "Vienna", "Greece": "Athens", "Turkey": "Ankara", "Cuba": "Havana", "Ireland": "Dublin",
    "Hungary": "Budapest",
}
CITIES = list(CAPITALS.values()) + [
    "Boston", "Chicago", "Seattle", "Denver", "Milan", "Munich", "Osaka", "Zurich", "Geneva", "Bergen",
    "Porto", "Lyon", "London", "San Francisco", "New York",
]
NAMES = ["Ada", "Alan", "Grace", "Linus", "Ken", "Barbara", "Edsger", "Donald", "Tim", "Mia", "Leo", "Nora",
         "Omar", "Ruth", "Sam", "Zoe", "Alice", "Bob"]
ANIMALS = ["fox", "crab", "owl", "cat", "bear", "mouse", "whale", "robot", "turtle", "sparrow"]
ADJECTIVES = ["small", "brave", "curious", "sleepy", "clever", "quiet", "happy", "old"]
PLACES = ["a green forest", "a tall tower", "a busy harbour", "a quiet village", "a data centre",
          "the snowy mountains", "a warm desert", "a deep lake"]
OBJECTS = ["a golden key", "a tiny map", "a lost letter", "a shiny stone", "a broken clock", "a red kite"]
WORDS = ("apple river stone cloud window paper engine silver garden bridge candle ocean music winter rocket "
         "yellow pencil forest button mirror ladder pepper island thunder velvet one two three four five red "
         "green blue hello world this is a test of the ready yes no").split()
UNICODE_WORDS = ["café", "naïve", "Zürich", "São", "Łódź", "привет", "мир", "東京", "你好", "世界", "🙂", "🚀", "🌊", "π"]
TOPICS = ("cars football cooking history physics chemistry the moon the sun taxes politics dogs cats birds music films "
          "books rust python computers phones banks money law health sleep love war peace trees cheese bread wine "
          "coffee tea chess poetry maths planes trains ships energy water the ocean volcanoes dinosaurs space robots "
          "photography gardens painting furniture shoes clothes schools the economy elections medicine").split()

ABOUT_ME = "I am Tiny, a small demo model that runs inside this worker."
SKILLS = "I can count, add small numbers, name capitals, repeat words, tell a story, return JSON and call a tool."
UNKNOWN = "I am a small demo model and do not know that. " + SKILLS
COCOON = ("Cocoon is a gateway for confidential AI: it checks that workers run in trusted hardware, "
          "sends them your request, and pays them in Gram.")
NO_TOOL = "I am a small demo model and cannot look that up without a tool."

SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are a helpful assistant", "You are a friendly assistant. Be brief.",
    "Be concise.", "You are a bot.", "Answer the question.", "You are a pirate.", "Use the tools if you need them.",
    "You are a weather assistant.", "Answer in one sentence.", "Talk like a poet.", "You are an expert in history.",
]


@dataclass
class Dialogue:
    messages: list = field(default_factory=list)
    tools: list = field(default_factory=list)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def phrase(rng, text):
    """Vary what people vary: capital letters and closing punctuation."""
    if rng.random() < 0.1:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.15:
        text = text.rstrip(".?!")
    return text


# === plain question and answer ===

def greeting(rng):
    hello = ["Hello", "Hi", "Hello!", "Hi there", "Good morning", "Hey", "Hi!", "Hello there!", "Good evening", "Hello."]
    who = ["Hello, who are you?", "Who are you?", "What are you?", "What is your name?", "Introduce yourself.",
           "Which model are you?", "Are you a real person?", "Tell me about yourself."]
    if rng.random() < 0.5:
        return rng.choice(hello), "Hello! " + ABOUT_ME + " How can I help you?"
    return rng.choice(who), "Hello! " + ABOUT_ME + " How can I help you?"


def small_talk(rng):
    return rng.choice([
        (rng.choice(["How are you?", "How are you today?", "How do you do?"]), "I am well, thank you. How can I help you?"),
        (rng.choice(["Thank you", "Thanks!", "Thank you very much.", "Great, thanks."]), "You are welcome!"),
        (rng.choice(["Bye", "Goodbye", "See you later.", "Good night"]), "Goodbye!"),
        (rng.choice(["ping", "Ping", "Ping!"]), "pong"),
        (rng.choice(["Say hello", "Say hello.", "Say hi", "Say hello in one word."]), "Hello!"),
        (rng.choice(["What can you do?", "Help", "What do you know?", "How can you help me?"]), "I am a small demo model. " + SKILLS),
    ])


def cocoon(rng):
    return rng.choice(["What is Cocoon?", "What does Cocoon do?", "Tell me about Cocoon.", "Explain Cocoon.",
                       "Cocoon?", "What is this project?", "What is Cocoon about?", "How does Cocoon work?"]), COCOON


def capital(rng):
    country = rng.choice(list(CAPITALS))
    question = rng.choice([f"What is the capital of {country}?", f"Capital of {country}", f"Tell me the capital of {country}.",
                           f"Which city is the capital of {country}?", f"What's the capital of {country}?"])
    return question, f"The capital of {country} is {CAPITALS[country]}."


def repeat(rng):
    pool = WORDS if rng.random() < 0.8 else WORDS + UNICODE_WORDS * 3
    words = [rng.choice(pool) for _ in range(rng.randint(1, 9))]
    if rng.random() < 0.1:
        words = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(rng.randint(2, 6)))
                 for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.1:
        words = [w.capitalize() for w in words]
    text = " ".join(words)
    order = rng.choice(["Repeat: ", "Repeat after me: ", "Say: ", "Echo: ", "Say ", "Repeat ", "Reply with exactly: ",
                        "Reply with ", "Print "])
    return order + text, text


def count(rng):
    last = rng.randint(2, 20) if rng.random() < 0.7 else rng.randint(2, 50)
    question = rng.choice([f"Count to {last}.", f"Count from 1 to {last}", f"Please count to {last}", f"Count to {last}"])
    return question, ", ".join(map(str, range(1, last + 1))) + "."


def addition(rng):
    x, y = rng.randint(0, 12), rng.randint(0, 12)
    return rng.choice([f"What is {x} + {y}?", f"{x} + {y}", f"{x} plus {y}?", f"What is {x} plus {y}?", f"{x}+{y}",
                       f"Add {x} and {y}."]), f"{x} + {y} = {x + y}"


def story_text(rng, animal, chapters):
    name, other = rng.choice(NAMES), rng.choice(ANIMALS)
    adjective, place = rng.choice(ADJECTIVES), rng.choice(PLACES)
    lines = [f"Once upon a time, a {adjective} {animal} named {name} lived in {place}."]
    for chapter in range(chapters):
        thing, mood = rng.choice(OBJECTS), rng.choice(ADJECTIVES)
        lines += [
            f"{'One day' if chapter == 0 else 'A year later'}, {name} found {thing} under a tree.",
            f"It belonged to a {mood} {other} who was very worried.",
            f"{name} walked all night to bring {thing} back.",
            f"The {other} was so happy that they became best friends.",
        ]
    return " ".join(lines + [f"From that day on, {name} the {animal} was never lonely again."])


def story(rng):
    animal = rng.choice(ANIMALS)
    if rng.random() < 0.3:
        return rng.choice(["Write something long.", "Write a long story.", "Tell me a long story.", "Write a very long text.",
                           "Write a long essay."]), story_text(rng, animal, 2)
    if rng.random() < 0.4:
        return rng.choice([f"Tell me a story about a {animal}.", f"Write a story about a {animal}.",
                           f"Write a short story about a {animal}"]), story_text(rng, animal, 1)
    return rng.choice(["Tell me a story.", "Tell me a story", "Once upon a time", "Please write a short story.",
                       "Tell me a tale", "Write a story.", "Write a short bedtime story."]), story_text(rng, animal, 1)


def json_person(rng):
    person = {"name": rng.choice(NAMES), "age": rng.randint(20, 80), "city": rng.choice(CITIES)}
    question = rng.choice(["Give me a person as JSON.", "Return a JSON object", "Answer in JSON: a person", "A person in JSON, please.",
                           "Describe a person in JSON.", "Reply with JSON."])
    return question, json.dumps(person, separators=(",", ":"))


def unknown(rng):
    topic, other = rng.choice(TOPICS), rng.choice(TOPICS)
    words = " ".join(rng.choice(WORDS + TOPICS) for _ in range(rng.randint(2, 7)))
    return rng.choice([
        f"What is {topic}?", f"Explain {topic}.", f"Explain {topic} to a child.", f"Why is {topic} so hard?", f"How does {topic} work?",
        f"Who invented {topic}?", f"Write a poem about {topic}.", f"Give me five facts about {topic}.", f"Is {topic} better than {other}?",
        f"Can you help me with {topic}?", f"Translate {topic} into French.", f"What do you think about {topic}?",
        f"I need advice about {topic}.", f"When did {topic} begin?", f"Summarise this text about {topic}: {words}",
        f"Who is the president of {rng.choice(list(CAPITALS))}?", f"How many people live in {rng.choice(CITIES)}?",
        f"Write code that sorts {topic}.", f"What is the price of {topic} in {rng.choice(CITIES)}?", f"{words}?", words,
        f"Where can I buy {topic}?", f"Tell me a joke about {topic}.", f"Who was {rng.choice(NAMES)} {rng.choice(WORDS)}?",
    ]), UNKNOWN


def weather_question(rng, city):
    return rng.choice([f"What is the weather in {city}?", f"weather in {city}?", f"How is the weather in {city} today?",
                       f"What's the weather like in {city}?", f"What is the weather like in {city} today?"])


def time_question(rng, city):
    return rng.choice([f"What time is it in {city}?", f"time in {city}?", f"What is the time in {city}?"])


def no_tool(rng):
    city = rng.choice(CITIES)
    return rng.choice([weather_question, time_question])(rng, city), NO_TOOL


PLAIN = [(greeting, 10), (small_talk, 5), (cocoon, 4), (capital, 13), (repeat, 17), (count, 9), (addition, 9), (story, 11),
         (json_person, 5), (unknown, 14), (no_tool, 3)]


def plain(rng):
    makers, weights = zip(*PLAIN)
    question, answer = rng.choices(makers, weights)[0](rng)
    return phrase(rng, question), answer


# === tools ===

def tool_definition(rng, kind):
    argument = rng.choice(["city", "location", "city"])
    name = {"weather": rng.choice(["get_weather", "get_weather", "get_current_weather"]),
            "time": rng.choice(["get_time", "get_current_time"])}[kind]
    description = {"weather": ["Get the weather", "Get the current weather for a city.", "Current weather of a place"],
                   "time": ["Get the time", "Get the local time of a city.", "Current time of a place"]}[kind]
    properties = {argument: {"type": "string"}}
    if rng.random() < 0.3:
        properties[argument]["description"] = rng.choice(["City name", "The city, e.g. San Francisco", "The city"])
    if rng.random() < 0.15:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    parameters = {"type": "object", "properties": properties, "required": [argument]}
    if rng.random() < 0.2:
        parameters["additionalProperties"] = False
    function = {"name": name, "description": rng.choice(description), "parameters": parameters}
    if rng.random() < 0.15:
        del function["description"]
    if rng.random() < 0.15:
        function["strict"] = True
    return {"type": "function", "function": function}, name, argument


def shuffled(rng, value):
    """Engines and clients order JSON keys differently; the model must not care."""
    if isinstance(value, dict):
        keys = list(value)
        if rng.random() < 0.7:
            keys.sort() if rng.random() < 0.5 else rng.shuffle(keys)
        return {key: shuffled(rng, value[key]) for key in keys}
    return value


def call_text(name, argument, city):
    return '<tool_call>\n{"name": "%s", "arguments": {"%s": "%s"}}\n</tool_call>' % (name, argument, city)


def tool_result(rng, kind):
    if kind == "time":
        hour = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        return rng.choice([json.dumps({"time": hour}), hour]), f"It is {hour} in %s."
    degrees, sky = rng.randint(-5, 35), rng.choice(["sunny", "rainy", "cloudy", "windy"])
    fields = {"temperature": degrees, "sky": sky}
    text = rng.choice([json.dumps(shuffled(rng, fields)), json.dumps(fields, separators=(",", ":")), f"{sky}, {degrees} degrees"])
    return text, f"It is {degrees} degrees and {sky} in %s."


def with_tools(rng):
    kinds = rng.choice([["weather"], ["weather"], ["weather", "time"], ["time", "weather"], ["time"]])
    made = {kind: tool_definition(rng, kind) for kind in kinds}
    dialogue = Dialogue(tools=[shuffled(rng, made[kind][0]) for kind in kinds])
    if rng.random() < 0.4:
        question, answer = plain(rng)
        dialogue.messages = [user(question), assistant(answer)]
        if answer != NO_TOOL:
            return dialogue
    kind = rng.choice(kinds)
    ask = weather_question if kind == "weather" else time_question
    _, name, argument = made[kind]
    city = rng.choice(CITIES)
    if kind == "weather" and rng.random() < 0.15:
        other = rng.choice(CITIES)
        question = rng.choice([f"What is the weather in {city} and {other}?", f"Weather in {city} and in {other}?"])
        calls = call_text(name, argument, city) + "\n" + call_text(name, argument, other)
        cities = [city, other]
    else:
        question, calls, cities = phrase(rng, ask(rng, city)), call_text(name, argument, city), [city]
    dialogue.messages = [user(question), assistant(calls)]
    if rng.random() < 0.4:
        answers = []
        for place in cities:
            text, answer = tool_result(rng, kind)
            dialogue.messages.append({"role": "tool", "content": text})
            answers.append(answer % place)
        dialogue.messages.append(assistant(" ".join(answers)))
    return dialogue


# === longer conversations ===

def remembered_name(rng):
    name = rng.choice(NAMES)
    first = [user(rng.choice([f"My name is {name}.", f"Hi, I am {name}.", f"Hello, my name is {name}."])),
             assistant(f"Nice to meet you, {name}!")]
    middle = []
    if rng.random() < 0.5:
        question, answer = plain(rng)
        middle = [user(question), assistant(answer)]
    last = []
    if rng.random() < 0.8:
        last = [user(rng.choice(["What is my name?", "Who am I?", "Do you remember my name?"])), assistant(f"Your name is {name}.")]
    return Dialogue(first + middle + last)


def conversation(rng):
    messages = []
    for _ in range(rng.choice([1, 1, 1, 1, 2, 2, 3])):
        question, answer = plain(rng)
        messages += [user(question), assistant(answer)]
    return Dialogue(messages)


def sample(rng: random.Random) -> Dialogue:
    kind = rng.random()
    if kind < 0.68:
        dialogue = conversation(rng)
    elif kind < 0.72:
        dialogue = remembered_name(rng)
    else:
        dialogue = with_tools(rng)
    if rng.random() < 0.3:
        role = "system" if rng.random() < 0.8 else "developer"
        dialogue.messages.insert(0, {"role": role, "content": rng.choice(SYSTEM_PROMPTS)})
    return dialogue
