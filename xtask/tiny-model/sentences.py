"""Synthetic paraphrases for the embedding model.

Every sentence is made here, so the model carries no third-party text. A `Meaning` is an intent with its slots filled in;
two sentences of one meaning should lie close together, those of two meanings apart, those of one topic in between.
The last two phrasings of every intent are held out: training never sees them, and the evaluation uses nothing else.
"""

import random
from dataclasses import dataclass

from dialogues import ANIMALS, CAPITALS, CITIES, NAMES, WORDS

HELD_OUT = 2

COLOURS = ["red", "green", "blue", "yellow", "black", "white", "orange", "purple", "brown", "pink"]
FOODS = ["bread", "soup", "pizza", "rice", "cheese", "salad", "fish", "pasta", "cake", "apples", "eggs", "chocolate"]
THINGS = ["the car", "the door", "the house", "my coat", "the chair", "her dress", "the roof", "the flower", "the box", "the train"]
GOODS = ["a ticket", "this phone", "the book", "a bicycle", "the laptop", "a coffee", "the table", "these shoes", "a watch", "the lamp"]
PETS = ["cat", "dog", "bird", "horse", "rabbit", "fish", "mouse", "sheep", "cow", "duck"]
SPORTS = ["football", "tennis", "chess", "basketball", "hockey", "golf", "volleyball"]
MUSIC = ["jazz", "rock", "piano music", "opera", "folk songs", "the violin", "drums"]
LANGUAGES = ["French", "German", "Spanish", "Italian", "Japanese", "Chinese", "Russian", "Arabic"]
CODE = ["Rust", "Python", "Java", "Go", "Haskell", "JavaScript", "Lisp"]
SUBJECTS = ["maths", "physics", "history", "chemistry", "biology", "geography", "art"]
TASKS = ["call mum", "buy milk", "water the plants", "pay the rent", "feed the cat", "send the letter", "clean the kitchen"]
PARTS = ["head", "back", "tooth", "stomach", "knee", "throat", "foot"]
SKIES = [("raining", "rainy", "wet"), ("sunny", "bright and sunny", "clear"), ("snowing", "snowy", "white with snow"),
         ("windy", "stormy", "blowing hard"), ("cloudy", "grey", "overcast"), ("foggy", "misty", "full of fog")]
MOODS = [("happy", "glad", "cheerful"), ("sad", "unhappy", "down"), ("tired", "sleepy", "exhausted"), ("angry", "furious", "mad"),
         ("afraid", "scared", "frightened"), ("bored", "weary of this", "out of things to do")]
NUMBERS = [str(n) for n in range(2, 41)]


@dataclass(frozen=True)
class Intent:
    topic: str
    slots: tuple  # of lists of values; a value is a word, or a tuple of words that mean the same
    phrases: tuple


def intent(topic, *phrases, **slots):
    return Intent(topic, tuple(slots.items()), phrases)


