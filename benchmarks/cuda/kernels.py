"""Cases of `bench.py BUILD kernels`: functions (heed, race, copy, peak) that yield rows {"case": name, ...}. copy is
bytes a second, peak flop a second, as measured in the same process. Every op's bytes are counted as the fewest it can
move: each input read once, each output written once."""

import torch
import torch.nn.functional as F

BF16, F32, I32 = torch.bfloat16, torch.float32, torch.int32


def new(*shape, dtype=BF16):
    return torch.randn(*shape, device="cuda").to(dtype)


def empty(*shape, dtype=BF16):
    return torch.empty(*shape, device="cuda", dtype=dtype)


def integers(*values):
    return torch.tensor(values, device="cuda", dtype=I32)


def difference(actual, expected):
    return float((actual.float() - expected.float()).norm() / expected.float().norm())


def bandwidth(heed, race, copy, name, fields, peer, bytes_moved, count=10):
    """Times op `name` with fields beside a function of PyTorch, in bytes a second."""
    candidates = {"heed": lambda i: heed.run(name.split()[0], **fields)}
    if peer is not None:
        candidates["torch"] = lambda i: peer()
    t = race(heed, candidates, count, 4)
    row = {"case": name, "GB/s": bytes_moved / t["heed"] / 1e9, "of copy": bytes_moved / t["heed"] / copy,
           "us": t["heed"] * 1e6}
    if "torch" in t:
        row["torch/heed"] = t["torch"] / t["heed"]
    return row


def elementwise(heed, race, copy, peak):
    n, c, f = 16384, 4096, 11008
    x, y, out = new(n, c), new(n, c), empty(n, c)
    yield bandwidth(heed, race, copy, "Gelu", {"out": out, "x": x}, lambda: F.gelu(x, approximate="tanh"), 4 * n * c)
    yield bandwidth(heed, race, copy, "GeluBackward", {"dx": out, "dout": y, "x": x}, None, 6 * n * c)
    yield bandwidth(heed, race, copy, "Add", {"out": out, "a": x, "b": y}, lambda: torch.add(x, y, out=out), 6 * n * c)
    gate_up, up = new(n, 2 * f), empty(n, f)
    yield bandwidth(heed, race, copy, "SwiGlu", {"out": up, "gate_up": gate_up},
                    lambda: F.silu(gate_up[:, :f]) * gate_up[:, f:], 6 * n * f)
    yield bandwidth(heed, race, copy, "SwiGluBackward", {"dgate_up": empty(n, 2 * f), "dout": up, "gate_up": gate_up},
                    None, 10 * n * f)


def norms(heed, race, copy, peak):
    for n, c in ((16384, 768), (16384, 4096)):
        x, w, b, out, rstd, mean = new(n, c), new(1, c), new(1, c), empty(n, c), empty(n, dtype=F32), empty(n, dtype=F32)
        fields = {"out": out, "mean": mean, "rstd": rstd, "x": x, "weight": w, "bias": b, "eps": 1e-5}
        yield bandwidth(heed, race, copy, f"LayerNorm {c}", fields,
                        lambda: F.layer_norm(x, (c,), w[0], b[0], 1e-5), 4 * n * c)
        yield {"case": f"LayerNorm {c} against torch", "relative": difference(out, F.layer_norm(x, (c,), w[0], b[0], 1e-5))}
        yield bandwidth(heed, race, copy, f"LayerNormBackward {c}",
                        {"dx": new(n, c), "dweight": empty(1, c, dtype=F32).zero_(), "dbias": empty(1, c, dtype=F32).zero_(),
                         "dout": out, "x": x, "mean": mean, "rstd": rstd, "weight": w}, None, 8 * n * c)
        yield bandwidth(heed, race, copy, f"RmsNorm {c}", {"out": out, "rstd": rstd, "x": x, "weight": w, "eps": 1e-5},
                        lambda: F.rms_norm(x, (c,), w[0], 1e-5), 4 * n * c)
        yield bandwidth(heed, race, copy, f"RmsNormBackward {c}",
                        {"dx": new(n, c), "dweight": empty(1, c, dtype=F32).zero_(), "dout": out, "x": x, "rstd": rstd,
                         "weight": w}, None, 8 * n * c)


