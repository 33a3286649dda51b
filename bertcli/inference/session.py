"""Choose and open the model, task, backend and device that a Request asks for, with the reason for each choice.

Knows the rules of choice, but no single task or backend: the registry finds them.
Try: bertcli info
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bertcli import device, registry, tokenizer_files
from bertcli.arrays import Window
from bertcli.backends import BaseBackend, Stages, open_backend
from bertcli.device import Device
from bertcli.errors import ModelError
from bertcli.inference import OF_ONNX, Request, cache
from bertcli.inference.batching import collate
from bertcli.model import Model, resolve
from bertcli.tasks import DEFAULT
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import exit_threshold_of
from bertcli.tasks.options import Options


@dataclass(frozen=True)
class Session:
    """An opened model. reason: a line that names task, backend, precision and device, and why they were chosen."""

    model: Model
    task: BaseTask
    backend: BaseBackend
    device: Device
    reason: str


def open_session(request: Request, options: Options) -> Session:
    """Open the model. Raises ModelError or UsageError with what to do."""
    model, task_class = open_task_class(request)
    fixed = task_class.decision.labels if task_class.decision and task_class.head == model.head else []
    if fixed and len(model.labels) not in (0, len(fixed)):
        raise ModelError(
            f"{model.path / 'config.json'}: by id2label or num_labels there are {len(model.labels)} labels, but a "
            f"model for {task_class.name} has {len(fixed)}: {' and '.join(fixed)}."
        )
    if request.backend == "auto" or request.backend in OF_ONNX:
        model = cache.with_cached_onnx(model, task_class.head, request.precision, request.calibrate)
    name, why, chosen = choose_backend(model, request, task_class.head)
    backend_class = registry.load("backends", name).Backend
    is_cached = model.onnx is not None and name in OF_ONNX
    with ThreadPoolExecutor(1) as opening:  # ONNX Runtime opens a file without the GIL: 30 ms of work beside its 40
        opened = opening.submit(open_backend, backend_class, model, chosen, task_class.head, request.precision)
        task = open_task(task_class, model, options)
    try:
        backend = opened.result()
    except ModelError as error:
        if is_cached:
            raise ModelError(f"{error} To write it anew: bertcli cache --clear {request.model}") from error
        raise
    _require_outputs(model, task, backend)
    if chosen.type != "cpu":
        backend.reduce = task.reduce_tensors
    exit_reason = _open_exit(request, model, task, backend)
    reason = (
        f"{task.name} with {model.name}: {name} {backend.precision} on {chosen.type}, {chosen.threads} threads "
        f"({why}; {chosen.reason}){exit_reason}"
    )
    if "records" in (calibration := model.config.get("calibration") or {}):
        reason += f"; scores calibrated on {calibration['records']:,} records"
    if is_cached:
        reason += f"; its ONNX file is in {model.onnx}"
    return Session(model, task, backend, chosen, reason)


def _open_exit(request: Request, model: Model, task: BaseTask, backend: BaseBackend) -> str:
    """Let texts leave at the model's early exit, if it has one. Returns the end of Session.reason about it."""
    if not model.config.get("exit_after"):
        return ""
    threshold = exit_threshold_of(model.config)
    if not isinstance(backend, Stages):
        why = f"backend {backend.name} runs all of them"
    elif threshold is None:
        why = "bertcli calibrate chooses how sure a text must be to leave early"
    elif not request.exit:
        why = "--no-exit"
    else:
        least = threshold
        backend.is_sure = lambda logits: task.certainty(logits) >= least
        return f"; texts may leave after layer {backend.after} of {backend.layers}, at log-odds of {threshold:.4g}"
    return f"; all {model.layers} layers ({why})"


