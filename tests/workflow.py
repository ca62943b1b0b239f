"""`statemachine/ingest_image.asl.json` as Step Functions runs it, but without pauses: states, expressions, tries."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from jsonata import Jsonata

from imagelake.values import to_iso
from tests.application import TEMPLATE, WORKFLOW, physical_name, resolve

type Handler = Callable[[Any], Any]

UNCAUGHT_BY_ALL = ("States.DataLimitExceeded", "States.Runtime")
STEP_BYTES = 262_144
STARTED = "2026-11-22T09:30:16.000Z"
"""When executions begin, as they are told."""


class StateError(Exception):
    """What a state reports."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error, self.cause = error, cause


def evaluate(expression: Any, variables: Mapping[str, Any], substitutions: Mapping[str, str] | None = None) -> Any:
    """What Step Functions makes of a value of the workflow: JSONata between `{%` and `%}`, else itself."""
    match expression:
        case dict():
            return {name: evaluate(entry, variables, substitutions) for name, entry in expression.items()}
        case list():
            return [evaluate(entry, variables, substitutions) for entry in expression]
        case str():
            given = {"RetentionDays": "7"} | dict(substitutions or {})
            text = re.sub(r"\$\{(\w+)\}", lambda match: given.get(match[1], match[0]), expression)
            if not text.startswith("{%"):
                return text
            jsonata = Jsonata(text.removeprefix("{%").removesuffix("%}"))
            jsonata.register_lambda("parse", json.loads)  # Step Functions' own
            frame = jsonata.create_frame()
            for name, value in variables.items():
                frame.bind(name, value)
            return jsonata.evaluate(None, frame)
        case _:
            return expression


@dataclass
class Workflow:
    """The workflow of one stack.

    Args:
        functions: handlers by the name of the function's folder; each gets its payload.
        clients: `dynamodb` and `sqs`, as boto3 makes them.
        run_task: gets the arguments of `ecs:runTask`.
        before: is called ahead of each state, with its name.
    """

    functions: Mapping[str, Handler]
    clients: Callable[[str], Any]
    run_task: Handler = lambda _arguments: {}
    before: Callable[[str], None] = lambda _state: None
    definition: dict[str, Any] = field(default_factory=lambda: WORKFLOW)

    def run(self, event: Any) -> list[str]:
        """Run one execution.

        Returns:
            The names of the states that were entered, the last of which ended it.

        Raises:
            StateError: a state reported what nothing catches.
        """
        name, value, entered = self.definition["StartAt"], event, []
        variables: dict[str, Any] = {}
        while True:
            state = self.definition["States"][name]
            entered.append(name)
            self.before(name)
            match state["Type"]:
                case "Succeed" | "Fail":
                    return entered
                case "Choice":
                    chosen = [
                        choice["Next"]
                        for choice in state["Choices"]
                        if self._evaluate(choice["Condition"], variables, {"input": value}) is True
                    ]
                    name = (chosen or [state["Default"]])[0]
                case "Pass":
                    variables |= self._assigned(state, variables, {"input": value})
                    name = state["Next"]
                case _:
                    name, value = self._task(name, value, variables)

    def _task(self, name: str, value: Any, variables: dict[str, Any]) -> tuple[str, Any]:
        state, execution = self.definition["States"][name], {"Id": "arn:aws:states:test", "StartTime": STARTED}
        entered = {"Name": name, "RetryCount": 0, "EnteredTime": to_iso(datetime.now(UTC))}
        context = {"Execution": execution, "State": entered}
        states = {"input": value, "context": context}
        try:
            states["result"], way = self._call_with_retries(state, variables, states), state
        except StateError as error:
            states["errorOutput"] = {"Error": error.error, "Cause": error.cause}
            way = self._caught(state, error)
        assigned = self._assigned(way, variables, states)
        output = states.get("result", states.get("errorOutput"))
        if "Output" in way:
            output = self._evaluate(way["Output"], variables, states)
        variables |= assigned
        return way["Next"], output

    def _call_with_retries(self, state: dict[str, Any], variables: dict[str, Any], states: dict[str, Any]) -> Any:
        used: dict[int, int] = {}
        while True:
            try:
                return self._call(state, variables, states)
            except StateError as error:
                retrier = _of(state.get("Retry", ()), error)
                if retrier is None or used.get(id(retrier), 0) >= retrier["MaxAttempts"]:
                    raise
                used[id(retrier)] = used.get(id(retrier), 0) + 1
                states["context"]["State"]["RetryCount"] += 1

    @staticmethod
    def _caught(state: dict[str, Any], error: StateError) -> dict[str, Any]:
        found = _of(state.get("Catch", ()), error)
        if found is None:
            raise error
        return found

    def _call(self, state: dict[str, Any], variables: dict[str, Any], states: dict[str, Any]) -> Any:
        arguments = self._evaluate(state["Arguments"], variables, states)
        service = state["Resource"].rpartition(":::")[2]
        if service == "lambda:invoke":
            result = self._invoke(arguments)
        elif service == "ecs:runTask":
            result = self.run_task(arguments)
        else:
            name, _, operation = service.partition(":")
            call = getattr(self.clients(name), re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), operation))
            try:
                result = call(**arguments)
            except ClientError as error:
                prefix = {"dynamodb": "DynamoDB", "sqs": "Sqs"}[name]
                raise StateError(f"{prefix}.{error.response['Error']['Code']}", str(error)) from None
        return result

    def _invoke(self, arguments: dict[str, Any]) -> Any:
        if len(json.dumps(arguments)) > STEP_BYTES:
            raise StateError("States.DataLimitExceeded", "the arguments of the task are too long")
        handler = self.functions[arguments["FunctionName"]]
        try:
            payload = json.loads(json.dumps(handler(json.loads(json.dumps(arguments["Payload"])))))
        except Exception as error:  # noqa: BLE001  # Lambda reports whatever is raised
            cause = {"errorMessage": str(error), "errorType": type(error).__name__}
            raise StateError(type(error).__name__, json.dumps(cause)) from None
        if len(json.dumps(payload)) > STEP_BYTES:
            raise StateError("States.DataLimitExceeded", "the answer of the function is too long")
        return {"Payload": payload}

    def _assigned(self, way: dict[str, Any], variables: dict[str, Any], states: dict[str, Any]) -> dict[str, Any]:
        return {name: self._evaluate(one, variables, states) for name, one in way.get("Assign", {}).items()}

    @staticmethod
    def _evaluate(expression: Any, variables: dict[str, Any], states: dict[str, Any]) -> Any:
        return evaluate(expression, variables | {"states": states}, SUBSTITUTIONS)


def _of(ways: Sequence[dict[str, Any]], error: StateError) -> dict[str, Any] | None:
    """The first retrier or catcher for an error."""
    for way in ways:
        named = way["ErrorEquals"]
        if error.error in named or ("States.ALL" in named and error.error not in UNCAUGHT_BY_ALL):
            return way
    return None


def _substituted() -> dict[str, str]:
    given = TEMPLATE["Resources"]["IngestImageStateMachine"]["Properties"]["DefinitionSubstitutions"]
    found = {}
    for name, value in given.items():
        match value:
            case {"Ref": str(version)} if version.endswith(".Version"):
                words = re.findall(r"[A-Z][a-z]+", version.removesuffix("Function.Version"))
                found[name] = "_".join(words).lower()
            case {"Fn::If": _}:
                found[name] = physical_name("LargeImageCluster")
            case _:
                found[name] = str(resolve(value))
    return found


SUBSTITUTIONS = _substituted()
"""What the template puts into the definition; a function is named by its folder."""
