#!/usr/bin/env python3
"""Train the demo model on synthetic dialogues, on the CPU, and write it as a Hugging Face folder.

    python3 train.py --out ../../models/tiny-demo --minutes 12

The run ends at --minutes or --steps, whichever comes first; the learning rate falls to its floor with whichever is nearer.
"""

import argparse
import random
import time

import jax
import jax.numpy as jnp
import numpy as np

import dialogues
from export import train_tokenizer, write_folder
from network import Shape, initial, logits, make_step
from render import Renderer

QUESTIONS = [
    "Hello", "Who are you?", "What is Cocoon?", "What is the capital of Japan?", "Repeat: apple river 東京 🙂 café", "Count to 13.",
    "What is 7 + 8?", "Tell me a story about a crab.", "Give me a person as JSON.", "What is the weather in Osaka?",
    "Explain quantum physics.", "How do I bake bread?", "Say this is a test", "Write a long story.",
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--vocab", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--inter", type=int, default=352)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def rows(rng, renderer, tokenizer, length):
    """Whole dialogues packed into rows; a dialogue that does not fit is cut at the row's end."""
    while True:
        ids, segments, weights, segment = [], [], [], 0
        while len(ids) < length:
            segment += 1
            for text, weight in renderer.parts(rng, dialogues.sample(rng)):
                encoded = tokenizer.encode(text, add_special_tokens=False).ids
                ids += encoded
                weights += [weight] * len(encoded)
                segments += [segment] * len(encoded)
        yield ids[:length], segments[:length], weights[:length]


def train(options, shape, source):
    parameters = initial(shape, options.seed)
    print(f"{sum(p.size for p in jax.tree.leaves(parameters)) / 1e6:.3f} M parameters", flush=True)
    mean, square = jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters)
    step, started = make_step(shape), time.monotonic()
    for count in range(1, options.steps + 1):
        elapsed = time.monotonic() - started
        progress = max(count / options.steps, elapsed / (60 * options.minutes))
        if progress > 1:
            break
        rate = options.rate * min(1, count / 40) * max(0.02, 1 - progress)
        batch = [next(source) for _ in range(options.batch)]
        ids, segments, weights = (np.array(column) for column in zip(*batch))
        parameters, mean, square, loss = step(parameters, mean, square, float(count), rate, ids, segments, weights.astype(np.float32))
        if count % 50 == 0 or count == 1:
            speed = count * options.batch * options.window / max(elapsed, 1)
            print(f"step {count} loss {float(loss):.3f} rate {rate:.4f} {elapsed:.0f} s {speed:.0f} tokens/s", flush=True)
    return parameters


def show(parameters, shape, tokenizer, renderer):
    """Greedy answers to a few questions, all decoded together over a fixed window."""
    prompts = [tokenizer.encode(renderer.prompt([dialogues.user(q)], []), add_special_tokens=False).ids for q in QUESTIONS]
    window = 256
    ids, ends = np.zeros((len(prompts), window), np.int32), [len(p) for p in prompts]
    for row, prompt in zip(ids, prompts):
        row[:len(prompt)] = prompt
    forward = jax.jit(lambda p, i: logits(p, i, jnp.zeros_like(i), shape))
    stop, finished = tokenizer.token_to_id("<|im_end|>"), set()
    while len(finished) < len(prompts):
        picks = np.asarray(forward(parameters, ids)).argmax(-1)
        for index in set(range(len(prompts))) - finished:
            pick = picks[index, ends[index] - 1]
            if pick == stop or ends[index] == window - 1:
                finished.add(index)
                continue
            ids[index, ends[index]] = pick
            ends[index] += 1
    for index, question in enumerate(QUESTIONS):
        print(f"{question!r} -> {tokenizer.decode(ids[index, len(prompts[index]):ends[index]].tolist())!r}", flush=True)


def main():
    options = arguments()
    rng, renderer = random.Random(options.seed), Renderer()
    texts = ["".join(text for text, _ in renderer.parts(rng, dialogues.sample(rng))) for _ in range(8000)]
    tokenizer = train_tokenizer(texts, options.vocab)
    print(f"vocabulary {tokenizer.get_vocab_size()}, for example:\n{texts[0]}", flush=True)
    shape = Shape(vocab=tokenizer.get_vocab_size(), hidden=options.hidden, layers=options.layers, inter=options.inter)
    parameters = train(options, shape, rows(rng, renderer, tokenizer, options.window + 1))
    write_folder(options.out, parameters, tokenizer, shape)
    show(parameters, shape, tokenizer, renderer)


if __name__ == "__main__":
    main()