INTENTS = [
    intent("geography", "What is the capital of {c}?", "Which city is the capital of {c}?", "Tell me the capital of {c}.",
           "The capital of {c} is {k}.", "{k} is the capital of {c}.", "{k} is where the government of {c} sits.", "{c}: capital {k}",
           "Do you know what {c}'s capital is?", "I would like to know the capital city of {c}.", "Name the capital city of {c}.",
           c=list(CAPITALS)),
    intent("geography", "Where is {k}?", "{k} is a city in {c}.", "{k} lies in {c}.", "You find {k} in {c}.", "In which country is {k}?",
           "{k} belongs to {c}.", "Which country does {k} belong to?", "What country is {k} in?", c=list(CAPITALS)),
    intent("geography", "How many people live in {k}?", "What is the population of {k}?", "The number of people in {k}", "How big is {k}?",
           "Is {k} a large city?", "How many inhabitants does {k} have?", "Tell me the population of {k}.", "How large is the city of {k}?",
           k=CITIES),
    intent("numbers", "Count to {n}.", "Count from 1 to {n}.", "Please count up to {n}.", "Say all the numbers up to {n}.",
           "List the numbers from one to {n}.", "Counting from 1 until {n}", "Numbers 1 to {n}, please", "Write the numbers from 1 to {n}.",
           "Can you count to {n}?", n=NUMBERS),
    intent("numbers", "What is {x} plus {y}?", "{x} + {y}", "Add {x} and {y}.", "The sum of {x} and {y}", "How much is {x} and {y}?",
           "Compute {x} + {y}.", "{x} plus {y} equals what?", "What do you get when you add {x} to {y}?", "What is the sum of {x} and {y}?",
           x=NUMBERS[:12], y=NUMBERS[:12]),
    intent("talk", "Hello", "Hi", "Hi there", "Good morning", "Hey", "Hello there!", "Greetings", "Good evening", "Good day to you", "Hey there", ),
    intent("talk", "Bye", "Goodbye", "See you later", "Good night", "See you soon", "Farewell", "I have to go now", "See you tomorrow", "Bye for now"),
    intent("talk", "Thank you", "Thanks", "Thanks a lot", "Thank you very much", "I am grateful", "That was kind of you", "Many thanks",
           "Great, thanks", "Thank you so much for your help"),
    intent("talk", "How are you?", "How are you today?", "How do you do?", "How is it going?", "Are you well?", "How do you feel?",
           "How have you been?", "How are things with you?", "Are you doing well today?"),
    intent("self", "Who are you?", "What are you?", "What is your name?", "Introduce yourself.", "Which model are you?", "Are you a robot?",
           "Tell me about yourself.", "Say who you are.", "What should I call you?", "Who am I talking to?", "Please tell me your name."),
    intent("self", "What can you do?", "How can you help me?", "What are your skills?", "Which tasks can you solve?", "What are you good at?",
           "List what you can do.", "What can I ask you?", "Tell me what you are able to do.", "With what can you help me?"),
    intent("cocoon", "What is Cocoon?", "Explain Cocoon.", "What does Cocoon do?", "Tell me about Cocoon.", "Cocoon is a gateway for private AI.",
           "How does Cocoon work?", "Cocoon sends requests to workers in trusted hardware.", "What is Cocoon about?", "Describe the Cocoon project."),
    intent("cocoon", "Is my data private?", "Who can read my messages?", "Are my prompts kept secret?", "Nobody can see what I write.",
           "My text stays confidential.", "Does anybody read my questions?", "Is what I send kept private?", "Who sees my data?", "Are my messages private?"),
    intent("weather", "What is the weather in {k}?", "Weather in {k}", "How is the weather in {k} today?", "What's the weather like in {k}?",
           "Tell me the forecast for {k}.", "Will it be nice in {k} today?", "Do I need an umbrella in {k}?", "Give me the weather for {k}.",
           "What is the weather forecast for {k}?", k=CITIES),
    intent("weather", "It is {s}.", "It is {s} outside.", "Today it is {s}.", "The day is {s}.", "Outside it is {s} now.", "The weather is {s}.",
           "Look, it is {s}!", "It is really {s} today.", "The weather outside is {s}.", s=SKIES),
    intent("time", "What time is it in {k}?", "Time in {k}", "What is the time in {k}?", "Tell me the local time in {k}.", "How late is it in {k}?",
           "What does the clock say in {k}?", "The current time in {k}, please", "Could you tell me what time it is in {k}?", k=CITIES),
    intent("time", "Remind me to {t}.", "Set a reminder: {t}", "Do not let me forget to {t}.", "I must not forget to {t}.", "Please remind me that I have to {t}.",
           "I need to remember to {t}.", "Make a note that I should {t}.", "Can you remind me to {t}?", "Add a reminder to {t}.", t=TASKS),
    intent("time", "When do you open?", "What are your opening hours?", "At what time does the shop open?", "Is the store open today?",
           "Until when is the shop open?", "When does the store close?", "The shop opens at nine.", "What hours is the shop open?", "Are you open today?"),
    intent("colours", "My favourite colour is {l}.", "I like {l} best.", "{l} is the colour that I love.", "I prefer the colour {l}.", "No colour is nicer than {l}.",
           "I love everything {l}.", "The best colour is {l}.", "Of all colours I like {l} most.", "I think {l} is the nicest colour.", l=COLOURS),
    intent("colours", "{o} is {l}.", "{o} has a {l} colour.", "The colour of {o} is {l}.", "They painted {o} {l}.", "Look, {o} is {l}!",
           "{o} was painted {l}.", "{l} is the colour of {o}.", "{o} looks {l}.", o=THINGS, l=COLOURS),
    intent("food", "I like {f}.", "I love {f}.", "{f} is my favourite food.", "I enjoy eating {f}.", "{f} tastes great.", "{f} is delicious.",
           "I could eat {f} every day.", "I really like to eat {f}.", "My favourite dish is {f}.", f=FOODS),
    intent("food", "How do I make {f}?", "Give me a recipe for {f}.", "How is {f} made?", "I want to cook {f}.", "Show me how to prepare {f}.",
           "Which ingredients does {f} need?", "Teach me to make {f}.", "What is the recipe for {f}?", "How do you cook {f}?", f=FOODS),
    intent("food", "I am hungry.", "I want to eat something.", "Let us have lunch.", "Where can I get some food?", "I need a meal.", "Is dinner ready?",
           "I could eat a horse.", "I would like to eat now.", "I have not eaten all day."),
    intent("food", "I am thirsty.", "I want to drink something.", "Could I have a glass of water?", "I need some water.", "Bring me a drink, please.",
           "My mouth is dry.", "Is there anything to drink?", "Can I get something to drink?", "I would like some water."),
    intent("money", "How much does {g} cost?", "What is the price of {g}?", "How expensive is {g}?", "What do I pay for {g}?", "The price of {g}, please",
           "Tell me what {g} costs.", "For how much do you sell {g}?", "Can you tell me the price of {g}?", "How much is {g}?", g=GOODS),
    intent("money", "Send {n} Gram to {p}.", "Pay {p} {n} Gram.", "Transfer {n} Gram to {p}.", "I owe {p} {n} Gram.", "{p} gets {n} Gram from me.",
           "Give {n} Gram to {p}.", "Move {n} Gram to the wallet of {p}.", "Please transfer {n} Gram to {p} now.", "I want to send {p} {n} Gram.", n=NUMBERS[:14], p=NAMES),
    intent("money", "What is my balance?", "How much money do I have?", "Show me my account balance.", "How much is left in my wallet?", "Is there money in my account?",
           "Check my balance.", "How many Gram do I own?", "Tell me how much money is left.", "What is the balance of my account?"),
    intent("money", "I want my money back.", "Can I get a refund?", "Please refund my order.", "How do I return this?", "Give me my money back.",
           "I would like to return what I bought.", "The refund has not arrived.", "How do I get a refund?", "Please give the money back to me."),
    intent("help", "I forgot my password.", "How do I reset my password?", "I cannot log in.", "My password does not work.", "I need a new password.",
           "The login fails.", "I am locked out of my account.", "Help, I cannot sign in to my account.", "I have lost my password."),
    intent("help", "My order has not arrived.", "Where is my parcel?", "When does my delivery come?", "Track my order.", "The package is late.",
           "My delivery is missing.", "I am still waiting for my parcel.", "When will my package arrive?", "Where is the order that I placed?"),
    intent("help", "The program crashes.", "The app does not start.", "I get an error message.", "The software is broken.", "There is a bug in the program.",
           "It stops with an error.", "Nothing happens when I start the app.", "The app shows an error.", "The program does not work."),
    intent("animals", "I have a {a}.", "My pet is a {a}.", "We keep a {a} at home.", "A {a} lives with us.", "I own a {a}.", "Our {a} is part of the family.",
           "There is a {a} in my house.", "At home I have a {a}.", "I have a {a} as a pet.", a=PETS),
    intent("animals", "The {a} sleeps.", "A {a} is sleeping.", "The {a} is taking a nap.", "The {a} has fallen asleep.", "Quiet, the {a} rests.",
           "The {a} is asleep on the sofa.", "The {a} dreams.", "Look, the {a} is sleeping.", "A {a} is having a nap.", a=PETS),
    intent("animals", "The {a} runs.", "A {a} is running fast.", "The {a} races over the field.", "How fast the {a} runs!", "The {a} hurries away.",
           "The {a} ran through the garden.", "Over the grass runs a {a}.", "The {a} is running away.", "A {a} runs across the field.", a=PETS),
    intent("stories", "Tell me a story about a {a}.", "Write a story about a {a}.", "A tale of a {a}, please", "I want to hear a story with a {a}.",
           "Once upon a time there was a {a}.", "Make up a story about a {a}.", "Tell the tale of the {a}.", "Please write a short story about a {a}.", a=ANIMALS),
    intent("travel", "I want to go to {k}.", "Book a flight to {k}.", "How do I get to {k}?", "I need a ticket to {k}.", "Let us travel to {k}.",
           "Which train goes to {k}?", "I am on my way to {k}.", "I would like to travel to {k}.", "Can I get a ticket to {k}?", k=CITIES),
    intent("travel", "Find a hotel in {k}.", "Where can I sleep in {k}?", "I need a room in {k}.", "Book a hotel room in {k}.", "Which hotel in {k} is good?",
           "A place to stay in {k}", "I look for a bed in {k}.", "I want to book a room in {k}.", "Is there a good hotel in {k}?", k=CITIES),
    intent("health", "My {b} hurts.", "I have a pain in my {b}.", "There is something wrong with my {b}.", "My {b} is sore.", "I feel pain in the {b}.",
           "The doctor should look at my {b}.", "What helps when the {b} hurts?", "I have pain in my {b}.", "My {b} is hurting.", b=PARTS),
    intent("health", "I need a doctor.", "Where is the hospital?", "Call an ambulance.", "I feel ill.", "I am sick.", "Is there a doctor here?",
           "Get me medical help.", "I have to see a doctor.", "I feel sick and need help."),
    intent("sport", "I play {q}.", "{q} is my sport.", "Let us play {q}.", "I am good at {q}.", "We watched a game of {q}.", "Who wants to play {q}?",
           "I train for {q} every week.", "I like to play {q}.", "Do you want to play {q}?", q=SPORTS),
    intent("music", "I listen to {m}.", "Play some {m}.", "I love {m}.", "Put on {m}, please.", "{m} sounds beautiful.", "I want to hear {m}.",
           "We went to a concert with {m}.", "I like to listen to {m}.", "Could you play {m}?", m=MUSIC),
    intent("feelings", "I am {e}.", "I feel {e}.", "Today I feel {e}.", "I have been {e} all day.", "Why am I so {e}?", "This makes me {e}.",
           "I am so {e} now.", "I feel really {e} today.", "I am very {e}.", e=MOODS),
    intent("languages", "Translate this into {u}.", "How do you say that in {u}?", "What does that mean in {u}?", "Say it in {u}.", "I need this text in {u}.",
           "Give me the {u} translation.", "Write that in {u}.", "Please translate it to {u}.", "Can you say this in {u}?", u=LANGUAGES),
    intent("languages", "I am learning {u}.", "I take lessons in {u}.", "I want to speak {u}.", "How hard is it to learn {u}?", "She studies {u}.",
           "My {u} is getting better.", "A course in {u}", "I would like to learn {u}.", "I study {u} at school.", u=LANGUAGES),
    intent("code", "Write a program in {v}.", "I write code in {v}.", "A function in {v}, please", "How do I program in {v}?", "My software is written in {v}.",
           "I like to program in {v}.", "Show me some {v} code.", "Give me code in {v}.", "I am writing a program in {v}.", v=CODE),
    intent("school", "I have homework in {w}.", "Help me with {w}.", "I must learn for {w}.", "The exam in {w} is tomorrow.", "Explain {w} to me.",
           "My teacher of {w} is strict.", "I study {w} at school.", "Can you help me with my {w} homework?", "I need help with {w}.", w=SUBJECTS),
    intent("mail", "Write an email to {p}.", "Send {p} a message.", "Tell {p} that I am late.", "I need to write to {p}.", "Compose a letter to {p}.",
           "Draft a mail for {p}.", "A message for {p}, please", "Please send an email to {p}.", "I want to write a message to {p}.", p=NAMES),
    intent("people", "My name is {p}.", "I am called {p}.", "Hi, I am {p}.", "You can call me {p}.", "People call me {p}.", "{p} is my name.",
           "They named me {p}.", "Hello, my name is {p}.", "I am {p}, nice to meet you.", p=NAMES),
    intent("data", "Give me a person as JSON.", "Return a JSON object.", "Answer in JSON.", "Describe a person in JSON.", "Write it as JSON, please.",
           "I need JSON output.", "Reply with JSON only.", "A person in JSON, please.", "Please answer with a JSON object."),
]


