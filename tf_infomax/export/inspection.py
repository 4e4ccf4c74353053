"""What is wrong with a SavedModel, by reading its graph: before anything is run."""

from collections.abc import Iterable
from pathlib import Path

from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

_INIT_OP = "__saved_model_init_op"  # always among the signatures, never served
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"}
_ASSIGNING_OPS = {
    "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp",
    "ResourceApplyAdam", "ResourceScatterUpdate",
}  # fmt: skip


def find_faults(path: Path, names: Iterable[str]) -> list[str]:
    """The faults of a SavedModel that TensorFlow Serving is to serve; empty if none.

    * one graph tagged `serve`, with exactly the signatures `names`;
    * every input and output has a leading axis of any size;
    * no signature reaches Python, draws random numbers or changes a variable, and none
      forces XLA;
    * the variables read are the variables restored, and are what is stored: a
      variable read but not restored fails on every request, one stored but not read
      is ballast (a weight stored twice, an optimizer).
    """
    saved = saved_model_pb2.SavedModel.FromString(
        (path / "saved_model.pb").read_bytes()
    )
    if [list(each.meta_info_def.tags) for each in saved.meta_graphs] != [["serve"]]:
        return ["there must be one graph, tagged 'serve'"]
    graph = saved.meta_graphs[0]
    faults = _check_contract(graph, set(names))
    walk = Walk(graph.graph_def)
    read = set()
    for name, signature in graph.signature_def.items():
        if name == _INIT_OP:
            continue
        nodes, kinds = walk.reach(info.name for info in signature.outputs.values())
        read |= {node.name for node in nodes if node.op == "VarHandleOp"}
        faults += [f"signature {name} {fault}" for fault in _check_ops(kinds)]
    restored = walk.reach([graph.saver_def.restore_op_name])[0]
    restored = {node.name for node in restored if node.op == "VarHandleOp"}
    if lost := read - restored:
        faults.append(f"variables read but not restored: {_list(lost)}")
    if surplus := restored - read:
        faults.append(f"variables stored but never read: {_list(surplus)}")
    if walk.forces_xla:
        faults.append("functions that must be compiled by XLA")
    return faults


def _check_contract(graph: meta_graph_pb2.MetaGraphDef, names: set[str]) -> list[str]:
    found = set(graph.signature_def) - {_INIT_OP}
    faults = []
    if found != names:
        faults.append(f"signatures are {_list(found)}, not {_list(names)}")
    for name in sorted(found):
        signature = graph.signature_def[name]
        tensors = [*signature.inputs.items(), *signature.outputs.items()]
        for key, info in tensors:
            dims = info.tensor_shape.dim
            if info.tensor_shape.unknown_rank or not dims or dims[0].size != -1:
                faults.append(f"{name}: {key} has no leading axis of any size")
        for key, info in signature.outputs.items():
            if info.dtype not in (types_pb2.DT_FLOAT, types_pb2.DT_STRING):
                kind = types_pb2.DataType.Name(info.dtype)
                faults.append(f"{name}: {key} is {kind}, not float32")
    return faults


def _check_ops(kinds: set[str]) -> list[str]:
    faults = []
    if python := kinds & _PYTHON_OPS:
        faults.append(f"calls Python: {_list(python)}")
    random = {kind for kind in kinds if kind.startswith(("Random", "Stateful"))}
    random = {kind for kind in random if "PartitionedCall" not in kind}
    if random:
        faults.append(f"draws random numbers: {_list(random)}")
    if assigning := kinds & _ASSIGNING_OPS:
        faults.append(f"changes variables: {_list(assigning)}")
    return faults


def _list(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


class Walk:
    """Follows a graph from outputs to inputs, into the functions it calls."""

    def __init__(self, graph: graph_pb2.GraphDef):
        self.nodes = {node.name: node for node in graph.node}
        self.functions = {each.signature.name: each for each in graph.library.function}
        self.forces_xla = any(
            "_XlaMustCompile" in each.attr and each.attr["_XlaMustCompile"].b
            for each in [*graph.library.function, *graph.node]
        )

    def reach(self, tensors: Iterable[str]) -> tuple[list, set[str]]:
        """(nodes of the graph itself, kinds of all ops) that these tensors need."""
        left = [_node_name(tensor) for tensor in tensors]
        seen: dict[str, object] = {}
        while left:
            name = left.pop()
            if name not in seen:
                seen[name] = self.nodes[name]
                left += [_node_name(each) for each in self.nodes[name].input]
        kinds, entered = set(), set()
        self._collect(seen.values(), kinds, entered)
        return list(seen.values()), kinds

    def _collect(self, nodes, kinds: set[str], entered: set[str]) -> None:
        for node in nodes:
            kinds.add(node.op)
            for attribute in node.attr.values():
                for called in [attribute.func, *attribute.list.func]:
                    if called.name and called.name not in entered:
                        entered.add(called.name)
                        body = self.functions[called.name].node_def
                        self._collect(body, kinds, entered)


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
