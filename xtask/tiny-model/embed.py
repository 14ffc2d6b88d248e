#!/usr/bin/env python3
"""Train the embedding model on synthetic paraphrases, on the CPU, and write it as a sentence-transformers folder.

    python3 embed.py --out ../../models/tiny-embed

The run takes exactly --steps, so that the same seed gives the same model on the same machine.
"""

import argparse
import random
import time

import jax
import jax.numpy as jnp
import numpy as np

import sentences
from export import train_tokenizer, with_end, write_embedding_folder
from network import Shape, adamw, initial, states

# Few sentences of the small world are longer, and lose their middle here; the model itself reads up to its context.
WINDOW = 24
TEMPERATURE = 0.05
# Of each row's target, what the other sentences of its topic share.
TOPIC_SHARE = 0.08
CANDIDATES = 50


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--vocab", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--inter", type=int, default=352)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def encoded(tokenizer, texts):
    """Token ids in rows of one width, and where each text's last token stands."""
    ids, last = np.zeros((len(texts), WINDOW), np.int32), np.zeros(len(texts), np.int32)
    for row, encoding in enumerate(tokenizer.encode_batch(texts)):
        found = encoding.ids
        if len(found) > WINDOW:
            found = found[:WINDOW - 1] + found[-1:]
        ids[row, :len(found)], last[row] = found, len(found) - 1
    return ids, last


def vectors(parameters, ids, last, shape):
    """Later tokens are invisible to earlier ones, so what follows a text's end does not matter."""
    found = states(parameters, ids, jnp.zeros_like(ids), shape)[jnp.arange(ids.shape[0]), last]
    return found / jnp.linalg.norm(found, axis=-1, keepdims=True)


def make_step(shape):
    def loss(parameters, ids, last, targets):
        found = vectors(parameters, ids, last, shape)
        half = ids.shape[0] // 2
        scores = found[:half] @ found[half:].T / TEMPERATURE
        return -(targets * (jax.nn.log_softmax(scores) + jax.nn.log_softmax(scores.T))).sum() / half / 2

    @jax.jit
    def step(parameters, mean, square, count, rate, ids, last, targets):
        value, gradient = jax.value_and_grad(loss)(parameters, ids, last, targets)
        return *adamw(parameters, mean, square, count, rate, gradient), value

    return step


def targets(topics):
    """Most of it for the row's own partner, a little for its topic: so related sentences lie nearer than unrelated ones."""
    topics = np.array(topics)
    related = (topics[:, None] == topics[None]).astype(np.float32)
    np.fill_diagonal(related, 0)
    count = related.sum(1, keepdims=True)
    share = np.where(count > 0, TOPIC_SHARE, 0)
    return (np.eye(len(topics)) * (1 - share) + related * share / np.maximum(count, 1)).astype(np.float32)


def train(options, shape, tokenizer, parameters):
    rng = random.Random(options.seed)
    by_intent = {}
    for meaning in sentences.meanings():
        by_intent.setdefault(meaning.intent, []).append(meaning)
    by_intent = list(by_intent.values())
    mean, square = jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters)
    step, started = make_step(shape), time.monotonic()
    for count in range(1, options.steps + 1):
        rate = options.rate * min(1, count / 40) * max(0.02, 1 - count / options.steps)
        first, second, topics = zip(*sentences.batch(rng, by_intent, options.batch))
        ids, last = encoded(tokenizer, first + second)
        parameters, mean, square, loss = step(parameters, mean, square, float(count), rate, ids, last, targets(topics))
        if count % 50 == 0 or count == 1:
            print(f"step {count} loss {float(loss):.3f} {time.monotonic() - started:.0f} s", flush=True)
    return parameters


def rounded(parameters):
    """As the file will hold them."""
    return jax.tree.map(lambda p: p.astype(jnp.bfloat16).astype(jnp.float32), parameters)


def evaluate(name, parameters, shape, tokenizer, rounds=20):
    """Of 50 held-out sentences, which one means the same as another held-out sentence? The answer is right or wrong."""
    rng, right, near, topic, far = random.Random(12345), 0, [], [], []
    everything = sentences.meanings()
    forward = jax.jit(lambda p, ids, last: vectors(p, ids, last, shape))
    for _ in range(rounds):
        # Half of it in groups of one intent: there only a slot tells the sentences apart.
        chosen = rng.sample(everything, CANDIDATES // 2)
        while len(chosen) < CANDIDATES:
            base = rng.choice(everything)
            if base not in chosen:
                chosen.append(base)
        pairs = [sentences.held_out_pair(rng, meaning) for meaning in chosen]
        queries, corpus = zip(*pairs)
        found = np.asarray(forward(parameters, *encoded(tokenizer, queries + corpus)))
        scores = found[:CANDIDATES] @ found[CANDIDATES:].T
        right += int((scores.argmax(1) == np.arange(CANDIDATES)).sum())
        near += list(np.diag(scores))
        for row in range(CANDIDATES):
            for column in range(CANDIDATES):
                if row != column:
                    same = chosen[row].topic == chosen[column].topic
                    (topic if same else far).append(scores[row, column])
    print(f"{name}: top 1 of {CANDIDATES}: {100 * right / rounds / CANDIDATES:.1f} %; cosine of the same meaning {np.mean(near):.2f}, "
          f"of the same topic {np.mean(topic):.2f}, of another {np.mean(far):.2f}", flush=True)


def main():
    options = arguments()
    rng = random.Random(options.seed)
    everything = sentences.meanings()
    texts = [text for _ in range(8000) for text in sentences.pair(rng, rng.choice(everything))]
    texts += [text for _ in range(800) for text in sentences.overlap(rng)]
    tokenizer = with_end(train_tokenizer(texts, options.vocab))
    shape = Shape(vocab=tokenizer.get_vocab_size(), hidden=options.hidden, layers=options.layers, inter=options.inter, context=512)
    parameters = initial(shape, options.seed)
    print(f"{sum(p.size for p in jax.tree.leaves(parameters)) / 1e6:.3f} M parameters, {len(everything)} meanings, "
          f"{len(sentences.INTENTS)} intents, longest {max(len(e.ids) for e in tokenizer.encode_batch(texts))} tokens", flush=True)
    evaluate("random weights", parameters, shape, tokenizer)
    parameters = rounded(train(options, shape, tokenizer, parameters))
    evaluate("trained", parameters, shape, tokenizer)
    write_embedding_folder(options.out, parameters, tokenizer, shape)


if __name__ == "__main__":
    main()
