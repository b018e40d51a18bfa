"""Repeats heed's training with transformers and torch.optim in float64, and prints how far heed's numbers are from it.

    python trajectory.py RUNS.json

RUNS.json is a list of runs, as trajectory.test.ts writes them: what went in, heed's metrics and its final model. Printed is a list of
{metric: largest error}; errors are relative to the largest value that the metric takes, that of "update" is the relative L2 of
everything the run changed in the model.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))
from make import exact_copy  # noqa: E402

logging.disable_progress_bar()
torch.set_num_threads(1)
mean = lambda values: sum(values) / len(values)


def load(folder):
    scalar = "SequenceClassification" in json.loads((Path(folder) / "config.json").read_text())["architectures"][0]
    kind = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    model = exact_copy(kind.from_pretrained(folder, dtype=torch.float32))
    model.get_input_embeddings().padding_idx = None  # Llama's gives the padding token no gradient, and an untrained policy says it
    return model


def logits(model, prompt, response):
    """(T, V): the logits that predict each response token."""
    return model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]


def logprobs(model, prompt, response, temperature=1.0):
    targets = torch.tensor(response)[:, None]
    return F.log_softmax(logits(model, prompt, response) / temperature, -1).gather(-1, targets)[:, 0]


def entropy(model, prompt, response, temperature):
    return torch.distributions.Categorical(logits=logits(model, prompt, response) / temperature).entropy()


def scores(model, sequence):
    """The head at every position; the model's own forward would look for padding, which samples of an untrained policy contain."""
    return model.score(model.base_model(input_ids=torch.tensor([sequence])).last_hidden_state)[0, :, 0]


def score(model, sequence):
    return scores(model, sequence)[-1]


def values(model, prompt, response):
    """(T): V of the state before each response token."""
    return scores(model, prompt + response)[len(prompt) - 1 : -1]


class Optimizer:
    def __init__(self, model, o, peak, total):
        matrices = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() == 1]
        groups = [{"params": matrices, "weight_decay": o["weightDecay"]}, {"params": others, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW(groups, betas=o["adamBetas"], eps=o["adamEps"])
        self.parameters, self.o, self.peak, self.total, self.taken = matrices + others, o, peak, total, 0

    def rate(self):
        step, warmup = self.taken, self.o["warmupSteps"]
        if step < warmup:
            return self.peak * (0.1 + 0.9 * step / warmup)
        progress = (step - warmup) / (self.total - warmup)
        cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress))
        return self.peak * {"constant": 1.0, "linear": 1 - progress, "cosine": cosine}[self.o["schedule"]]

    def norm(self):
        return math.sqrt(sum(p.grad.pow(2).sum().item() for p in self.parameters if p.grad is not None))

    def step(self):
        norm, rate = self.norm(), self.rate()
        for group in self.adamw.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(self.parameters, self.o["maxGradNorm"])
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        self.taken += 1
        return norm, rate


def batches(data, size, steps):
    """In the order of the data, repeatedly; the last batch of an epoch has the rest."""
    cut = [data[i : i + size] for i in range(0, len(data), size)]
    return [cut[step % len(cut)] for step in range(steps)]


def sft(run, o):
    model = load(run["from"])
    optimizer = Optimizer(model, o, o["learningRate"], o["steps"])
    found = []
    for batch in batches(run["data"], o["batchSize"], o["steps"]):
        losses = -torch.cat([logprobs(model, prompt, response) for prompt, response in batch])
        loss = losses.mean()
        loss.backward()
        norm, rate = optimizer.step()
        found.append({"loss": loss.item(), "tokens": len(losses), "gradNorm": norm, "learningRate": rate})
    return found, {"update": model}


def reward(run, o):
    model = load(run["from"])
    rankings = [ranking for ranking in run["data"] if len(set(ranking["ranks"])) > 1]
    optimizer = Optimizer(model, o, o["learningRate"], o["steps"])
    found = []
    for batch in batches(rankings, o["batchSize"], o["steps"]):
        losses, right, pairs = [], 0, 0
        for ranking in batch:
            ranks = ranking["ranks"]
            scores = [score(model, ranking["prompt"] + response) for response in ranking["responses"]]
            margins = torch.stack([
                scores[w] - scores[l] for w in range(len(ranks)) for l in range(len(ranks)) if ranks[w] < ranks[l]
            ])
            losses.append(-F.logsigmoid(margins).mean())
            right, pairs = right + (margins > 0).sum().item(), pairs + len(margins)
        loss = torch.stack(losses).mean()
        loss.backward()
        norm, rate = optimizer.step()
        found.append({"loss": loss.item(), "accuracy": right / pairs, "pairs": pairs, "gradNorm": norm, "learningRate": rate})
    with torch.no_grad():
        found[-1]["offset"] = -mean([score(model, sequence).item() for sequence in run["demonstrations"]])
    return found, {"update": model}


