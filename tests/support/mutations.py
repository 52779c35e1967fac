"""Spoil ONNX files the way damage, odd exporters and bad intentions do, from a seed number."""

from __future__ import annotations

import contextlib
import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import AttributeProto, TensorProto

Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS = (
    -(2**63), -(2**31), -1000, -2, -1, 0, 1, 2, 3, 5, 7, 64, 1000, 65537, 2**31 - 1, 2**31, 2**40,
    2**62, 2**63 - 1,
)  # fmt: skip
FLOATS = (0.0, -0.0, 1e-45, 1e38, -1e38, 0.5, 2.0, 1e6, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "",
    " ",
    "x",
    "../../etc/passwd",
    "a" * 5000,
    "%s%n",
    "\u00e9\u4e2d\U0001f600",
    "NaN",
    "\n",
)


# ---------------------------------------------------------------------- bytes


def flip_bytes(data: bytes, r: random.Random) -> bytes:
    """Change one to twenty bytes anywhere."""
    spoilt = bytearray(data)
    for _ in range(r.randint(1, 20)):
        spoilt[r.randrange(len(spoilt))] = r.randrange(256)
    return bytes(spoilt)


def flip_structure(data: bytes, r: random.Random) -> bytes:
    """Change one to five bytes of the head or tail, where the structure is, not the weights."""
    spoilt = bytearray(data)
    for _ in range(r.randint(1, 5)):
        place = r.randrange(min(2000, len(spoilt)))
        spoilt[place if r.random() < 0.5 else len(spoilt) - 1 - place] ^= 1 << r.randrange(8)
    return bytes(spoilt)


def cut_bytes(data: bytes, r: random.Random) -> bytes:
    """Truncate, drop, repeat or blank a piece."""
    a, b = sorted(r.randrange(len(data)) for _ in range(2))
    match r.randrange(4):
        case 0:
            return data[:a]
        case 1:
            return data[:a] + data[b:]
        case 2:
            return data[:b] + data[a:]
    return data[:a] + bytes(b - a) + data[b:]


# ---------------------------------------------------------------------- any field of the message


def any_field(data: bytes, r: random.Random) -> bytes:
    """Set, clear, double, drop or swap one to four fields anywhere in the message tree."""
    model = onnx.load_from_string(data)
    for _ in range(r.randint(1, 4)):
        message = r.choice([m for m in _messages(model) if m.DESCRIPTOR.fields])
        _spoil_field(message, r.choice(list(message.DESCRIPTOR.fields)), r, model)
    return model.SerializeToString()


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for one in value if _repeated(field) else [value]:
                yield from _messages(one)


def _repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _spoil_field(
    message: Message, field: FieldDescriptor, r: random.Random, model: onnx.ModelProto
) -> None:
    if r.random() < 0.15:
        message.ClearField(field.name)
        return
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if not _repeated(field):
            getattr(message, field.name).SetInParent()
            return
        items = getattr(message, field.name)
        if not items or r.random() < 0.2:
            items.add()
        elif r.random() < 0.5:
            items.add().CopyFrom(r.choice(list(items)))
        else:
            del items[r.randrange(len(items))]
        return
    value = _value(field, r, model)
    if not _repeated(field):
        setattr(message, field.name, value)
        return
    values = list(getattr(message, field.name))
    match r.randrange(4) if values else 0:
        case 0:
            values.insert(r.randint(0, len(values)), value)
        case 1:
            del values[r.randrange(len(values))]
        case 2:
            r.shuffle(values)
        case _:
            values[r.randrange(len(values))] = value
    message.ClearField(field.name)
    getattr(message, field.name).extend(values)


def _value(field: FieldDescriptor, r: random.Random, model: onnx.ModelProto) -> Any:
    kind = field.type
    if kind == FieldDescriptor.TYPE_STRING:
        return r.choice([*TEXTS, *_names(model)])
    if kind == FieldDescriptor.TYPE_BYTES:
        return bytes(r.randrange(256) for _ in range(r.choice([0, 1, 4, 8, 1000])))
    if kind in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return r.choice(FLOATS)
    if kind == FieldDescriptor.TYPE_ENUM:
        assert field.enum_type is not None
        return r.choice([v.number for v in field.enum_type.values])
    number = r.choice([*NUMBERS, r.randrange(30)])
    if kind == FieldDescriptor.TYPE_INT32:
        return max(-(2**31), min(number, 2**31 - 1))
    if kind == FieldDescriptor.TYPE_UINT64:
        return abs(number)
    return number


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    return sorted(
        {t for n in graph.node for t in [*n.input, *n.output, n.name, n.op_type]}
        | {t.name for t in graph.initializer}
    )


