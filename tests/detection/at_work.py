"""A saboteur at work, in a process of its own, for as long as a run lasts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from sandbox.sabotage.__main__ import READY
from tests.cloud_under_test import PROJECT_DIR

READY_WITHIN = 30.0  # seconds
STOPS_WITHIN = 10.0


class NotReady(Exception):
    """The saboteur did not begin; the message says why."""


class Nobody:
    """No saboteur at all."""

    def __init__(self) -> None:
        self.acts: list[str] = []
        self.obstacles: list[str] = []
        self.troubles: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class AtWork(Nobody):
    """Collects what the saboteur did, why it could not act, and its own failures."""

    def __init__(self, file: Path, state_dir: Path) -> None:
        super().__init__()
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.sabotage", str(file.resolve()), "--state-dir", str(state_dir)],
            cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,  # Ctrl-C is for those who started it
        )  # fmt: skip
        self._errors: list[str] = []
        self._listeners = [threading.Thread(target=self._listen), threading.Thread(target=self._listen_to_errors)]
        for listener in self._listeners:
            listener.start()

    def __enter__(self) -> Self:
        """Returns when the saboteur is ready.

        Raises:
            NotReady: it is not.
        """
        if not self._ready.wait(READY_WITHIN) or self._process.poll() is not None:
            self.__exit__()
            raise NotReady(f"The saboteur did not get ready: {''.join(self._errors).strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for listener in self._listeners:
            listener.join()

    def _listen(self) -> None:
        assert self._process.stdout
        with self._process.stdout as stream:
            for line in stream:
                if line.strip() == READY:
                    self._ready.set()
                    continue
                said = json.loads(line)
                if "acted" in said and said["acted"] not in self.acts:  # some lies are told at each request
                    self.acts.append(said["acted"])
                self.obstacles += [said["could_not_act"]] if "could_not_act" in said else []
                self.troubles += [said["trouble"]] if "trouble" in said else []
        self._ready.set()  # it will never be: nobody needs to wait

    def _listen_to_errors(self) -> None:
        assert self._process.stderr
        with self._process.stderr as stream:
            self._errors.extend(stream)