@dataclass(frozen=True)
class Meaning:
    intent: int
    values: tuple  # index of the value of each slot

    @property
    def topic(self):
        return INTENTS[self.intent].topic


def meanings():
    """Every meaning there is, in a fixed order."""
    found = []
    for number, which in enumerate(INTENTS):
        rows = [()]
        for _, values in which.slots:
            rows = [row + (index,) for row in rows for index in range(len(values))]
        found += [Meaning(number, row) for row in rows]
    return found


def render(rng, meaning: Meaning, phrase: str):
    filled = {}
    for (name, values), index in zip(INTENTS[meaning.intent].slots, meaning.values):
        value = values[index]
        filled[name] = rng.choice(value) if isinstance(value, tuple) else value
    if "c" in filled:
        filled["k"] = CAPITALS[filled["c"]]
    text = phrase.format(**filled)
    return text[0].upper() + text[1:]


def varied(rng, text):
    """What people vary and the meaning does not: case, closing punctuation, politeness, a slip of the finger."""
    if rng.random() < 0.3:
        text = text.lower()
    if rng.random() < 0.3:
        text = text.rstrip(".?!")
    if rng.random() < 0.08:
        text = rng.choice(["Please: ", "Well, ", "Hm. ", "OK, "]) + text
    if rng.random() < 0.08 and len(text) > 8:
        at = rng.randrange(1, len(text) - 1)
        text = text[:at] + text[at + 1:]
    return text


