"""Loads adapter folders with PEFT and prints, as JSON, what each computes for the sequences.

    python load_adapters.py SEQUENCES.json BASE,ADAPTER...

[{"results", "targets", "base"}]: results as in load.py.
"""

import json
import sys
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging

logging.disable_progress_bar()
logging.set_verbosity_error()
sequences = json.load(open(sys.argv[1]))
answers = []
for pair in sys.argv[2:]:
    base, folder = pair.split(",")
    config = json.load(open(folder + "/adapter_config.json"))
    scalar = config["task_type"] == "SEQ_CLS"
    kind = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    model = kind.from_pretrained(base, dtype=torch.float32, **(dict(num_labels=1, pad_token_id=0) if scalar else {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # missing adapter keys
        warnings.filterwarnings("ignore", ".*_pattern keys did not match")
        adapted = PeftModel.from_pretrained(model, folder).eval()
    results = []
    with torch.no_grad():
        for tree in sequences["trees"]:
            for response in tree["responses"]:
                logits = adapted(input_ids=torch.tensor([tree["prompt"] + response])).logits[0]
                results += logits.tolist() if scalar else logits[len(tree["prompt"]) - 1 : -1].flatten().tolist()
    answers.append({
        "results": results,
        "targets": sorted(name for name, module in adapted.named_modules() if hasattr(module, "lora_A") and len(module.lora_A)),
        "base": config["base_model_name_or_path"],
    })
print(json.dumps(answers))
