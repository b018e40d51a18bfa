"""A whole iteration of PPO in PyTorch with transformers: sampling by `generate` with its cache, the reference's log-probabilities, values and
scores in one batch each, then AdamW steps of policy and value network over minibatches.
"""

import json

import torch
import torch.nn.functional as F
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel

from lean_gpt import adamw
from serve import serve, times_of

state = {}


def load(kind, folder):
    model = kind.from_pretrained(folder, dtype=torch.float32)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def prepare(folder, threads):
    torch.set_num_threads(threads)
    o = json.load(open(f"{folder}/settings.json"))
    policy, reward = load(GPT2LMHeadModel, f"{folder}/policy"), load(GPT2ForSequenceClassification, f"{folder}/reward")
    value = load(GPT2ForSequenceClassification, f"{folder}/reward")
    state.update(
        o=o, policy=policy, reference=load(GPT2LMHeadModel, f"{folder}/reference"), reward=reward, value=value,
        optimizers=[adamw(policy, o["learningRate"]), adamw(value, o["valueLearningRate"])],
    )
    policy.generation_config.pad_token_id = o["stopToken"]
    longest = max(map(len, o["responses"]))
    responses = torch.tensor([r + [o["stopToken"]] * (longest - len(r)) for r in o["responses"]])
    lengths = torch.tensor([len(r) for r in o["responses"]])
    return iterate(responses, lengths, o["minibatches"])


@torch.no_grad()
def sample():
    o, prompts = state["o"], torch.tensor(state["o"]["prompts"])
    ids = state["policy"].generate(
        prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_k=0,
        max_new_tokens=o["maxNewTokens"], eos_token_id=o["stopToken"],
    )
    responses = ids[:, prompts.shape[1] :]
    is_stop = responses == o["stopToken"]
    lengths = torch.where(is_stop.any(1), is_stop.int().argmax(1) + 1, responses.shape[1])
    return responses, lengths


def logprobs(model, ids, mask, count):
    logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=count + 1).logits[:, :-1]
    return F.log_softmax(logits, -1).gather(-1, ids[:, -count:, None])[..., 0]


def values(model, ids, mask, count):
    """Of the states before each response token, and of the last one after it."""
    return model.score(model.transformer(input_ids=ids, attention_mask=mask).last_hidden_state[:, -count - 1 :])[..., 0]


def iterate(responses, lengths, minibatches):
    o, count = state["o"], responses.shape[1]
    prompts = torch.tensor(o["prompts"])
    ids = torch.cat([prompts, responses], 1)
    rows = torch.arange(count) < lengths[:, None]
    mask = torch.cat([torch.ones_like(prompts), rows.long()], 1)
    with torch.no_grad():
        old = logprobs(state["policy"], ids, mask, count)
        reference = logprobs(state["reference"], ids, mask, count)
        old_values = values(state["value"], ids, mask, count)[:, :-1]
        scores = values(state["reward"], ids, mask, count).gather(1, lengths[:, None])[:, 0]
        difference = (old - reference) * rows
        rewards = -o["klCoef"] * difference
        rewards[torch.arange(len(ids)), lengths - 1] += scores
        advantages, last, following = torch.zeros_like(rewards), 0.0, 0.0
        for t in reversed(range(count)):
            last = (rewards[:, t] + following - old_values[:, t] + o["lambda"] * last) * rows[:, t]
            advantages[:, t], following = last, old_values[:, t] * rows[:, t]
        returns = advantages + old_values
        taken = advantages[rows]
        advantages = (advantages - taken.mean()) / (taken.var(unbiased=False) + 1e-8).sqrt()
    found = {"score": scores.mean().item(), "kl": difference.sum(1).mean().item(), "steps": []}
    for picked in map(torch.tensor, minibatches):
        own = rows[picked]
        ratio = (logprobs(state["policy"], ids[picked], mask[picked], count) - old[picked]).exp()
        clipped = ratio.clamp(1 - o["clipRange"], 1 + o["clipRange"])
        a = advantages[picked]
        policy_loss = torch.max(-a * ratio, -a * clipped)[own].mean()
        v = values(state["value"], ids[picked], mask[picked], count)[:, :-1]
        near = old_values[picked] + (v - old_values[picked]).clamp(-o["valueClipRange"], o["valueClipRange"])
        target = returns[picked]
        value_loss = 0.5 * torch.max((v - target) ** 2, (near - target) ** 2)[own].mean()
        (policy_loss + value_loss).backward()  # of two models that share nothing
        norms = []
        for model, optimizer in zip((state["policy"], state["value"]), state["optimizers"]):
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        found["steps"].append({"loss": policy_loss.item(), "valueLoss": value_loss.item(), "gradNorm": norms[0], "valueGradNorm": norms[1]})
    return found


def run(seconds):
    def iteration():
        responses, lengths = sample()
        order = torch.randperm(len(responses)).chunk(len(state["o"]["minibatches"]))
        iterate(responses, lengths, [picked.tolist() for picked in order])

    return {"seconds": times_of(iteration, seconds)}


serve(prepare=prepare, run=run)
