import signal
import sys

import pytest

from jobs.generation.drive_launch import RESUMABLE, listening


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_a_row_is_at_hand_ends_the_launch_as_one_that_can_go_on(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as left, listening():
        signal.raise_signal(number)
    assert left.value.code == RESUMABLE
    assert signal.getsignal(number) is before


def test_so_does_one_that_ray_takes_while_it_starts() -> None:
    def start_ray() -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as left, listening():
        start_ray()
    assert left.value.code == RESUMABLE
