"""``seqmem plan``: what a model costs, before it is built."""

from __future__ import annotations

import argparse

SUMMARY = "say what a model costs: parameters, FLOPs, memory, time"
DESCRIPTION = (
    "Prints, for a configuration of seqmem's language model, its parameters, the arithmetic of each token, what it "
    "remembers of a sequence, what a training holds in memory, and how long a step and a whole training take. Nothing "
    "is trained: layers are traced without numbers, and small pieces of them are timed on this machine."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", nargs="?",
        help="a YAML or JSON file with the keys of SequenceConfig, or the folder of a saved model",
    )  # fmt: skip
    model = parser.add_argument_group("the model; each wins over CONFIG")
    model.add_argument("--layers", metavar="A,B,...", help="mixers, bottom first: rg_lru,rg_lru,local_attention")
    model.add_argument("--depth", type=int, metavar="N", help="so many layers, the list of --layers over and over")
    model.add_argument("--width", type=int, metavar="N")
    model.add_argument("--vocab-size", type=int, metavar="N")
    model.add_argument("--mlp", metavar="KIND", help="swiglu, fan, gated, plain or rwkv")
    model.add_argument("--mlp-width", type=int, metavar="N", help="0: no MLP")
    model.add_argument("--short-conv", type=int, metavar="N")
    step = parser.add_argument_group("the training")
    step.add_argument("--batch", type=int, metavar="N", default=8, help="rows of a step, over all devices (default: 8)")
    step.add_argument("--time", type=int, metavar="N", default=512, help="positions of a row (default: 512)")
    step.add_argument("--dtype", default="float32", help="float32 (default), float64, or bfloat16 for products in it")
    step.add_argument("--tokens", type=float, metavar="N", help="of the whole training, such as 1e9: prints its time")
    step.add_argument("--devices", type=int, metavar="N", default=1, help="data-parallel, each a share of the batch")
    device = parser.add_argument_group("the device; without --gemm-rate this machine, measured")
    device.add_argument("--gemm-rate", type=float, metavar="GFLOP/S", help="of a matrix product in the dtype")
    device.add_argument("--bandwidth", type=float, metavar="GB/S", help="of its memory")
    device.add_argument(
        "--reached", type=float, metavar="SHARE", default=1.0,
        help="of the limit that these two set (default: 1, the least time)",
    )  # fmt: skip
    device.add_argument("--link", type=float, metavar="GB/S", help="between devices")
    parser.add_argument(
        "--measure", action="store_true",
        help="also train a few steps on this machine and print predicted, measured and their ratio",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a JSON object instead")


def run(arguments: argparse.Namespace) -> int:
    import json

    from seqmem.errors import InputError
    from seqmem.planning.figures import Rates
    from seqmem.planning.measure import measure
    from seqmem.planning.plan import Setting, as_data, make_plan
    from seqmem.planning.show import print_beside, print_plan
    from seqmem.planning.source import read_config

    if (arguments.gemm_rate is None) != (arguments.bandwidth is None):
        raise InputError("a device is described by --gemm-rate and --bandwidth together; give both or neither")
    for name in ("gemm_rate", "bandwidth"):
        if (value := getattr(arguments, name)) is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} is {value}, expected a number above 0")
    described = arguments.gemm_rate is not None
    if described and arguments.measure:
        raise InputError("--measure is about this machine; leave --gemm-rate and --bandwidth out")
    setting = Setting(
        batch=arguments.batch,
        time=arguments.time,
        dtype=arguments.dtype,
        devices=arguments.devices,
        rates=Rates(1e9 * arguments.gemm_rate, 1e9 * arguments.bandwidth) if described else None,
        reached=arguments.reached,
        link=None if arguments.link is None else 1e9 * arguments.link,
        tokens=arguments.tokens,
    )
    plan = make_plan(read_config(arguments), setting)
    beside = measure(plan) if arguments.measure else []
    if arguments.json:
        told = [{**one._asdict(), "ratio": one.ratio} for one in beside]
        print(json.dumps({**as_data(plan), **({"measured": told} if beside else {})}, indent=2))
    else:
        print_plan(plan)
        if beside:
            print_beside(beside)
    return 0
