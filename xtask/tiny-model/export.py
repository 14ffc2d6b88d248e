"""Tokenizer training and the model folder: safetensors (bf16), tokenizer.json and the three config files."""

import json
import pathlib

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from network import HF_NAMES, Shape
from render import TEMPLATE

# Tool markers are ordinary added tokens: an engine that drops special tokens from text must still see them.
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKERS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def train_tokenizer(texts, vocab):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    added = [AddedToken(text, special=True, normalized=False) for text in CONTROL]
    added += [AddedToken(text, special=False, normalized=False) for text in MARKERS]
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=added, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    plain = json.loads(tokenizer.to_str())
    for token in plain["added_tokens"]:
        token["special"] = token["content"] in CONTROL
    return Tokenizer.from_str(json.dumps(plain))


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def write_bf16(path, tensors):
    """numpy has no bf16, so the container is written by hand: header length, JSON header padded to 8 bytes, data."""
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in sorted(tensors.items()):
        bits = np.ascontiguousarray(tensor, np.float32).view(np.uint32)
        blob = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def tensors(parameters):
    named = {"model.embed_tokens.weight": parameters["embedding"], "model.norm.weight": parameters["norm"]}
    for index, layer in enumerate(parameters["layers"]):
        for key, value in layer.items():
            named[f"model.layers.{index}.{HF_NAMES[key]}.weight"] = value
    return {name: np.asarray(value, np.float32) for name, value in named.items()}


def with_end(tokenizer):
    """An embedding is read off the last token, so every text gets an end token, as Qwen3-Embedding has it."""
    end = CONTROL[0]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, tokenizer.token_to_id(end))])
    return tokenizer


def write_embedding_folder(folder, parameters, tokenizer, shape: Shape):
    """A folder as sentence-transformers writes it; tensors are named without the `model.` of a causal model."""
    folder = pathlib.Path(folder)
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    bare = {name.removeprefix("model."): value for name, value in tensors(parameters).items()}
    write_bf16(folder / "model.safetensors", bare)
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(CONTROL[0])
    write_json(folder / "config.json", {"architectures": ["Qwen3ForCausalLM"], **config(shape, end, end)})
    write_json(folder / "tokenizer_config.json", {
        "bos_token": None, "eos_token": CONTROL[0], "pad_token": CONTROL[0], "unk_token": None, "add_bos_token": False,
        "model_max_length": shape.context, "tokenizer_class": "Qwen2Tokenizer",
    })
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])
    write_json(folder / "1_Pooling" / "config.json", {
        "word_embedding_dimension": shape.hidden, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False, "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": True, "include_prompt": True,
    })


def config(shape: Shape, bos, eos):
    return {
        "model_type": "qwen3", "vocab_size": shape.vocab,
        "hidden_size": shape.hidden, "intermediate_size": shape.inter, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "hidden_act": "silu", "max_position_embeddings": shape.context, "rms_norm_eps": 1e-6,
        "rope_theta": shape.rope_theta, "rope_scaling": None, "attention_bias": False, "attention_dropout": 0.0,
        "tie_word_embeddings": True, "bos_token_id": bos, "eos_token_id": eos, "sliding_window": None,
        "use_sliding_window": False, "max_window_layers": shape.layers, "torch_dtype": "bfloat16", "use_cache": True,
    }


def write_folder(folder, parameters, tokenizer, shape: Shape):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ids = {text: tokenizer.token_to_id(text) for text in CONTROL + MARKERS}
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    write_bf16(folder / "model.safetensors", tensors(parameters))
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "config.json", {"architectures": ["Qwen3ForCausalLM"], **config(shape, pad, end)})
    write_json(folder / "generation_config.json", {"bos_token_id": pad, "eos_token_id": [end, pad]})
    write_json(folder / "tokenizer_config.json", {
        "added_tokens_decoder": {str(number): {
            "content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": text in CONTROL,
        } for text, number in ids.items()},
        "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
        "add_bos_token": False, "model_max_length": shape.context, "tokenizer_class": "Qwen2Tokenizer", "chat_template": TEMPLATE,
    })