def ppo(run, o):
    policy, reference, judge, value = (load(run[key]) for key in ("from", "from", "reward", "reward"))
    optimizer = Optimizer(policy, o, o["learningRate"], o["steps"])
    critic = Optimizer(value, o, o["valueLearningRate"], o["steps"])
    beta, temperature, found = o["klCoef"], o["temperature"], []
    for episodes in run["episodes"]:
        pairs = [(e["prompt"], e["response"]) for e in episodes]
        with torch.no_grad():
            old = [logprobs(policy, *pair, temperature) for pair in pairs]
            held = [logprobs(reference, *pair, temperature) for pair in pairs]
            before = [values(value, *pair) for pair in pairs]
            scores = [score(judge, prompt + response).item() * o["rewardScale"] for prompt, response in pairs]
        scores = [s if e["finished"] else min(s, -o["cutOffPenalty"]) for s, e in zip(scores, episodes)]
        advantages, returns = [], []
        for a, b, v, s in zip(old, held, before, scores):
            rewards = -beta * (a - b)
            rewards[-1] += s
            delta = rewards + o["gamma"] * torch.cat([v[1:], torch.zeros(1)]) - v
            decay = o["gamma"] * o["lambda"]
            advantage = torch.stack([
                sum(decay ** (k - t) * delta[k] for k in range(t, len(delta))) for t in range(len(delta))
            ])
            advantages.append(advantage)
            returns.append(advantage + v)
        every = torch.cat(advantages)
        white = [(a - every.mean()) / torch.sqrt(every.var(unbiased=False) + 1e-8) for a in advantages]
        kl = mean([(a - b).sum().item() for a, b in zip(old, held)])
        targets, guesses = torch.cat(returns), torch.cat(before)
        rollout = {
            "score": mean(scores), "kl": kl, "klCoef": beta, "reward": mean(scores) - beta * kl,
            "klK3": mean([(torch.exp(b - a) - 1 + a - b).sum().item() for a, b in zip(old, held)]),
            "returnsMean": targets.mean().item(), "finished": mean([float(e["finished"]) for e in episodes]),
            "explainedVariance": 1 - ((targets - guesses).var() / targets.var()).item(),
        }  # fmt: skip
        for _ in range(o["innerEpochs"]):
            now = torch.cat([logprobs(policy, *pair, temperature) for pair in pairs])
            entropies = torch.cat([entropy(policy, *pair, temperature) for pair in pairs])
            ratio, a = torch.exp(now - torch.cat(old)), torch.cat(white)
            low, high = 1 - o["clipRange"], 1 + o["clipRange"]
            plain, bounded = -a * ratio, -a * ratio.clamp(low, high)
            loss = (torch.max(plain, bounded) - o["entropyCoef"] * entropies).mean()
            loss.backward()
            policy_norm = optimizer.norm()
            kept = [None if p.grad is None else p.grad.clone() for p in optimizer.parameters]
            optimizer.adamw.zero_grad(set_to_none=True)
            ptx = -torch.cat([logprobs(policy, d[:1], d[1:]) for d in run["documents"]]).mean()
            (o["ptxCoef"] * ptx).backward()
            ptx_norm = optimizer.norm()
            for p, g in zip(optimizer.parameters, kept):
                p.grad = g if p.grad is None else p.grad if g is None else p.grad + g

            v, o_v = torch.cat([values(value, *pair) for pair in pairs]), torch.cat(before)
            near = o_v + (v - o_v).clamp(-o["valueClipRange"], o["valueClipRange"])
            value_loss = 0.5 * torch.max((v - targets) ** 2, (near - targets) ** 2).mean()
            value_loss.backward()
            norm, rate = optimizer.step()
            value_norm, value_rate = critic.step()
            found.append({
                **rollout, "loss": loss.item(), "entropy": entropies.mean().item(), "ratioMax": ratio.max().item(),
                "clipFraction": (bounded > plain).double().mean().item(), "ptxLoss": ptx.item(), "valueLoss": value_loss.item(),
                "approxKl": (ratio - 1 - torch.log(ratio)).mean().item(), "gradNorm": norm, "policyGradNorm": policy_norm,
                "ptxGradNorm": ptx_norm, "valueGradNorm": value_norm, "learningRate": rate, "valueLearningRate": value_rate,
            })  # fmt: skip
    return found, {"update": policy, "valueUpdate": value}


def errors(run):
    found, models = {"sft": sft, "reward": reward, "ppo": ppo}[run["phase"]](run, run["options"])
    assert len(found) == len(run["metrics"]), (len(found), len(run["metrics"]))
    result = {}
    for name in found[0].keys() | found[-1].keys():
        both = [(f[name], m[name]) for f, m in zip(found, run["metrics"]) if name in f]
        largest = max(abs(f) for f, _ in both)
        result[name] = max(abs(f - m) for f, m in both) / (largest or 1)
    for name, model in models.items():
        heed, start = (load_file(Path(run[key][name]) / "model.safetensors") for key in ("final", "start"))
        apart = changed = 0.0
        for key, parameter in model.state_dict().items():
            if key not in heed:
                continue  # a tied head
            apart += (heed[key].double() - parameter).pow(2).sum().item()
            changed += (start[key].double() - parameter).pow(2).sum().item()
        result[name] = math.sqrt(apart / changed)
    return result


torch.set_default_dtype(torch.float64)
print(json.dumps([errors(run) for run in json.loads(Path(sys.argv[1]).read_text())]))
