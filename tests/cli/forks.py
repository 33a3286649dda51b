"""A process that has imported everything once and forks for each command line, which then spares itself the imports.

Those take 0.3 s of a command's 0.5, and 4 s where it trains; the suite runs some 2,000. As a program it is the client:
`python -I -S forks.py SOCKET ARGUMENT…` hands its streams, directory and environment to the server, and ends as the
fork does. So a test has a process of its own all the same, with pipes, signals and exit code.
"""

import array
import json
import os
import signal
import socket
import sys

PRELOADED = (
    "bertcli.cli.main", "bertcli.export.export", "bertcli.explain", "bertcli.pretraining.pretrain", "bertcli.report",
    "bertcli.inference.session", "bertcli.training.finetune", "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert", "onnx",
)  # fmt: skip


def serve(path: str) -> None:
    """Fork for each client, until the process is killed."""
    import atexit
    import gc
    import traceback
    from importlib import import_module

    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # what is imported is shared: a collection in a fork would copy the pages that it marks
    before = set(os.environ)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors below
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        arguments, directory, environment = json.loads(message)
        command = os.fork()
        if not command:
            break
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(command, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(directory)
    for name in before - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    sys.argv = ["bertcli", *arguments]
    code = 1
    try:
        import_module("bertcli.cli.main").main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # C libraries would wait for the threads that they had in the server


def request(path: str, arguments: list[str]) -> int:
    """Have a command line run; its exit code, or the number of the signal that ended it, less than 0."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        message = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()  # noqa: PTH109 - a light import
        streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
        connection.sendmsg([message], streams)
        return int(connection.recv(16))


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        code = request(sys.argv[1], sys.argv[2:])
        if code < 0:
            os.kill(os.getpid(), -code)
        sys.exit(code)
