"""The faults that a seed draws for the deployed lake."""

from collections import Counter

from local.emulator.faults import KINDS, STUBBORN_TRIES, Injection, Kind, Plan

ALWAYS = dict.fromkeys(KINDS, 1.0)
POINTS = ["workflow Open image", "sdk OpenImage s3 GET", "event Object Created"]


def drawn(plan: Plan, points: list[str], many: int = 50) -> dict[str, list[Kind | None]]:
    injection = Injection(plan)
    found: dict[str, list[Kind | None]] = {point: [] for point in points}
    for _ in range(many):
        for point in points:
            fault = injection.draw(point)
            found[point].append(fault.kind if fault else None)
    return found


def test_the_same_seed_draws_the_same_faults_whatever_happens_at_other_points() -> None:
    plan = Plan(7, dict.fromkeys(KINDS, 0.3))

    all_points = drawn(plan, POINTS)

    assert drawn(plan, POINTS[:1]) == {POINTS[0]: all_points[POINTS[0]]}
    assert drawn(Plan(8, plan.rates), POINTS) != all_points


def test_a_point_has_faults_of_its_kinds_only_as_often_as_the_plan_says() -> None:
    for kind, faults in KINDS.items():
        assert set(drawn(Plan(1, ALWAYS), [kind], 200)[kind]) == set(faults)
        assert set(drawn(Plan(1, {}), [kind])[kind]) == {None}
    assert 30 < sum(fault is not None for fault in drawn(Plan(1, {"sdk": 0.25}), ["sdk"], 200)["sdk"]) < 70


def test_a_fault_is_drawn_once_for_a_subject_and_a_stubborn_one_comes_back() -> None:
    for stubborn, tries in ((0.0, {1}), (1.0, {1, STUBBORN_TRIES})):
        injection = Injection(Plan(1, ALWAYS, stubborn))
        met: Counter[str] = Counter()
        for subject in map(str, range(50)):
            while (fault := injection.draw("workflow Open image", subject)) is not None:
                injection.count("workflow Open image", fault)
                met[subject] += 1

        assert set(met.values()) == tries
        assert injection.report()["calls"] == 50
        assert sum(injection.report()["injected"].values()) == sum(met.values())


def test_the_ledger_counts_what_was_injected_and_nothing_that_was_only_drawn() -> None:
    injection = Injection(Plan(1, ALWAYS))
    first, _ = injection.draw("worker OpenImage"), injection.draw("worker OpenImage")
    assert first is not None

    injection.count("worker OpenImage", first)

    assert injection.report() == {
        "plan": {"seed": 1, "rates": ALWAYS, "stubborn": 0.0},
        "injected": {"worker killed": 1},
        "points": {"worker OpenImage: killed": 1},
        "calls": 2,
    }
