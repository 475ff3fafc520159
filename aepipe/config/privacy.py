"""Settings that a job with a privacy budget cannot have."""

from collections.abc import Iterator, Mapping


def privacy_faults(unfit: Mapping[str, bool], *, epsilon: float | None, delta: float | None) -> Iterator[str]:
    """Yield one sentence for each setting that would use training rows outside the budget.

    Args:
        unfit: Settings, and whether the job has them.
        epsilon: Budget; None: training is not private.
        delta: Probability that the budget does not cover.
    """
    if epsilon is None:
        if delta is not None:
            yield f"train.delta = {delta:g} has no effect without train.epsilon. Set epsilon, or omit delta"
        return
    for setting in (name for name, is_set in unfit.items() if is_set):
        yield f"train.epsilon does not cover {setting}: expected none of it. Leave it out, or omit epsilon"
