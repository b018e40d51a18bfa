"""Times the CUDA kernels beside PyTorch's, in one process and interleaved: bench.py BUILD_FOLDER gemm|decode|kernels.

Each candidate is a CUDA graph of several launches, so that the host's share is in none of them; candidates take turns
over several rounds and the fastest round counts. Results are checked before they are timed. Everything goes to
$OUT/results.json, a table to the output.

What to expect, from counts (H100 SXM: 132 multiprocessors, 4096 bf16 flop a cycle each; a product of 8192^3 runs at
about 800 TFLOP/s, held back by power; 3.35 TB/s of memory, 3.0 as a copy measures it):
  products m >= 2048, k >= 2048   a 128 x 256 tile takes 1024 cycles a stage of 64 k for 4.2 Mflop, its copies 384 and
                                  its operands' reads 640 of shared memory: no slack, so 95 % of the 8192^3 product;
                                  narrower tiles ask L2 for 10 TB/s, the most it was seen to give
  the same, k = 768               12 stages, then 2500 cycles in which little multiplies: 80 % of the above; times the
                                  share of full rounds: tiles / (132 ceil(tiles / 132))
  NN; TN with f32 +=              as NT; n and k of 768 have 72 tiles for 132 multiprocessors: 50 %
  products m <= 16                the bytes of the weights over bandwidth; every 256 k at least 16 products of 33 cycles
                                  one after another and a barrier, 620 cycles (n 768, k 3072: 4.3 us, n 2048, k 8192:
                                  11 us); 2.5 us a launch: 75 % of bandwidth for 33 MB and more
  m of 32 and 64                  as m <= 16 while n is small, then the rows are read again by every block: 80 %
"""

import ctypes
import json
import os
import re
import statistics
import sys

import torch

from record import read, record

OUT = os.environ.get("OUT", ".")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
MMA = ["16x16", "16x32", "16x64", "32x32", "64x16", "64x32", "64x64", "128x128"]
WGMMA = ["128x64", "128x128", "128x192", "128x256"]


class Product(ctypes.Structure):  # native/cuda/gemm.h
    _fields_ = [(name, ctypes.c_void_p) for name in ("out", "a", "b", "bias", "residual")]
    _fields_ += [(name, ctypes.c_int) for name in ("m", "n", "k")]
    _fields_ += [(name, ctypes.c_bool) for name in ("transpose_a", "transpose_b", "accumulate", "out_is_f32")]
    _fields_ += [("activation", ctypes.c_uint8)]
    _fields_ += [(name, ctypes.c_void_p) for name in ("activated", "narrow", "scale")]


class Tensor(ctypes.Structure):  # native/core/tensor.h
    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_uint8), ("rows", ctypes.c_int64), ("cols", ctypes.c_int64)]


DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int32: 2, torch.float64: 3, torch.int8: 4}


def tensor(t):
    rows, cols = t.shape if t.dim() == 2 else (t.numel(), 1)
    assert t.is_contiguous()
    return Tensor(t.data_ptr(), DTYPES[t.dtype], rows, cols)


def op_structs():
    """Every struct of native/ops/*.h as a ctypes structure: fields in order, by their C++ types."""
    kinds = {"In": Tensor, "Out": Tensor, "InOut": Tensor, "int": ctypes.c_int, "int32_t": ctypes.c_int32,
             "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64, "uint32_t": ctypes.c_uint32,
             "float": ctypes.c_float, "double": ctypes.c_double, "bool": ctypes.c_bool}
    structs = {}
    for header in os.listdir(os.path.join(ROOT, "native/ops")):
        if not header.endswith(".h"):
            continue
        text = re.sub(r"//[^\n]*", "", open(os.path.join(ROOT, "native/ops", header)).read())
        for name, body in re.findall(r"struct (\w+) \{(.*?)\n\};", text, re.S):
            fields = []
            for kind, names in re.findall(r"^\s*(\w+)\s+(\w[^;()]*);", body, re.M):
                if kind in kinds:
                    fields += [(n.split("=")[0].strip(), kinds[kind]) for n in names.split(",")]
            structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return structs


