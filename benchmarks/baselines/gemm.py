"""Matrix products in PyTorch, float32, at the shapes and in the forms of benchmarks/native/gemm.cpp."""

import torch

from serve import serve, times_of

cases = {}


def prepare(name, m, n, k, form):
    torch.manual_seed(0)
    a = torch.randn((k, m) if form[0] == "T" else (m, k))
    b = torch.randn((n, k) if form[1] == "T" else (k, n))
    out = torch.zeros(m, n)
    left = a.t() if form[0] == "T" else a
    right = b.t() if form[1] == "T" else b
    # Gradients of weights are added to what is there, as in heed's own case.
    run = (lambda: out.addmm_(left, right)) if form[0] == "T" else (lambda: torch.mm(left, right, out=out))
    run()
    rows, columns = torch.arange(200) * 7919 % m, torch.arange(200) * 104729 % n
    expected = (left[rows].double() * right[:, columns].t().double()).sum(1)
    error = ((out[rows, columns] - expected).norm() / expected.norm()).item()
    assert error < 1e-5, f"{name}: relative error {error}"
    cases[name] = run
    return {"relativeError": error}


def run(name, threads, seconds):
    torch.set_num_threads(threads)
    call = cases[name]
    warm_up = times_of(call, seconds / 4)
    count = max(1, int(0.03 / min(warm_up)))  # short products are timed in batches of 30 ms, as heed's are

    def batch():
        for _ in range(count):
            call()

    return {"seconds": [t / count for t in times_of(batch, seconds)]}


def forget(name):
    del cases[name]
    return {}


serve(prepare=prepare, run=run, forget=forget)