def _require_outputs(model: Model, task: BaseTask, backend: BaseBackend) -> None:
    """Raise ModelError if the model lacks outputs that the task reads, or has not one score for each label.

    The head is compared first, because different heads have outputs of one name: classifiers and taggers give `logits`.
    """
    if task.head and model.head not in ("", task.head, *task.more_heads):
        raise ModelError(f"{model.path}: it is a model for {model.head}, not for {task.name}; finetune it for that.")
    names, shapes = task.model_outputs, backend.shapes
    if task.labels and any(not shapes.get(name) or shapes[name][-1] is None for name in names):  # Only a run shows it.
        ran = backend.run(collate([Window([task.tokenizer.pad] * 4)]))
        shapes = {name: value.shape for name, value in ran.items()}
    if shapes and (lacking := [name for name in names if name not in shapes]):
        raise ModelError(f"{model.path}: the model gives {', '.join(shapes)}, not {lacking[0]}.")
    ids = sorted(map(int, model.config.get("id2label") or range(len(task.labels))))
    for name, axes in names.items() if shapes else ():
        if shapes[name] and len(shapes[name]) != axes:
            raise ModelError(
                f"{model.path}: its {name} have {len(shapes[name])} axes, and those for {task.name} have {axes}; its "
                "weights are for another task than its config.json says."
            )
        size = shapes[name][-1] if task.labels else None
        if size is not None and ids != list(range(size)):
            raise ModelError(
                f"{model.path / 'config.json'}: id2label names {len(ids):,} labels, {ids[0]} to {ids[-1]}, but the "
                f"model gives {size:,} scores; name one for each, from 0."
            )


def choose_backend(model: Model, request: Request, head: str) -> tuple[str, str, Device]:
    """The name of the backend, the reason, and the device. The first rule that applies decides.

    Looking for a GPU may import torch, which takes seconds, so nobody looks if ONNX Runtime or OpenVINO will run on the
    CPU anyway.
    """
    has_onnx = bool(model.precisions(head))
    is_any_device = request.device == "auto"
    cpu = device.cpu(request.threads, "they run on the CPU")
    if request.backend in OF_ONNX and is_any_device:
        return request.backend, "asked for", cpu
    if request.backend != "auto":
        return request.backend, "asked for", device.choose(request.device, request.threads)
    if request.precision == "bf16" or not has_onnx:
        chosen = device.choose(request.device, request.threads)
        why = "bf16 was asked for" if has_onnx else "the model has no ONNX files of this task"
        if not has_onnx and chosen.type == "cpu":
            why += ": --backend onnx writes one into a cache, once, and is then several times faster"
        return "pytorch", why, chosen
    if not model.has_weights and is_any_device:
        return "onnx", "the model has only ONNX files", cpu
    chosen = device.choose(request.device, request.threads)
    if chosen.type == "cpu" or not model.has_weights:
        return "onnx", "the cache has an ONNX file" if model.onnx else "the model has ONNX files", chosen
    return "pytorch", "ONNX files run on the CPU only", chosen


def open_task_class(request: Request) -> tuple[Model, type[BaseTask]]:
    """The model's directory and the class of its task, without opening the model."""
    wanted = registry.load("tasks", request.task).Task.name if request.task else None
    model = resolve(request.model, wanted or DEFAULT)
    return model, registry.load("tasks", wanted or task_of(model)).Task


def open_task(task_class: type[BaseTask], model: Model, options: Options) -> BaseTask:
    """A task with a model's tokenizer and config. Without --pair-field the second text is where it was in training."""
    if options.pair_field is None and model.head == task_class.head:  # The model was trained for this task.
        options = replace(options, pair_field=model.config.get("pair_field"))
    return task_class(tokenizer_files.load(model.path, model.config, model.onnx), task_class.config_of(model), options)


def task_of(model: Model) -> str:
    """The task whose head the model has, by its config.json. Raises ModelError if no task fits."""
    for name in sorted(registry.names("tasks"), key=lambda name: name != DEFAULT):  # DEFAULT first: fewer imports
        task: type[BaseTask] = registry.load("tasks", name).Task
        if model.head in (task.head, *task.more_heads):
            return task.name
    architectures = ", ".join(model.config.get("architectures") or ["none"])
    raise ModelError(
        f"{model.path}: no task fits its architecture ({architectures}); finetune it first, or name one with -t."
    )