class Heed:
    def __init__(self, build):
        self.library = ctypes.CDLL(os.path.join(os.path.abspath(build), "heed_cuda_bench.so"))
        self.backend, stream = ctypes.c_void_p(), ctypes.c_void_p()
        self.library.heed_open.restype = ctypes.c_char_p
        self.library.heed_product.restype = ctypes.c_char_p
        self.check(self.library.heed_open(ctypes.byref(self.backend), ctypes.byref(stream)))
        self.stream = torch.cuda.ExternalStream(stream.value)
        torch.cuda.set_stream(self.stream)  # of everything: PyTorch's work and ours are in one order
        self.structs = op_structs()

    def check(self, why):
        if why is not None:
            raise RuntimeError(why.decode())

    def product(self, out, a, b, transpose_a=False, transpose_b=False, bias=None, residual=None, accumulate=False,
                kernel=0, tile=0):
        m, n = out.shape
        pointer = lambda t: None if t is None else t.data_ptr()
        p = Product(out.data_ptr(), a.data_ptr(), b.data_ptr(), pointer(bias), pointer(residual), m, n,
                    a.shape[0] if transpose_a else a.shape[1], transpose_a, transpose_b, accumulate,
                    out.dtype == torch.float32)
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self.check(self.library.heed_product(ctypes.byref(p), kernel, tile, stream))

    def run(self, name, **fields):
        """An op of native/ops, on the backend's stream: tensors and numbers by the names of the struct."""
        struct = self.structs[name]
        size = getattr(self.library, f"heed_size_{name}")
        size.restype = ctypes.c_size_t
        assert size() == ctypes.sizeof(struct), f"{name}: {size()} bytes, not {ctypes.sizeof(struct)}"
        op = struct()
        for key, value in fields.items():
            setattr(op, key, tensor(value) if isinstance(value, torch.Tensor) else value)
        call = getattr(self.library, f"heed_run_{name}")
        call.restype = ctypes.c_char_p
        self.check(call(self.backend, ctypes.byref(op)))


def graph_of(heed, launch, count):
    for i in range(2):
        launch(i)
    heed.stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin()
    try:
        for i in range(count):
            launch(i)
    finally:
        graph.capture_end()
    return graph


def race(heed, candidates, count=10, rounds=5):
    """Seconds of one launch of each candidate, {name: function of the launch's number}."""
    graphs = {name: graph_of(heed, launch, count) for name, launch in candidates.items()}
    times = {name: [] for name in graphs}
    for _ in range(rounds + 1):
        for name, graph in graphs.items():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[name].append(begin.elapsed_time(end) / 1e3 / count)
    return {name: min(t[1:]) for name, t in times.items()}


def save(*keys_and_value):
    record(os.path.join(OUT, "results.json"), [str(k) for k in keys_and_value[:-1]], keys_and_value[-1])


def ceilings(heed):
    x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    t = race(heed, {"copy": lambda i: y.copy_(x), "product": lambda i: torch.mm(a, b)}, 5)
    copy, product = 2 * x.numel() / t["copy"], 2 * 8192**3 / t["product"]
    print(f"copy {copy / 1e9:.0f} GB/s, product of 8192^3 {product / 1e12:.0f} TFLOP/s on {torch.cuda.get_device_name()}")
    save("ceilings", {"copy": copy, "product": product, "device": torch.cuda.get_device_name()})
    return copy, product


def operands(order, m, n, k):
    make = lambda rows, cols: torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16)
    return (make(k, m) if order[0] == "t" else make(m, k)), (make(n, k) if order[1] == "t" else make(k, n))


def check_product(out, a, b, order, before=None):
    expected = (a.t() if order[0] == "t" else a).float() @ (b.t() if order[1] == "t" else b).float()
    if before is not None:
        expected += before
    return float((out.float() - expected).norm() / expected.norm())


def adding(out, a, b):
    """PyTorch's out += a b into f32; where it has none, a b into bf16, which is less work."""
    try:
        torch.addmm(out, a, b, out_dtype=torch.float32, out=out)
        return lambda i: torch.addmm(out, a, b, out_dtype=torch.float32, out=out)
    except Exception as error:
        print(f"torch.addmm into f32: {str(error)[:100]}; mm into bf16 instead")
        half = torch.empty_like(out, dtype=torch.bfloat16)
        return lambda i: torch.mm(a, b, out=half)