def attention(heed, race, copy, peak):
    """flop: 4 D a pair of query and key for the forward pass, 10 D for the backward; causal, so half the pairs."""
    for d, h, hk, t, s in ((64, 12, 12, 1024, 16), (128, 32, 8, 1024, 8), (128, 32, 8, 4096, 2), (128, 16, 16, 4096, 2)):
        n = t * s
        qkv, out, lse = new(n, (h + 2 * hk) * d), empty(n, h * d), empty(n, h, dtype=F32)
        fields = {"out": out, "lse": lse, "qkv": qkv, "cu_seqlens": integers(*range(0, n + 1, t)),
                  "parent": integers(*[-1] * s), "num_heads": h, "num_kv_heads": hk, "max_path": t}
        parts = qkv.view(s, t, h + 2 * hk, d).transpose(1, 2)
        q, k, v = (x.contiguous().requires_grad_() for x in parts.split((h, hk, hk), 1))
        sdpa = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=h != hk)
        flop = 4 * d * h * s * t * (t + 1) / 2
        name = f"Attention D {d} H {h}/{hk} T {t}"
        with torch.no_grad():
            times = race(heed, {"heed": lambda i: heed.run("Attention", **fields), "torch": lambda i: sdpa()}, 5, 4)
            expected = sdpa().transpose(1, 2).reshape(n, h * d)
        yield {"case": name, "relative": difference(out, expected), "TFLOP/s": flop / times["heed"] / 1e12,
               "torch TFLOP/s": flop / times["torch"] / 1e12, "torch/heed": times["torch"] / times["heed"]}
        dout, dqkv = new(n, h * d), empty(n, (h + 2 * hk) * d)
        backward = {"dqkv": dqkv, "dout": dout, **fields}
        times = race(heed, {"heed": lambda i: heed.run("AttentionBackward", **backward)}, 3, 4)
        result = sdpa()
        result.backward(dout.view(s, t, h, d).transpose(1, 2))
        expected = torch.cat([x.grad for x in (q, k, v)], 1).transpose(1, 2).reshape(n, -1)
        row = {"case": name.replace("Attention", "AttentionBackward"), "relative": difference(dqkv, expected),
               "TFLOP/s": 2.5 * flop / times["heed"] / 1e12}
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        result = sdpa()
        g = dout.view(s, t, h, d).transpose(1, 2)
        torch.autograd.grad(result, (q, k, v), g, retain_graph=True)
        begin.record()
        for _ in range(3):
            torch.autograd.grad(result, (q, k, v), g, retain_graph=True)
        end.record()
        end.synchronize()
        row["torch TFLOP/s"] = 3 * 2.5 * flop / begin.elapsed_time(end) / 1e9
        yield row


