"""Loads a model folder with transformers and prints, as JSON, what it computes for the sequences on standard input's path.

    python load.py FOLDER SEQUENCES.json

{"class", "results", "pad", "end"}: for a language model the logits that predict the response tokens, for a scalar model the scores.
"""

import json
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

folder, sequences = sys.argv[1], json.load(open(sys.argv[2]))
config = AutoConfig.from_pretrained(folder)
scalar = config.architectures[0].endswith("ForSequenceClassification")
kind = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
model, info = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
model.eval()
results = []
with torch.no_grad():
    for tree in sequences["trees"]:
        for response in tree["responses"]:
            logits = model(input_ids=torch.tensor([tree["prompt"] + response])).logits[0]
            results += logits.tolist() if scalar else logits[len(tree["prompt"]) - 1 : -1].flatten().tolist()
print(json.dumps({
    "class": type(model).__name__, "results": results, "pad": config.pad_token_id, "end": config.eos_token_id,
    "scoreOffset": getattr(config, "heed", {}).get("score_offset", 0) if isinstance(getattr(config, "heed", {}), dict) else 0,
}))
