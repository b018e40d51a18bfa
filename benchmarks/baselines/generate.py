"""Generation with transformers: sampling at temperature 1 with its key/value cache. `python generate.py f32|bf16`"""

import json
import sys

import torch
import torch.nn.functional as F
from transformers import GPT2LMHeadModel

from serve import serve, times_of

dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[sys.argv[1]]
state = {}


def prepare(folder, threads, **_):
    torch.set_num_threads(threads)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).eval()
    model.generation_config.pad_token_id = 0
    state["model"] = model
    prompts = torch.tensor(json.load(open(f"{folder}/prompts.json")))
    responses = torch.tensor(json.load(open(f"{folder}/greedy.json")))
    greedy = generate(prompts, responses.shape[1], sample=False)
    return {"greedy": greedy[:, prompts.shape[1] :].tolist(), "logprobs": logprobs(prompts, responses).tolist()}


@torch.no_grad()
def logprobs(prompts, responses):
    logits = state["model"](input_ids=torch.cat([prompts, responses], 1)).logits[:, prompts.shape[1] - 1 : -1].float()
    return F.log_softmax(logits, -1).gather(-1, responses[..., None])[..., 0]


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
