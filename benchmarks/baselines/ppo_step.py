"""The policy loss of PPO from token ids on, forward and backward, one block and GPT-2's head. `python ppo_step.py eager|compile|trl`

eager and compile hold the logits whole; trl computes the log-probabilities with TRL's chunked function, which never does.
"""

import json
import sys

import torch
import torch.nn.functional as F

from lean_gpt import LeanGpt
from serve import serve, times_of

mode = sys.argv[1]
state = {}


def logprobs_of(hidden, weight, targets):
    if mode == "trl":
        from trl.losses.fused_linear_ppo import _ChunkedSelectiveLogProbFunction

        return _ChunkedSelectiveLogProbFunction.apply(hidden, weight, targets, None, 1.0, 4096)
    return F.log_softmax(F.linear(hidden, weight), -1).gather(-1, targets[:, None])[:, 0]


def loss_of(hidden, weight, targets, old_logprobs, advantages, clip_range):
    ratio = (logprobs_of(hidden, weight, targets) - old_logprobs).exp()
    return torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)).mean()


def prepare(folder, clipRange, threads):
    torch.set_num_threads(threads)
    config = json.load(open(f"{folder}/config.json"))
    batch = json.load(open(f"{folder}/batch.json"))
    with torch.no_grad():
        model = LeanGpt(config["n_layer"], config["n_head"], config["n_embd"], config["vocab_size"], config["n_positions"])
        model.load(folder)
    ids, targets = torch.tensor(batch["ids"]), torch.tensor(batch["targets"]).flatten()
    old_logprobs, advantages = torch.tensor(batch["oldLogprobs"]), torch.tensor(batch["advantages"])
    function = torch.compile(loss_of) if mode == "compile" else loss_of

    def step():
        model.zero_grad(set_to_none=True)
        loss = function(model.hidden(ids).flatten(0, 1), model.wte.weight, targets, old_logprobs, advantages, clipRange)
        loss.backward()
        return loss.item()

    state["step"] = step
    loss = step()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item()
    return {"loss": loss, "gradNorm": norm}


def run(seconds):
    return {"seconds": times_of(state["step"], seconds)}


serve(prepare=prepare, run=run)
