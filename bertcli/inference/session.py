"""From what the user asked for to an opened task and backend, with the reason for each choice.

Knows how to choose; what a task, a backend or a device is, the registry and their files say.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bertcli import device, registry, tokenizer
from bertcli.backends.base import BaseBackend
from bertcli.errors import ModelError
from bertcli.inference.settings import Request
from bertcli.model import Model, resolve
from bertcli.tasks.base import BaseTask, Options


@dataclass(frozen=True)
class Session:
    """An opened model. reason: one line that names task, engine, precision and device, and says why."""

    model: Model
    task: BaseTask
    backend: BaseBackend
    place: device.Device
    reason: str


def open_session(request: Request, options: Options) -> Session:
    """Open the model. Raises ModelError or UsageError with what to do."""
    model, task_class = open_task_class(request)
    name, why, place = _choose(model, request, task_class.head)
    open_backend = registry.load("backends", name).Backend
    with ThreadPoolExecutor(1) as opening:  # ONNX Runtime opens a file without the GIL: 30 ms of work beside its 40
        opened = opening.submit(open_backend, model, place, task_class.head, request.precision)
        task = open_task(task_class, model, options)
    backend = opened.result()
    reason = (
        f"{task.name} with {model.path.name}: {name} {backend.precision} on {place.type}, {place.threads} threads "
        f"({why}; {place.reason}){_calibration(model)}"
    )
    return Session(model, task, backend, place, reason)


def _calibration(model: Model) -> str:
    stated = model.config.get("calibration") or {}
    return f"; scores calibrated on {stated['records']:,} records" if "records" in stated else ""


def open_task_class(request: Request) -> tuple[Model, type[BaseTask]]:
    """The model and its task, neither opened yet."""
    wanted = registry.load("tasks", request.task).Task.name if request.task else None
    model = resolve(request.model, wanted or "text-classification")
    return model, registry.load("tasks", wanted or task_of(model)).Task


def open_task(task_class: type[BaseTask], model: Model, options: Options) -> BaseTask:
    """A task bound to a model's tokenizer, config and, for embeddings, pooling."""
    config = {**model.config, "sentence": {} if task_class.head else model.sentence}
    return task_class(tokenizer.load(model.path, model.config), config, options)


def task_of(model: Model) -> str:
    """The task whose head the model has, as its config.json says. Raises ModelError where no task fits."""
    heads = {registry.load("tasks", name).Task.head: name for name in registry.names("tasks")}
    heads["PreTraining"] = heads["MaskedLM"]  # BERT's own head for pre-training: that one, and one for pairs
    if model.head in heads:
        return heads[model.head]
    architectures = ", ".join(model.config.get("architectures") or ["none"])
    raise ModelError(
        f"{model.path}: no task fits its architecture ({architectures}); finetune it first, or name one with -t."
    )


def _choose(model: Model, request: Request, head: str) -> tuple[str, str, device.Device]:
    """Backend, why, and device. A model that only ONNX Runtime can open never waits for torch to look for a GPU."""
    has_onnx = model.head == head and any(model.onnx_file(precision) for precision in ("int8", "fp32"))
    is_free = request.device == "auto"
    only_cpu = device.cpu(request.threads, "they run on the CPU")
    if request.backend in ("onnx", "openvino") and is_free:
        return request.backend, "asked for", only_cpu
    if request.backend != "auto":
        return request.backend, "asked for", device.choose(request.device, request.threads)
    if request.precision == "bf16" or not has_onnx:
        why = "bf16 was asked for" if has_onnx else "the model has no ONNX files of this task"
        return "pytorch", why, device.choose(request.device, request.threads)
    if not model.has_weights and is_free:
        return "onnx", "the model has only ONNX files", only_cpu
    place = device.choose(request.device, request.threads)
    if place.type == "cpu" or not model.has_weights:
        return "onnx", "the model has ONNX files", place
    return "pytorch", "ONNX files run on the CPU only", place
