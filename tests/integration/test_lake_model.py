"""Everything that happens to images, in any order, with deaths, lost answers and one thing in the middle of another.

Hypothesis draws what happens. The workflow, its functions and all others are the real ones, on stores in process and
a clock that goes by minutes and days. In the end the faults stop: then every image that is kept has one outcome, the
right one, one current row that says the same, its events, and a message if it was ever rejected or failed; what was
erased or has had its days is nowhere. Before operators see to the rest, each image that failed, or whose redrive
came to nothing, has a message that nobody has deleted yet. Whoever asks meanwhile sees no row twice.

`make test` draws the same examples every time. With EXAMPLES in the environment it draws that many new ones, and makes
the one that fails as short as it can.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test
from moto.backends import get_backend

from imagelake.catalog import compaction, parquet, rebuild
from imagelake.retention import erasure, purge
from tests.integration import conftest
from tests.integration.call_faults import KINDS, CallFault
from tests.integration.conftest import Context
from tests.integration.lake_model import BEGINNING, Lake
from tests.integration.presigned import PresignedS3
from tests.workflow import Workflow

EXAMPLES, STEPS = 10, 40
POOLS = [
    *((compaction, "DOWNLOADS"), (parquet, "DOWNLOADS"), (rebuild, "READERS")),
    *((purge, "WORKERS"), (erasure, "WORKERS")),
]
SPANS = st.sampled_from([timedelta(minutes=1), timedelta(minutes=20), timedelta(hours=2), timedelta(days=2)])
MEANWHILE: dict[str, Callable[[Lake, str], object]] = {
    "erase": lambda lake, image_id: lake.erase(image_id),
    "deliver": lambda lake, image_id: lake.deliver(image_id),
    "stream": lambda lake, _: lake.stream(5, is_answered=True),
    "redrive": lambda lake, image_id: lake.redrive(image_id),
    "compact": lambda lake, _: lake.compact(),
    "purge": lambda lake, _: lake.purge(),
}
type Drawn = list[tuple[str, int, str]]
FAULTS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20), st.sampled_from(sorted(MEANWHILE))), max_size=2)


class Machine(RuleBasedStateMachine):
    """What may happen to a lake; `new_lake` gives one with stores and a clock of its own, until it is left."""

    images = Bundle("images")

    def __init__(self, new_lake: Callable[[], AbstractContextManager[Lake]]) -> None:
        super().__init__()
        self.end = ExitStack()
        self.lake = self.end.enter_context(new_lake())

    def _faults(self, drawn: Drawn, image_id: str = "") -> list[CallFault]:
        of = image_id or min(self.lake.images)
        return [CallFault(kind, call, partial(MEANWHILE[name], self.lake, of)) for kind, call, name in drawn]

    @initialize(target=images)
    def upload_first(self) -> Any:
        return multiple(*(self.lake.upload(kind) for kind in ("good", "good", "bad")))

    @rule(target=images, kind=st.sampled_from(["good", "bad"]))
    def upload(self, kind: str) -> str:
        return self.lake.upload(kind)

    @rule(image=images)
    def put_again(self, image: str) -> None:
        self.lake.put_again(image)

    @rule(image=images, faults=FAULTS)
    def deliver(self, image: str, faults: Drawn) -> None:
        self.lake.deliver(image, self._faults(faults, image))

    @rule(image=images, call=st.integers(0, 12))
    def deliver_twice_at_once(self, image: str, call: int) -> None:
        self.lake.deliver(image, self._faults([("meanwhile", call, "deliver")], image))

    @rule(bug=st.booleans(), fault=st.booleans())
    def deploy(self, bug: bool, fault: bool) -> None:
        self.lake.deploy(bug=bug, fault=fault)

    @rule(span=SPANS)
    def wait(self, span: timedelta) -> None:
        self.lake.wait(span)

    @rule(faults=FAULTS)
    def reconcile(self, faults: Drawn) -> None:
        self.lake.reconcile(self._faults(faults))

    @rule(image=images, is_crowded=st.booleans(), faults=FAULTS)
    def redrive(self, image: str, is_crowded: bool, faults: Drawn) -> None:
        self.lake.redrive(image, self._faults(faults, image), is_crowded=is_crowded)

    @rule(image=images, is_crowded=st.booleans(), faults=FAULTS)
    def fail_and_redrive(self, image: str, is_crowded: bool, faults: Drawn) -> None:
        """What nobody would draw often, one after the other."""
        self.lake.deploy(bug=False, fault=True)
        self.lake.deliver(image)
        self.lake.deploy(bug=False, fault=False)
        self.lake.redrive(image, self._faults(faults, image), is_crowded=is_crowded)

    @rule(image=images, faults=FAULTS)
    def erase(self, image: str, faults: Drawn) -> None:
        self.lake.erase(image, self._faults(faults, image))

    @rule(many=st.integers(1, 9), is_answered=st.booleans(), faults=FAULTS)
    def stream(self, many: int, is_answered: bool, faults: Drawn) -> None:
        self.lake.stream(many, is_answered=is_answered, faults=self._faults(faults))

    @rule(which=st.integers(0, 9))
    def lose(self, which: int) -> None:
        self.lake.lose(which)

    @rule(image=images, faults=FAULTS)
    def rebuild(self, image: str, faults: Drawn) -> None:
        self.lake.rebuild(self.lake.images[image].key.hour, self._faults(faults, image))

    @rule(faults=FAULTS)
    def compact(self, faults: Drawn) -> None:
        self.lake.compact(self._faults(faults))

    @rule(faults=FAULTS)
    def purge(self, faults: Drawn) -> None:
        self.lake.purge(self._faults(faults))

    @rule()
    def query(self) -> None:
        self.lake.query()

    def teardown(self) -> None:
        """After the last thing that happened."""
        with self.end:
            self.lake.settle()
            self.lake.check()
            self.lake.let_a_week_pass()
            self.lake.check()


def test_whatever_happens_every_image_has_its_outcome_its_row_and_its_days(
    workflow: Workflow, presigned: PresignedS3, tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", lambda _: 900_000)
    for module, name in POOLS:  # one call after the other, so that the same draw is the same run
        monkeypatch.setattr(module, name, 1)

    @contextmanager
    def new_lake() -> Iterator[Lake]:
        with time_machine.travel(BEGINNING, tick=False) as clock:
            get_backend("moto_api")["global"].reset()
            conftest._create_stores()
            monkeypatch.setattr(time, "sleep", clock.shift)
            yield Lake(clock, workflow, presigned, tell, monkeypatch)

    is_search = "EXAMPLES" in os.environ
    run_state_machine_as_test(
        partial(Machine, new_lake),  # type: ignore[arg-type]  # what makes one will do
        settings=settings(
            max_examples=int(os.environ.get("EXAMPLES", EXAMPLES)),
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not is_search,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([Phase.shrink] if is_search else [])],
        ),
    )