def decoding(heed, race, copy, peak):
    """One query a slot over a filled cache; drawing a token."""
    for b, d, h, hk, t in ((1, 128, 32, 8, 4096), (64, 64, 12, 12, 1024), (64, 128, 32, 8, 1024), (8, 128, 32, 8, 4096)):
        keys, values = new(b * hk, t * d), new(b * hk, t * d)
        qkv, out = new(b, (h + 2 * hk) * d), empty(b, h * d)
        q = qkv[:, :h * d].view(b, h, 1, d)
        k, v = keys.view(b, hk, t, d), values.view(b, hk, t, d)
        sdpa = lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=h != hk)
        yield bandwidth(heed, race, copy, f"AttentionDecode B {b} D {d} H {h}/{hk} T {t}",
                        {"out": out, "qkv": qkv, "keys": keys, "values": values, "slots": integers(*range(b)),
                         "positions": integers(*[t - 1] * b), "num_heads": h, "num_kv_heads": hk}, sdpa,
                        4 * b * hk * t * d)
        yield {"case": f"AttentionDecode B {b} D {d} against torch", "relative": difference(out, sdpa().reshape(b, h * d))}
    for b, vocab in ((1, 50257), (64, 50257), (64, 128256)):
        padded = -(-vocab // 64) * 64
        logits = new(b, padded)
        fields = {"tokens": empty(b, dtype=I32), "logprobs": empty(b, dtype=F32), "logits": logits,
                  "seeds": integers(*range(2 * b)).view(b, 2), "counters": integers(*range(2 * b)).view(b, 2),
                  "vocab": vocab, "temperature": 1.0}
        for label, top_k, top_p in (("", 0, 1.0), (" top_k 50", 50, 1.0), (" top_p 0.9", 0, 0.9)):
            yield bandwidth(heed, race, copy, f"Sample {b} x {vocab}{label}", {**fields, "top_k": top_k, "top_p": top_p},
                            lambda: torch.multinomial(torch.softmax(logits[:, :vocab].float(), 1), 1), 2 * b * vocab)


def narrow(heed, race, copy, peak):
    """Weights of 8 bits beside the same ones of 16, heed's and PyTorch's, and in the products of many rows that widen them
    first. GB/s: of the weights' bytes."""
    for n, k in ((3072, 768), (768, 3072), (2048, 8192), (6144, 4096), (28672, 4096), (4096, 14336)):
        copies = max(1, min(40, -(-200_000_000 // (n * k))))  # together more than L2 holds
        weights = [torch.randint(-127, 128, (k, n), device="cuda", dtype=torch.int8) for _ in range(copies)]
        scale = torch.rand(1, n, device="cuda") * 0.001
        wide = [(w.float() * scale).to(BF16) for w in weights[:max(1, -(-copies // 2))]]
        for m in (1, 16, 32, 64, 128, 4096):
            a, out, like = new(m, k), empty(m, n), empty(m, n)
            t = race(heed, {"heed": lambda i: heed.run("Int8Gemm", out=out, a=a, b=weights[i % copies], scale=scale),
                            "16 bits": lambda i: heed.run("Gemm", out=like, a=a, b=wide[i % len(wide)]),
                            "torch": lambda i: torch.mm(a, wide[i % len(wide)], out=like)}, max(copies, 10), 3)
            heed.run("Int8Gemm", out=out, a=a, b=weights[0], scale=scale)
            heed.run("Gemm", out=like, a=a, b=wide[0])
            yield {"case": f"Int8Gemm {m} x {n} x {k}", "GB/s": n * k / t["heed"] / 1e9, "of copy": n * k / t["heed"] / copy,
                   "us": t["heed"] * 1e6, "16 bits/8 bits": t["16 bits"] / t["heed"], "torch/heed": t["torch"] / t["heed"],
                   "equal": bool(torch.equal(out, like))}


def losses(heed, race, copy, peak):
    for rows, vocab in ((4096, 50257), (2048, 128256)):
        padded = -(-vocab // 64) * 64
        for dtype in (BF16, F32):
            logits = new(rows, padded, dtype=dtype)
            size = logits.element_size()
            targets = torch.randint(vocab, (rows,), device="cuda", dtype=I32)
            label = f"{rows} x {vocab} {'bf16' if dtype == BF16 else 'f32'}"
            logprobs = empty(rows, dtype=F32)
            yield bandwidth(heed, race, copy, f"TokenLogprobs {label}",
                            {"logprobs": logprobs, "logits": logits, "targets": targets, "vocab": vocab,
                             "temperature": 1.0}, None, size * rows * vocab, 5)
            expected = torch.log_softmax(logits[:, :vocab].float(), 1).gather(1, targets.long()[:, None])[:, 0]
            yield {"case": f"TokenLogprobs {label} against torch", "relative": difference(logprobs, expected)}
            del expected
            yield bandwidth(heed, race, copy, f"CrossEntropyLoss {label}",
                            {"logits": logits, "row_loss": logprobs, "targets": targets, "vocab": vocab, "scale": 1.0},
                            None, 2 * size * rows * vocab, 5)
            yield bandwidth(heed, race, copy, f"PpoPolicyLoss {label}",
                            {"logits": logits, "row_stats": empty(rows, 5, dtype=F32), "targets": targets,
                             "old_logprobs": logprobs, "advantages": new(rows, dtype=F32), "vocab": vocab,
                             "clip_range": 0.2, "dual_clip": 0.0, "entropy_coef": 0.01, "temperature": 1.0,
                             "scale": 1.0}, None, 2 * size * rows * vocab, 5)


def optimizer(heed, race, copy, peak):
    n = 1 << 27
    weight, m, v, grad = (new(n // 1024, 1024, dtype=F32) for _ in range(4))
    v.abs_()
    fields = {"weight": weight, "m": m, "v": v, "grad": grad, "learning_rate": 1e-4, "beta1": 0.9, "beta2": 0.95,
              "eps": 1e-8, "weight_decay": 0.1, "correction1": 0.1, "correction2": 0.05, "grad_scale": 1.0}
    yield bandwidth(heed, race, copy, "AdamW", fields, None, 28 * n, 3)
    if any(name == "param" for name, _ in heed.structs["AdamW"]._fields_):
        yield bandwidth(heed, race, copy, "AdamW with bf16 copy", {**fields, "param": empty(n // 1024, 1024)}, None, 30 * n, 3)
    yield bandwidth(heed, race, copy, "SquaredNorm", {"sum": empty(1, dtype=torch.float64), "x": grad}, None, 4 * n, 3)


CASES = [attention, losses, decoding, narrow, norms, elementwise, optimizer]
