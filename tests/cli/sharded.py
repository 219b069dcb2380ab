"""Checkpoints in shards, as Hugging Face writes them."""

import json

INDEX = "model.safetensors.index.json"


def write_shards(folder, state, count=3, **metadata):
    """Write a state dict in so many shards with an index; returns the index's path."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    names, where = list(state), {}
    for k in range(count):
        file = f"model-{k + 1:05}-of-{count:05}.safetensors"
        part = {name: state[name].contiguous() for name in names[k::count]}
        save_file(part, folder / file, metadata={"format": "pt", "shard": str(k)})
        where |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1, **metadata}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=2))
    return folder / INDEX


def contents(folder):
    """The bytes of all files, by name."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def loaded(folder):
    """All tensors of all shards."""
    from safetensors.torch import load_file

    found = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found
