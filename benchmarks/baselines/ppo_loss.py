"""The clipped policy loss with entropy bonus over stored logits, forward and backward. `python ppo_loss.py eager|compile`"""

import sys

import torch
import torch.nn.functional as F

from serve import serve, times_of

mode = sys.argv[1]
CLIP_RANGE, ENTROPY_COEF = 0.2, 0.01
state = {}


def loss_of(logits, targets, old_logprobs, advantages):
    logprobs = F.log_softmax(logits, -1)
    logprob = logprobs.gather(-1, targets[:, None])[:, 0]
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    ratio = (logprob - old_logprobs).exp()
    surrogate = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE))
    return (surrogate - ENTROPY_COEF * entropy).mean()


def prepare(rows, vocab, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    state.clear()
    logits = (4 * torch.randn(67, vocab)).repeat(-(-rows // 67), 1)[:rows].contiguous().requires_grad_()
    targets = torch.arange(rows) * 7919 % vocab
    sampled = F.log_softmax(logits[:8].detach().double(), -1).gather(-1, targets[:8, None])[:, 0]
    old_logprobs = torch.full((rows,), -10.0)
    old_logprobs[:8] = sampled.float()
    old_logprobs += 0.1 * torch.randn(rows)
    inputs = (targets, old_logprobs, torch.randn(rows))
    function = torch.compile(loss_of) if mode == "compile" else loss_of

    def step():
        logits.grad = None
        function(logits, *inputs).backward()

    step()
    exact = logits.detach()[:8].double().requires_grad_()
    (loss_of(exact, *(t[:8].double() if t.dtype == torch.float32 else t[:8] for t in inputs)) * 8 / rows).backward()
    error = ((logits.grad[:8] - exact.grad).norm() / exact.grad.norm()).item()
    assert error < 1e-5, f"gradient off by {error}"
    state["step"] = step
    return {"relativeError": error}


def run(seconds):
    return {"seconds": times_of(state["step"], seconds)}


serve(prepare=prepare, run=run)
