"""Loads model folders with transformers and prints, as JSON, what each computes for the sequences.

    python load.py SEQUENCES.json FOLDER...

[{"class", "results", "pad", "end", "heed"}]: results are, for a language model, the logits that predict each response token,
for a scalar model the score of each response.
"""

import json
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging

logging.disable_progress_bar()
sequences = json.load(open(sys.argv[1]))
answers = []
for folder in sys.argv[2:]:
    config = AutoConfig.from_pretrained(folder)
    scalar = config.architectures[0].endswith("ForSequenceClassification")
    kind = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    attention = "eager" if config.model_type == "gemma2" else None  # its others leave out the cap of scores
    model, info = kind.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention, output_loading_info=True
    )
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), (folder, info)
    results = []
    with torch.no_grad():
        for tree in sequences["trees"]:
            for response in tree["responses"]:
                logits = model.eval()(input_ids=torch.tensor([tree["prompt"] + response])).logits[0]
                results += logits.tolist() if scalar else logits[len(tree["prompt"]) - 1 : -1].flatten().tolist()
    answers.append({
        "class": type(model).__name__, "results": results, "pad": config.pad_token_id, "end": config.eos_token_id,
        "heed": getattr(config, "heed", None),
    })
print(json.dumps(answers))