# ---------------------------------------------------------------------- one kind of damage each


def types(data: bytes, r: random.Random) -> bytes:
    """Give an input, output or stored tensor another element type."""
    model = onnx.load_from_string(data)
    kind = r.choice([*range(0, 27), 99])
    graph = model.graph
    if r.random() < 0.6 and graph.initializer:
        for tensor in r.sample(list(graph.initializer), min(2, len(graph.initializer))):
            tensor.data_type = kind
    else:
        info = r.choice([*graph.input, *graph.output, *graph.value_info])
        info.type.tensor_type.elem_type = kind
    return model.SerializeToString()


def shapes(data: bytes, r: random.Random) -> bytes:
    """Change the shape that an input, output or stored tensor says it has."""
    model = onnx.load_from_string(data)
    if r.random() < 0.5 and model.graph.initializer:
        tensor = r.choice(list(model.graph.initializer))
        dims = list(tensor.dims)
        match r.randrange(4):
            case 0:
                r.shuffle(dims)
            case 1:
                dims = dims[1:]
            case 2:
                dims = [*dims, 1]
            case _:
                dims = [r.choice(NUMBERS), *dims[1:]]
        tensor.dims[:] = dims
        return model.SerializeToString()
    infos = [*model.graph.input, *model.graph.output]
    shape = r.choice(infos).type.tensor_type.shape
    if not shape.dim or r.random() < 0.2:
        shape.dim.add()
    elif r.random() < 0.2:
        del shape.dim[r.randrange(len(shape.dim))]
    else:
        dim = r.choice(list(shape.dim))
        if r.random() < 0.3:
            dim.dim_param = r.choice(TEXTS)
        else:
            dim.dim_value = r.choice(NUMBERS)
    return model.SerializeToString()


def huge(data: bytes, r: random.Random) -> bytes:
    """Make a tensor enormous: an image, a stored shape, or a new node that blows one up."""
    model = onnx.load_from_string(data)
    graph = model.graph
    large = r.choice([30_000, 2**17, 2**20, 2**31, 2**40, 2**62])
    match r.randrange(3):
        case 0:
            dims = list(graph.input[0].type.tensor_type.shape.dim)
            for dim in dims[-r.randint(1, 2) :]:
                dim.dim_value = large
        case 1:
            integers = [t for t in graph.initializer if t.data_type == TensorProto.INT64]
            if integers:
                tensor = r.choice(integers)
                array = onnx.numpy_helper.to_array(tensor).copy()
                if array.size:
                    array.reshape(-1)[r.randrange(array.size)] = large
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        case _:
            _blow_up(graph, r, large)
    return model.SerializeToString()


def _blow_up(graph: onnx.GraphProto, r: random.Random, large: int) -> None:
    node = r.choice(list(graph.node))
    if not node.input:
        return
    x = node.input[0]
    numbers = {
        "Tile": [1, 1, large, large],
        "Expand": [large, 1, 1, large],
        "Pad": [0, 0, large, large, 0, 0, large, large],
        "Reshape": [1, -1, 1, large],
        "ConstantOfShape": [1, large, large],
    }
    op = r.choice([*numbers, "Resize", "Range"])
    name = f"large.{op}"
    if op == "Resize":
        stored = onnx.helper.make_tensor(name, TensorProto.FLOAT, [4], [1, 1, large, large])
        inputs = [x, "", name]
    elif op == "Range":
        stored = onnx.helper.make_tensor(name, TensorProto.INT64, [], [large])
        zero = onnx.helper.make_tensor("large.zero", TensorProto.INT64, [], [0])
        one = onnx.helper.make_tensor("large.one", TensorProto.INT64, [], [1])
        graph.initializer.extend([zero, one])
        inputs = ["large.zero", name, "large.one"]
    else:
        values = numbers[op]
        stored = onnx.helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        inputs = [name] if op == "ConstantOfShape" else [x, name]
    graph.initializer.append(stored)
    made = onnx.helper.make_node(op, inputs, [f"{name}.out"])
    if op in ("Range", "ConstantOfShape"):
        made_too = onnx.helper.make_node("ReduceMax", [f"{name}.out"], [f"{name}.max"])
        graph.output.append(onnx.ValueInfoProto(name=f"{name}.max"))
        graph.node.extend([made, made_too])
        return
    node.input[0] = f"{name}.out"
    place = next(i for i, n in enumerate(graph.node) if n == node)
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node]
    del graph.node[:]
    graph.node.extend([*kept[:place], made, *kept[place:]])


