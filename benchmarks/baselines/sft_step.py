"""A training step in PyTorch: forward, backward, clipping, fused AdamW. `python sft_step.py lean|hf f32|bf16`

bf16 is autocast, as PyTorch is used: float32 weights and moments, products in bfloat16.
"""

import json
import sys

import torch
import torch.nn.functional as F

from lean_gpt import LeanGpt, adamw
from serve import serve, times_of

variant, is_bf16 = sys.argv[1], sys.argv[2] == "bf16"
state = {}


def prepare(folder, learningRate, threads):
    torch.set_num_threads(threads)
    config = json.load(open(f"{folder}/config.json"))
    batch = json.load(open(f"{folder}/batch.json"))
    if variant == "hf":
        from transformers import GPT2LMHeadModel

        model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        logits = lambda ids: model(input_ids=ids).logits
    else:
        with torch.no_grad():
            model = LeanGpt(config["n_layer"], config["n_head"], config["n_embd"], config["vocab_size"], config["n_positions"])
            model.load(folder)
        logits = model
    ids, targets = torch.tensor(batch["ids"]), torch.tensor(batch["targets"])
    optimizer = adamw(model, learningRate)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
            loss = F.cross_entropy(logits(ids).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    state["step"] = step
    return {"losses": [step() for _ in range(4)]}


def run(seconds):
    return {"seconds": times_of(state["step"], seconds)}


serve(prepare=prepare, run=run)
