"""The Qwen3 shape in JAX: grouped-query attention with normalised q and k, RoPE (half split), SwiGLU, tied embeddings."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Shape:
    vocab: int
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    inter: int = 352
    context: int = 2048
    rope_theta: float = 10000.0

    @property
    def head_dim(self):
        return self.hidden // self.heads


HF_NAMES = {
    "norm_attention": "input_layernorm", "norm_mlp": "post_attention_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
    "v": "self_attn.v_proj", "o": "self_attn.o_proj", "norm_q": "self_attn.q_norm", "norm_k": "self_attn.k_norm",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}


def initial(shape: Shape, seed: int):
    rng = np.random.default_rng(seed)

    def normal(rows, columns, scale=1.0):
        return jnp.asarray(rng.standard_normal((rows, columns)) * scale / np.sqrt(columns), jnp.float32)

    residual = 1 / np.sqrt(2 * shape.layers)
    width, kv_width = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layers = [{
        "norm_attention": jnp.ones(shape.hidden), "norm_mlp": jnp.ones(shape.hidden),
        "norm_q": jnp.ones(shape.head_dim), "norm_k": jnp.ones(shape.head_dim),
        "q": normal(width, shape.hidden), "k": normal(kv_width, shape.hidden), "v": normal(kv_width, shape.hidden),
        "o": normal(shape.hidden, width, residual), "gate": normal(shape.inter, shape.hidden),
        "up": normal(shape.inter, shape.hidden), "down": normal(shape.hidden, shape.inter, residual),
    } for _ in range(shape.layers)]
    return {"embedding": normal(shape.vocab, shape.hidden, 0.05 * np.sqrt(shape.hidden)), "norm": jnp.ones(shape.hidden), "layers": layers}


def rms_norm(x, weight):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * weight


def rope(x, shape: Shape):
    half = shape.head_dim // 2
    inverse = 1.0 / (shape.rope_theta ** (jnp.arange(0, shape.head_dim, 2) / shape.head_dim))
    angle = jnp.arange(x.shape[1])[:, None] * inverse[None]
    cos, sin = jnp.cos(angle)[None, :, None], jnp.sin(angle)[None, :, None]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def states(parameters, ids, segments, shape: Shape):
    """What the last layer holds for each token. ids, segments: batch × time. A token sees earlier tokens of its own segment only."""
    batch, time = ids.shape
    visible = jnp.tril(jnp.ones((time, time), bool))[None] & (segments[:, :, None] == segments[:, None, :])
    x = parameters["embedding"][ids]
    for layer in parameters["layers"]:
        h = rms_norm(x, layer["norm_attention"])
        q = rope(rms_norm((h @ layer["q"].T).reshape(batch, time, shape.heads, -1), layer["norm_q"]), shape)
        k = rope(rms_norm((h @ layer["k"].T).reshape(batch, time, shape.kv_heads, -1), layer["norm_k"]), shape)
        v = (h @ layer["v"].T).reshape(batch, time, shape.kv_heads, -1)
        groups = shape.heads // shape.kv_heads
        k, v = jnp.repeat(k, groups, 2), jnp.repeat(v, groups, 2)
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(shape.head_dim)
        scores = jax.nn.softmax(jnp.where(visible[:, None], scores, -1e9), -1)
        x = x + jnp.einsum("bhts,bshd->bthd", scores, v).reshape(batch, time, -1) @ layer["o"].T
        h = rms_norm(x, layer["norm_mlp"])
        x = x + (jax.nn.silu(h @ layer["gate"].T) * (h @ layer["up"].T)) @ layer["down"].T
    return rms_norm(x, parameters["norm"])


def logits(parameters, ids, segments, shape: Shape):
    return states(parameters, ids, segments, shape) @ parameters["embedding"].T


def adamw(parameters, mean, square, count, rate, gradient):
    """One step with gradient clipping."""
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradient)))
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1.0 / norm), gradient)
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
    square = jax.tree.map(lambda s, g: 0.98 * s + 0.02 * g * g, square, gradient)

    def moved(p, m, s):
        update = m / (1 - 0.9**count) / (jnp.sqrt(s / (1 - 0.98**count)) + 1e-8)
        return p - rate * (update + (0.01 * p if p.ndim > 1 else 0))

    return jax.tree.map(moved, parameters, mean, square), mean, square


def make_step(shape: Shape):
    """One AdamW step; ids, segments and weights are one token longer than the model sees."""

    def loss(parameters, ids, segments, weights):
        scores = jax.nn.log_softmax(logits(parameters, ids[:, :-1], segments[:, :-1], shape))
        picked = jnp.take_along_axis(scores, ids[:, 1:, None], -1)[..., 0]
        same = (segments[:, 1:] == segments[:, :-1]) * weights[:, 1:]
        return -(picked * same).sum() / same.sum()

    @jax.jit
    def step(parameters, mean, square, count, rate, ids, segments, weights):
        value, gradient = jax.value_and_grad(loss)(parameters, ids, segments, weights)
        return *adamw(parameters, mean, square, count, rate, gradient), value

    return step