def wires(data: bytes, r: random.Random) -> bytes:
    """Rewire one to three inputs or outputs: cycles, doubled, empty and dangling names."""
    model = onnx.load_from_string(data)
    names = [*_names(model), "", "nowhere"]
    for _ in range(r.randint(1, 3)):
        node = r.choice(list(model.graph.node))
        side = node.input if node.input and r.random() < 0.75 else node.output
        if side:
            side[r.randrange(len(side))] = r.choice(names)
    if r.random() < 0.2:
        r.choice(list(model.graph.output)).name = r.choice(names)
    return model.SerializeToString()


def attributes(data: bytes, r: random.Random) -> bytes:
    """Spoil one or two attributes: wild numbers, another type, gone, of another operator."""
    model = onnx.load_from_string(data)
    owners = [n for n in model.graph.node if n.attribute]
    for _ in range(r.randint(1, 2)):
        node = r.choice(owners)
        attribute = r.choice(list(node.attribute))
        match r.randrange(6):
            case 0:
                node.attribute.remove(attribute)
                owners = [n for n in owners if n.attribute] or owners
                if not node.attribute:
                    break
            case 1:
                attribute.type = r.choice(list(AttributeProto.AttributeType.values()))
            case 2:
                node.attribute.add().CopyFrom(r.choice(list(r.choice(owners).attribute)))
            case 3:
                attribute.s = r.choice(TEXTS).encode()
            case _:
                attribute.i = r.choice(NUMBERS)
                if attribute.ints:
                    attribute.ints[r.randrange(len(attribute.ints))] = r.choice(NUMBERS)
                    if r.random() < 0.3:
                        attribute.ints.append(r.choice(NUMBERS))
                attribute.f = r.choice(FLOATS)
    return model.SerializeToString()


def operators(data: bytes, r: random.Random) -> bytes:
    """Turn nodes into other operators, with the inputs they have."""
    model = onnx.load_from_string(data)
    known = sorted({s.name for s in onnx.defs.get_all_schemas()})
    for _ in range(r.randint(1, 2)):
        node = r.choice(list(model.graph.node))
        node.op_type = r.choice([*known, "Nothing", ""])
        if r.random() < 0.2:
            node.domain = r.choice(["ai.onnx.ml", "com.microsoft", "../x", "ai.onnx"])
    return model.SerializeToString()


def versions(data: bytes, r: random.Random) -> bytes:
    """Claim another operator set or IR version."""
    model = onnx.load_from_string(data)
    if r.random() < 0.6:
        model.opset_import[0].version = r.choice([*NUMBERS, *range(1, 30)])
    elif r.random() < 0.5:
        model.ir_version = r.choice([*NUMBERS, *range(15)])
    else:
        model.opset_import.add(domain=r.choice(["", "ai.onnx", "x"]), version=r.choice(NUMBERS))
    return model.SerializeToString()


def outside(data: bytes, r: random.Random) -> bytes:
    """Keep a stored tensor in another file, often one that is none of the model's business."""
    model = onnx.load_from_string(data)
    tensor = r.choice(list(model.graph.initializer))
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = (
        "/etc/passwd",
        "../../../etc/passwd",
        "",
        ".",
        "missing.bin",
        "seed.onnx",
        "/dev/zero",
    )
    tensor.external_data.add(key="location", value=r.choice(places))
    for key in ("offset", "length"):
        if r.random() < 0.6:
            tensor.external_data.add(key=key, value=str(r.choice([*NUMBERS, "x"])))
    return model.SerializeToString()


def manifest(data: bytes, r: random.Random) -> bytes:
    """Spoil the JSON in which fnac keeps what it knows about the network."""
    model = onnx.load_from_string(data)
    entry = next((e for e in model.metadata_props if e.key == "fnac"), None)
    if entry is None:
        entry = model.metadata_props.add(key="fnac")
        entry.value = json.dumps({"version": 1, "role": "seed", "size": [16, 16]})
    if r.random() < 0.15:
        entry.value = r.choice(["", "{", "[]", "null", "1e999", '{"version": 1', "\x00"])
        return model.SerializeToString()
    content = json.loads(entry.value)
    for _ in range(r.randint(1, 2)):
        _spoil_json(content, r)
    entry.value = json.dumps(content)
    return model.SerializeToString()


def _spoil_json(value: Any, r: random.Random) -> None:
    wrong: tuple[Any, ...] = (
        None, 0, -1, 1e999, 2**70, "", "seed", "super", [], {}, [0], [[]], {"x": 1}, True,
    )  # fmt: skip
    while value:
        key = r.choice(list(value)) if isinstance(value, dict) else r.randrange(len(value))
        below = value[key]
        if isinstance(below, dict | list) and below and r.random() < 0.7:
            value = below
            continue
        if r.random() < 0.25:
            del value[key]
        else:
            value[key] = r.choice(wrong)
        return


