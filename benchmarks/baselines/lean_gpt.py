"""GPT-2 as a careful PyTorch user writes it: fused attention, tied head, no dropout, nothing else."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file


class Block(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(channels)
        self.c_attn = nn.Linear(channels, 3 * channels)
        self.attn_proj = nn.Linear(channels, channels)
        self.ln_2 = nn.LayerNorm(channels)
        self.c_fc = nn.Linear(channels, 4 * channels)
        self.mlp_proj = nn.Linear(4 * channels, channels)

    def forward(self, x):
        return self.after_attention(x, F.scaled_dot_product_attention(*self.qkv(x), is_causal=True))

    def shared(self, prompt, responses, seen):
        """A prompt, and responses that attend to its keys and values: seen is (response, prompt + response)."""
        q, k, v = self.qkv(prompt)
        own_q, own_k, own_v = self.qkv(responses)
        count = len(responses)
        keys, values = (torch.cat([p.expand(count, -1, -1, -1), own], 2) for p, own in ((k, own_k), (v, own_v)))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        own_y = F.scaled_dot_product_attention(own_q, keys, values, attn_mask=seen)
        return self.after_attention(prompt, y), self.after_attention(responses, own_y)

    def qkv(self, x):
        batch, length, channels = x.shape
        parts = self.c_attn(self.ln_1(x)).split(channels, 2)
        return (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in parts)

    def after_attention(self, x, y):
        x = x + self.attn_proj(y.transpose(1, 2).reshape(x.shape))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class LeanGpt(nn.Module):
    def __init__(self, layers, heads, channels, vocab, positions):
        super().__init__()
        self.wte = nn.Embedding(vocab, channels)
        self.wpe = nn.Embedding(positions, channels)
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(channels)

    def hidden(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.ln_f(x)

    def forward(self, ids):
        return F.linear(self.hidden(ids), self.head.weight)

    def shared(self, prompt, responses, seen):
        """The hidden states of the responses to one prompt, which is computed once."""
        start = prompt.shape[1]
        x = self.wte(prompt) + self.wpe(torch.arange(start))
        y = self.wte(responses) + self.wpe(start + torch.arange(responses.shape[1]))
        for block in self.blocks:
            x, y = block.shared(x, y, seen)
        return self.ln_f(y)

    def load(self, folder, head=None):
        """The weights of a GPT-2 folder, whose matrices are (in, out). The head is the embedding, or the tensor of that name."""
        names = {"wte": "wte", "wpe": "wpe", "ln_f": "ln_f"}
        for i in range(len(self.blocks)):
            for ours, theirs in (("ln_1", "ln_1"), ("c_attn", "attn.c_attn"), ("attn_proj", "attn.c_proj"), ("ln_2", "ln_2"),
                                 ("c_fc", "mlp.c_fc"), ("mlp_proj", "mlp.c_proj")):
                names[f"blocks.{i}.{ours}"] = f"h.{i}.{theirs}"
        tensors = load_file(f"{folder}/model.safetensors")
        own = self.state_dict()
        self.head = self.wte if head is None else nn.Linear(1, 1, bias=False)
        if head is not None:
            self.head.weight = nn.Parameter(tensors[f"{head}.weight"])
        for name in own:
            module, kind = name.rsplit(".", 1)
            value = tensors[f"transformer.{names[module]}.{kind}"]
            own[name].copy_(value.t() if value.shape != own[name].shape or name.endswith("attn_proj.weight") else value)
        return self


def adamw(model, learning_rate):
    """AdamW as in InstructGPT, decay on matrices only."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True)
