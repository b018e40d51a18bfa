"""Scoring and training a reward model in PyTorch. `python reward.py padded|shared f32|bf16`

padded: GPT2ForSequenceClassification over whole sequences, padded to the longest. shared: a lean GPT-2 that computes each prompt once,
in a loop over the prompts; the responses attend to its keys and values.
bf16 is a model in bfloat16 for scoring, and autocast for training.
"""

import json
import sys

import torch
import torch.nn.functional as F

from lean_gpt import LeanGpt, adamw
from serve import serve, times_of

variant, is_bf16 = sys.argv[1], sys.argv[2] == "bf16"
state = {}


def padded_scores(folder, trees):
    from transformers import GPT2ForSequenceClassification

    model = GPT2ForSequenceClassification.from_pretrained(folder, dtype=torch.float32).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    sequences = [t["prompt"] + r for t in trees for r in t["responses"]]
    lengths = torch.tensor([len(s) for s in sequences])
    longest = int(lengths.max())
    ids = torch.tensor([s + [0] * (longest - len(s)) for s in sequences])
    mask = (torch.arange(longest) < lengths[:, None]).long()

    def scores():
        hidden = model.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        return model.score(hidden[torch.arange(len(ids)), lengths - 1])[:, 0]

    return model, scores


def shared_scores(folder, trees):
    config = json.load(open(f"{folder}/config.json"))
    with torch.no_grad():
        model = LeanGpt(config["n_layer"], config["n_head"], config["n_embd"], config["vocab_size"], config["n_positions"])
        model.load(folder, "score")
    groups = []
    for tree in trees:
        prompt, responses = torch.tensor([tree["prompt"]]), tree["responses"]
        lengths = torch.tensor([len(r) for r in responses])
        longest = int(lengths.max())
        ids = torch.tensor([r + [0] * (longest - len(r)) for r in responses])
        seen = torch.ones(longest, prompt.shape[1] + longest, dtype=torch.bool).tril(prompt.shape[1])
        groups.append((prompt, ids, seen, lengths))

    def scores():
        found = []
        for prompt, ids, seen, lengths in groups:
            hidden = model.shared(prompt, ids, seen)
            found.append(F.linear(hidden[torch.arange(len(ids)), lengths - 1], model.head.weight)[:, 0])
        return torch.cat(found)

    return model, scores


def prepare(folder, threads, training, learningRate=0.0):
    torch.set_num_threads(threads)
    trees = json.load(open(f"{folder}/trees.json"))
    model, scores = (padded_scores if variant == "padded" else shared_scores)(folder, trees)
    if not training:
        if is_bf16:
            model.to(torch.bfloat16)

        @torch.no_grad()
        def run():
            return scores().float()

        state["run"] = run
        return {"scores": run().tolist()}

    optimizer = adamw(model, learningRate)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
            found = scores().float()
        losses, start = [], 0
        for tree in trees:
            ranks = torch.tensor(tree["ranks"])
            group = found[start : start + len(ranks)]
            better = ranks[:, None] < ranks[None, :]
            losses.append(-F.logsigmoid(group[:, None] - group[None, :])[better].mean())
            start += len(ranks)
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return found.detach().tolist()

    state["run"] = step
    return {"steps": [step() for _ in range(3)]}


def run(seconds):
    return {"seconds": times_of(state["run"], seconds)}


serve(prepare=prepare, run=run)