def functions(data: bytes, r: random.Random) -> bytes:
    """Add local functions: recursive, in a ring, of wrong arity, or hiding a standard operator."""
    model = onnx.load_from_string(data)
    domain = r.choice(["local", "", "ai.onnx"])
    names = ["F", "G"] if r.random() < 0.7 else ["Relu", "Conv"]
    imports = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("local", 1)]
    for i, name in enumerate(names):
        inner = r.choice([names[i - 1], name, "Relu"])
        node = onnx.helper.make_node(inner, ["x"], ["y"], domain=domain if inner != "Relu" else "")
        model.functions.append(
            onnx.helper.make_function(
                domain, name, ["x"] * r.randint(0, 2), ["y"], [node], imports[: r.randint(1, 2)]
            )
        )
    model.opset_import.add(domain="local", version=1)
    target = r.choice(list(model.graph.node))
    target.op_type, target.domain = r.choice(names), domain
    return model.SerializeToString()


def subgraphs(data: bytes, r: random.Random) -> bytes:
    """Put a node into an If, a Loop that never ends, or a Scan, with odd bodies."""
    model = onnx.load_from_string(data)
    graph = model.graph
    node = r.choice([n for n in graph.node if n.input and n.output])
    x, y = node.input[0], node.output[0]
    out = onnx.helper.make_tensor_value_info("inner.y", TensorProto.FLOAT, None)
    body = onnx.helper.make_graph(
        [onnx.helper.make_node(r.choice(["Relu", "Identity", "Loop", "If"]), [x], ["inner.y"])],
        "body",
        [],
        [out],
    )
    graph.initializer.append(onnx.helper.make_tensor("cond", TensorProto.BOOL, [], [True]))
    graph.initializer.append(onnx.helper.make_tensor("trips", TensorProto.INT64, [], [2**62]))
    if r.random() < 0.5:
        made = onnx.helper.make_node("If", ["cond"], [y], then_branch=body, else_branch=body)
    else:
        loop = onnx.helper.make_graph(
            [
                onnx.helper.make_node("Identity", ["go"], ["go.out"]),
                onnx.helper.make_node("Relu", ["v"], ["v.out"]),
            ],
            "body",
            [
                onnx.helper.make_tensor_value_info("i", TensorProto.INT64, []),
                onnx.helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                onnx.helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
            ],
            [
                onnx.helper.make_tensor_value_info("go.out", TensorProto.BOOL, []),
                onnx.helper.make_tensor_value_info("v.out", TensorProto.FLOAT, None),
            ],
        )
        made = onnx.helper.make_node("Loop", ["trips", "cond", x], [y], body=loop)
    node.CopyFrom(made)
    return model.SerializeToString()


def names(data: bytes, r: random.Random) -> bytes:
    """Rename every tensor and node, to odd texts, the same, or nothing at all."""
    model = onnx.load_from_string(data)
    alphabet = r.choice([string.ascii_letters, "/.: \t", "\u4e2d\U0001f600\u00e9", "{}%$\\'\""])
    fresh: dict[str, str] = {"": ""}

    def renamed(name: str) -> str:
        if name not in fresh:
            fresh[name] = "".join(r.choice(alphabet) for _ in range(12)) + str(len(fresh))
        return fresh[name]

    graph = model.graph
    for node in graph.node:
        node.input[:] = [renamed(i) for i in node.input]
        node.output[:] = [renamed(o) for o in node.output]
        node.name = r.choice(["", "same", renamed(node.name)])
    for info in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        info.name = renamed(info.name)
    return model.SerializeToString()


MUTATIONS: tuple[Mutation, ...] = (
    flip_bytes, flip_structure, cut_bytes, any_field, any_field, any_field, types, shapes, huge,
    wires, attributes, attributes, operators, versions, outside, manifest, functions, subgraphs,
    names,
)  # fmt: skip


def mutate(seeds: list[bytes], number: int) -> tuple[str, bytes]:
    """Return mutation ``number``: what was done, and the spoilt file."""
    r = random.Random(number)
    mutation = MUTATIONS[number % len(MUTATIONS)]
    which = r.randrange(len(seeds))
    data = mutation(seeds[which], r)
    if r.random() < 0.15:  # damage seldom comes alone
        with contextlib.suppress(DecodeError, LookupError, ValueError, TypeError, StopIteration):
            data = r.choice(MUTATIONS[3:])(data, r)  # unless the first one left nothing to spoil
    return f"{number}: {mutation.__name__} of seed {which}", data