def pair(rng, meaning: Meaning):
    """Two different sentences that mean the same, from the phrasings that training may see."""
    first, second = rng.sample(INTENTS[meaning.intent].phrases[:-HELD_OUT], 2)
    return varied(rng, render(rng, meaning, first)), varied(rng, render(rng, meaning, second))


def held_out_pair(rng, meaning: Meaning):
    first, second = INTENTS[meaning.intent].phrases[-HELD_OUT:]
    return render(rng, meaning, first), render(rng, meaning, second)


def word(rng):
    if rng.random() < 0.5:
        return rng.choice(WORDS)
    syllables = [rng.choice("bcdfghklmnprstvw") + rng.choice("aeiou") + rng.choice(["", "", "n", "r", "s", "t", "l"]) for _ in range(rng.randint(1, 3))]
    return "".join(syllables)


def overlap(rng):
    """Outside the small world words are all there is to go by: two texts that share most of theirs."""
    words = [word(rng) for _ in range(rng.randint(2, 6))]
    other = list(words)
    if len(other) > 2:
        other.pop(rng.randrange(len(other)))
    if rng.random() < 0.5:
        rng.shuffle(other)
    if rng.random() < 0.5:
        other.insert(rng.randrange(len(other) + 1), word(rng))
    return " ".join(words), " ".join(other)


def batch(rng: random.Random, by_intent, size):
    """(first, second, topic) rows of different meanings; several of one intent, which differ in a slot only, are the hard ones."""
    rows, seen = [], set()
    while len(rows) < size:
        if rng.random() < 0.15:
            rows.append((*overlap(rng), f"words {len(rows)}"))
            continue
        group = rng.choice(by_intent)
        for meaning in rng.sample(group, min(len(group), rng.randint(1, 5), size - len(rows))):
            if meaning not in seen:
                seen.add(meaning)
                rows.append((*pair(rng, meaning), meaning.topic))
    return rows
