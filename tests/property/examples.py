"""How many examples Hypothesis tries: few in `make test`, many in `make soak`."""

from hypothesis import settings

USUAL = 100


def register_profiles() -> None:
    """`quick` holds from now on, unless --hypothesis-profile names `soak`."""
    settings.register_profile("quick", max_examples=USUAL // 8, deadline=None)
    settings.register_profile("soak", max_examples=USUAL * 3, deadline=None)
    settings.load_profile("quick")


def examples(number: int) -> int:
    """The `max_examples` of a test that finds its fault within `number`, in this profile."""
    return max(1, number * settings().max_examples // USUAL)