def gemm(heed):
    torch.backends.cuda.matmul.allow_tf32 = False
    copy, peak = ceilings(heed)
    layers = {"124M": [(2304, 768), (768, 768), (3072, 768), (768, 3072), (50304, 768)],
              "1.5B": [(4800, 1600), (1600, 1600), (6400, 1600), (1600, 6400)],
              "llama-1B": [(3072, 2048), (2048, 2048), (16384, 2048), (2048, 8192)],
              "llama-8B": [(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)]}
    shapes = [("8192^3", 8192, 8192, 8192), ("4096^3", 4096, 4096, 4096)]
    for model, all_nk in layers.items():
        shapes += [(model, m, n, k) for n, k in all_nk for m in ((8192, 2048) if model == "llama-1B" else (8192,))]
    print(f"{'':9} {'order m n k':>24} {'cuBLAS':>7} {'picked':>7}  best tile      ratio   of each tile (TFLOP/s)")
    rows = []
    for model, m, n, k in shapes:
        for order in ("nt", "nn", "tn"):
            # tn is a weight gradient: (n, k) sums over m, added to f32.
            om, on, ok = (n, k, m) if order == "tn" else (m, n, k)
            a, b = operands(order, om, on, ok)
            f32 = order == "tn"
            out = torch.zeros(om, on, device="cuda", dtype=torch.float32 if f32 else torch.bfloat16)
            peer = torch.zeros_like(out)
            ta, tb = order[0] == "t", order[1] == "t"
            pa, pb = a.t() if ta else a, b.t() if tb else b
            candidates = {"torch": adding(peer, pa, pb) if f32 else lambda i: torch.mm(pa, pb, out=peer)}
            wrong = {}
            for tile, name in enumerate(WGMMA):
                if name == "128x64" and om * on > 1 << 23:
                    continue
                launch = lambda i, tile=tile: heed.product(out, a, b, ta, tb, accumulate=f32, kernel=2, tile=tile)
                out.zero_()
                launch(0)
                if om * on * ok < 1 << 37:
                    error = check_product(out, a, b, order)
                    if not error < (1e-4 if f32 else 3e-3):
                        wrong[name] = error
                candidates[name] = launch
            candidates["picked"] = lambda i: heed.product(out, a, b, ta, tb, accumulate=f32)
            if model in ("4096^3", "124M"):
                candidates["mma"] = lambda i: heed.product(out, a, b, ta, tb, accumulate=f32, kernel=1, tile=MMA.index("128x128"))
            t = race(heed, candidates, 10 if om * on * ok < 1 << 35 else 4, 4)
            flop = 2 * om * on * ok
            rate = {name: flop / s / 1e12 for name, s in t.items()}
            own = {name: r for name, r in rate.items() if name in WGMMA}
            best = max(own, key=own.get)
            print(f"{model:9} {order} {om:6} {on:6} {ok:6}   {rate['torch']:7.0f} {rate['picked']:7.0f}  {best:8} {own[best]:4.0f} "
                  f"{own[best] / rate['torch']:6.3f}   " + " ".join(f"{n}:{r:.0f}" for n, r in rate.items() if n not in ("torch", "picked"))
                  + (f"  WRONG {wrong}" if wrong else ""))
            rows.append({"model": model, "order": order, "m": om, "n": on, "k": ok, "tflops": rate, "wrong": wrong})
            save("gemm", rows)
            del a, b, out, peer
    ratios = [r["tflops"]["picked"] / r["tflops"]["torch"] for r in rows]
    print(f"picked / cuBLAS: median {statistics.median(ratios):.3f}, least {min(ratios):.3f}")
    return any(r["wrong"] for r in rows)


