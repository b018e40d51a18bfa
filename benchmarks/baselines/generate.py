"""Generation with transformers: sampling at temperature 1 with its key/value cache."""

import json

import torch
from transformers import GPT2LMHeadModel

from serve import serve, times_of

state = {}


def prepare(folder, threads):
    torch.set_num_threads(threads)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.pad_token_id = 0
    state["model"] = model
    prompts = torch.tensor(json.load(open(f"{folder}/prompts.json")))
    greedy = generate(prompts, 16, sample=False)
    return {"greedy": greedy[:, prompts.shape[1] :].tolist()}


@torch.no_grad()
def generate(prompts, count, sample):
    # No end token: every response has the same length, as in heed's case.
    return state["model"].generate(
        prompts, attention_mask=torch.ones_like(prompts), do_sample=sample, temperature=1.0 if sample else None,
        top_k=0 if sample else None, min_new_tokens=count, max_new_tokens=count, eos_token_id=None,
    )


def run(batch, newTokens, folder, seconds):
    prompts = torch.tensor(json.load(open(f"{folder}/prompts.json"))[:batch])
    return {"seconds": times_of(lambda: generate(prompts, newTokens, sample=True), seconds)}


serve(prepare=prepare, run=run)
