from connectors.sandbox.faults import CLOSE, MALFORMED, Faults


def pushed(faults: Faults, count: int) -> list[str | None]:
    return [faults.pass_on(number, str(number)) for number in range(1, count + 1)]


def test_without_faults_everything_passes() -> None:
    assert pushed(Faults(), 3) == ["1", "2", "3"]


def test_each_fault_does_what_it_says() -> None:
    assert pushed(Faults(drop_every=2), 4) == ["1", "", "3", ""]
    assert pushed(Faults(malformed_every=3), 4) == ["1", "2", MALFORMED, "4"]
    assert pushed(Faults(close_after=3), 3) == ["1", "2", CLOSE]
    assert pushed(Faults(stall=True, close_after=1), 2) == ["", ""]