def decode(heed):
    copy, _ = ceilings(heed)
    wrong = False
    rows = []
    print(f"GB/s of weights; copy {copy / 1e9:.0f}")
    for n, k in [(2304, 768), (3072, 768), (768, 3072), (50304, 768), (4800, 1600), (1600, 6400), (3072, 2048),
                 (16384, 2048), (2048, 8192), (6144, 4096), (28672, 4096), (4096, 14336), (128256, 4096)]:
        copies = max(1, min(40, -(-200_000_000 // (2 * n * k))))  # together more than L2 holds
        for order in ("nt", "nn") if n in (3072, 768, 16384) else ("nt",):
            weights = [torch.randn((n, k) if order == "nt" else (k, n), device="cuda", dtype=torch.bfloat16) * 0.02
                       for _ in range(copies)]
            for m in (1, 2, 4, 8, 16, 32, 64):
                a = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
                out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
                peer = torch.empty_like(out)
                tb = order == "nt"
                heed_launch = lambda kernel, tile: lambda i: heed.product(
                    out, a, weights[i % copies], False, tb, kernel=kernel, tile=tile)
                candidates = {"torch": lambda i: torch.mm(a, weights[i % copies].t() if tb else weights[i % copies], out=peer),
                              "picked": heed_launch(0, 0)}
                tiles = ("16x16", "16x32", "16x64") if m <= 16 else ("64x32", "64x64")
                tiles += ("32x32",) if m == 32 else ("64x16",) if m == 64 else ()
                for tile in tiles:
                    candidates[tile] = heed_launch(1, MMA.index(tile))
                if m in (16, 64):
                    candidates["wgmma128x64"] = heed_launch(2, 0)
                candidates["picked"](0)
                error = check_product(out, a, weights[0], order)
                t = race(heed, candidates, max(copies, 10), 3)
                rate = {name: 2 * n * k / s / 1e9 for name, s in t.items()}
                bad = "" if error < 3e-3 else f"  WRONG {error:.2g}"
                wrong |= bad != ""
                print(f"{order} m {m:3} n {n:6} k {k:6}  " + " ".join(f"{name}:{r:.0f}" for name, r in rate.items()) +
                      f"  {t['picked'] * 1e6:.1f} us" + bad)
                rows.append({"order": order, "m": m, "n": n, "k": k, "gbs": rate, "error": error})
                save("decode", rows)
            del weights
    return wrong


class Profiled:
    """ncu --profile-from-start off: what is launched within."""

    def __enter__(self):
        torch.cuda.synchronize()
        torch.cuda.cudart().cudaProfilerStart()

    def __exit__(self, *_):
        torch.cuda.synchronize()
        torch.cuda.cudart().cudaProfilerStop()


def worst_kernel():
    """Of what is in results.json, the case with the smallest share of PyTorch's speed, else of a copy's bandwidth."""
    shares = {}
    for row in read(os.path.join(OUT, "results.json")).get("kernels", {}).values():
        if "torch TFLOP/s" in row:
            shares[row["case"]] = row["TFLOP/s"] / row["torch TFLOP/s"]
        elif "GB/s" in row:
            shares[row["case"]] = row.get("torch/heed", row["of copy"])
    return min(shares, key=shares.get, default=None)


def profile(heed):
    for order, m, n, k, tile in (("nt", 8192, 3072, 768, 3), ("nn", 4096, 4096, 4096, 3), ("tn", 4096, 4096, 8192, 3),
                                 ("nt", 4096, 4096, 4096, 3), ("nt", 4096, 4096, 4096, 1)):
        a, b = operands(order, m, n, k)
        out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
        with Profiled():
            heed.product(out, a, b, order[0] == "t", order[1] == "t", kernel=2, tile=tile)
    a, b = operands("nt", 1, 28672, 4096)
    with Profiled():
        heed.product(torch.empty(1, 28672, device="cuda", dtype=torch.bfloat16), a, b, False, True)

    from kernels import CASES

    worst, candidates = worst_kernel(), {}

    def keep(_, of_case, *__):  # in place of race(): what would be timed
        candidates.update(of_case)
        return {name: 1.0 for name in of_case}

    for case in CASES if worst is not None else ():
        for row in case(heed, keep, 1.0, 1.0):
            if row["case"] == worst:
                print(f"worst: {worst}")
                candidates["heed"](0)
                with Profiled():
                    candidates["heed"](0)
                return False
    return False


def kernels(heed):
    from kernels import CASES

    copy, peak = ceilings(heed)
    failed = False
    for case in CASES:
        try:
            for row in case(heed, race, copy, peak):
                print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()))
                save("kernels", row["case"], row)
        except Exception as error:  # the next kernel still has its turn
            print(f"{case.__name__}: {error}")
            failed = True
    return failed


if __name__ == "__main__":
    sys.exit(1 if globals()[sys.argv[2]](Heed(sys.argv[1])) else 0)
