"""The rate that a limiter leaves, learnt from what it refuses.

A limiter lets so many requests a second through and refuses the others at once (429, or 503; see
`limiter`). What it is like inside is not known: a bucket with or without room for a burst, a window
of a second, a counter that counts the refused ones as well. So:

1. Refusals are judged by their share of a second's answers (60 at least), not one by one. If they
   are too many, the rate falls to what was let through, less a little, and comes back along a curve
   that is flat up to where the limit was met, and then ever steeper, as it may have risen.
2. Several sends in a row that are refused: nothing is left to be had for a moment. So all hold, one
   request after another asks whether it is over, and the first good answer lets all go on.
3. Where the limit was met with a wave, or by far, it is looked for from below: the rate grows with
   each good answer, at most twofold in the time of an answer, until something is refused.
4. Where each refusal costs a pause (`Retry-After`), one counts, and the limit is met seldom.
5. Refusals that stay, however much the rate falls, are not a limiter's: they are put up with.
"""

from collections import deque
from math import exp

import msgspec

from bulk_eraser.pacing.hold import ASK_AFTER_S, Hold

__all__ = ["FREE", "SendRate", "Sent"]

FREE = float("inf")
SLOWEST = 1.0
"""Requests a second."""
START = 10.0
FORGOTTEN = 10.0
"""Times what is answered well: a rate beyond that is no limit any more."""

JUDGED_S = 1.0
JUDGED_ANSWERS = 60
SEVERAL = 3
SEVERAL_S = 0.01
FEW = 2
SHARE = 0.03
SHARE_WHEN_LIMITED = 0.02
"""Of the answers: fewer refusals are not meant for the rate."""

DIP = 0.03
"""Below what was let through: where the curve begins."""
DEEPEST = 0.5
BACK_S = 1.2
BACK_ANSWERS = 240
LONGEST_BACK_S = 48.0
STEEP = 3.0
"""Until the limit is met again: so many seconds or answers; and how steep the curve is then."""

BACK_PAUSES = 6.0
MOST_BACK_PAUSES = 24.0
"""Where each refusal costs a pause: so many times that; more if the limit stays about the same."""
SAME = 0.15
GROWTH_AT_FIRST, GROWTH_THEN = 2.0, 0.25
"""How often a second the rate grows e-fold, while the limit is looked for there."""
FROM, FROM_IF_FAR = 1 / 3, 1 / 4
"""Of the rate that was refused: where it is looked for once more."""
FAR_S, FAR_SENDS = 0.1, 2
"""Refused so soon after a pause: the rate is far too high."""
FEW_SENDS = 20
LITTLE, MUCH = 0.04, 0.2
"""How far the rate falls when it is refused too early, again and again."""
BELIEVED = 0.25
"""Of what came beyond the limit: the rest may have been a burst."""

AGAIN_WITHIN_S = 0.7
"""Two holds so close: the rate is far too high (a window of a second would last longer)."""
USED_UP = 0.8
GROWTH = 1.1
GROWTH_A_SECOND = 8.0
"""For each good answer, while the limit is looked for from below; and at most e-fold so often."""
LOOKED_FOR = 2
"""Refusals that end that."""
LEARNING_S = 2.0
"""So soon after a cut it may not have been deep enough."""

FAR_BELOW = 0.8
SERIES = 3
SERIES_S = 1.0
PUT_UP_WITH_S = 60.0
"""So many cuts, each so soon after the one before: the rate does not matter to the refusals."""


class Sent(msgspec.Struct, frozen=True, gc=False):
    """A request that left, as the how-manieth, and at what rate."""

    number: int
    rate: float


class SendRate:
    """Spaces sends while a limiter is met; no limit before, and after that is long over.

    Times are seconds without the pauses that the service asked for.
    """

    def __init__(self) -> None:
        self._sent = 0
        self._next = float("-inf")
        self._good: deque[float] = deque()
        self._answers: deque[tuple[float, bool]] = deque()
        self._refused = self._forgotten = 0
        self._judged_from = 0
        self._row: deque[int] = deque(maxlen=32)
        # The curve: from below `_limit` at `_since` up to it after `_back` seconds, and beyond.
        self._limit = FREE
        self._since = self._back = 0.0
        self._growing = False
        self._met_at = FREE
        self._growth = GROWTH_A_SECOND
        self._pauses, self._less = BACK_PAUSES, LITTLE
        self._hold: Hold | None = None
        self._went_on_at = float("-inf")
        self._series = 0
        self._series_rate = 0.0
        self._series_since = float("-inf")
        self._cut_at = float("-inf")
        self._put_up_with = 0.0
        self._put_up_until = float("-inf")

    # ── before a request ────────────────────────────────────────────────────────────────────

    def allowed(self, now: float) -> float:
        """Requests a second; infinite while nothing limits them."""
        if self._limit == FREE:
            return FREE
        if self._growing:
            return self._limit
        time = (now - self._since) / self._back - 1.0
        if time < 0.0:
            return max(SLOWEST, self._limit * (1.0 + DIP * time**3))
        return self._limit * exp(min(100.0, STEEP * time * time))

    def delay(self, now: float) -> float:
        """Seconds until a send is allowed; 0 when it is."""
        if self._hold is not None:
            return max(0.0, self._hold.ask_at - now)
        return max(0.0, self._next - now)

    def take(self, now: float) -> Sent:
        """Note a send at `now`."""
        self._sent += 1
        if self._limit == FREE:  # then there is no hold either
            return Sent(self._sent, FREE)
        rate = self.allowed(now)
        self._next = max(self._next, now) + 1.0 / rate
        self._went_on_at = min(self._went_on_at, now)
        if self._hold is not None:
            self._hold.asked(now)
        return Sent(self._sent, rate)

    # ── after a request ─────────────────────────────────────────────────────────────────────

    def answered(self, now: float, sent: Sent | None = None) -> None:
        """A request was answered well."""
        self._good.append(now)
        self._forget_good(now)
        sent = sent or Sent(self._sent, FREE)
        if sent.number <= self._judged_from:
            return
        self._note(now, refused=False)
        if self._limit == FREE:  # in good weather that is all
            return
        if self._hold is not None:
            self._go_on(now, self._hold)
        elif self._growing:
            growth = min(GROWTH, exp(self._growth * (now - self._since)))
            self._limit = max(self._limit, min(self._limit * growth, 2 * sent.rate))
            self._since = now
        if self._forgotten and self.allowed(now) > FORGOTTEN * self._flow(now):
            self._limit, self._growing = FREE, False

    def refused(self, now: float, sent: Sent | None = None, *, pause: float = 0.0) -> None:
        """A limiter refused a request; each refusal costs a pause of so many seconds."""
        sent = sent or Sent(self._sent + 1, self.allowed(now))
        number, rate = sent.number, sent.rate
        if number <= self._judged_from or self._hold is not None:
            return  # it left at a rate that is given up already
        self._note(now, refused=True)
        self._row.append(number)
        if pause:
            self._pay(now, rate, pause)
            return
        unknown = not self.is_limited and self._is_too_much(now, number)
        in_a_row = unknown or self._is_in_a_row(now, number)
        if in_a_row and not self._is_put_up_with(now):
            self._stop_for_a_moment(now)
        elif self._growing:
            self._met_at = min(self._met_at, rate)
            if self._refused >= LOOKED_FOR:
                self._cut(now, self._met_at / GROWTH)
        elif self._is_too_much(now, number):
            self._cut(now, self._let_through(now, number))
        elif self._since + self._back < now and self._share(number) >= SHARE_WHEN_LIMITED / 2:
            self._limit, self._since = self.allowed(now), now - self._back  # no further for now

    def forget(self, now: float) -> None:
        """What was refused was not refused by a limiter: nothing limits any more."""
        self._limit, self._growing, self._hold = FREE, False, None
        self._series = 0
        self._judge_anew(now)

    @property
    def is_limited(self) -> bool:
        return self._limit < FREE

    def is_learning(self, now: float, sent: Sent) -> bool:
        """Was it sent at a rate that is given up since, or while the limit was looked for?"""
        looked_for = self._growing or self._hold is not None or now - self._cut_at <= LEARNING_S
        return self.is_limited and (looked_for or sent.number <= self._judged_from)

    def puts_up_with(self, now: float) -> float:
        """The share of refusals that the rate has been found not to matter to; mostly 0."""
        return self._put_up_with if now < self._put_up_until else 0.0

    # ── how much is refused ─────────────────────────────────────────────────────────────────

    def _note(self, now: float, *, refused: bool) -> None:
        self._answers.append((now, refused))
        self._refused += refused
        while len(self._answers) > JUDGED_ANSWERS and self._answers[0][0] <= now - JUDGED_S:
            self._refused -= self._answers.popleft()[1]
            self._forgotten += 1

    def _is_in_a_row(self, now: float, number: int) -> bool:
        """Is this send one of several next to each other that were refused?"""
        row = 1
        for step in (-1, 1):  # answers may overtake each other
            near = number + step
            while near in self._row:
                near += step
                row += 1
        return row >= min(8, self._several(now))

    def _several(self, now: float) -> float:
        """At a high rate a few more: so many are met in a moment, and tell more exactly."""
        return max(SEVERAL, SEVERAL_S * self.allowed(now)) if self.is_limited else SEVERAL

    def _share(self, number: int) -> float:
        """Of refusals among what was sent of late, up to this one: good answers take longer."""
        return self._refused / max(len(self._answers), number - self._judged_from - self._forgotten)

    def _is_too_much(self, now: float, number: int) -> bool:
        most = SHARE_WHEN_LIMITED if self.is_limited else SHARE
        most += 1.5 * self.puts_up_with(now)
        few = self._several(now)
        if self.is_limited and len(self._answers) >= JUDGED_ANSWERS / 2:
            few = max(FEW, SEVERAL_S * self.allowed(now))
        return self._refused >= few and self._share(number) >= most

    def _is_put_up_with(self, now: float) -> bool:
        return self.puts_up_with(now) > SHARE

    def _flow(self, now: float) -> float:
        """Good answers a second: those of the last one, or the last 20 if they took longer."""
        self._forget_good(now)
        good = self._good
        if not good or now - good[0] <= JUDGED_S:
            return len(good) / JUDGED_S
        return (len(good) - 1) / (now - good[0])

    def _forget_good(self, now: float) -> None:
        good = self._good
        while len(good) > 20 and good[0] <= now - JUDGED_S:
            good.popleft()

    def _let_through(self, now: float, number: int) -> float:
        """Requests a second that were not refused, at the present rate."""
        rate = self.allowed(now)
        if rate == FREE:
            return self._flow(now)
        share = max(DEEPEST, 1 - self._share(number))
        # What came before it went on was a burst, or the wait for the next one.
        has_gone_on = now - self._went_on_at >= JUDGED_S
        flow = self._flow(now) if has_gone_on else self._flow_since_it_went_on(now)
        return min(rate * (1 - DIP), max(flow, share * rate))

    def _flow_since_it_went_on(self, now: float) -> float:
        came = sum(self._went_on_at < at <= now for at in self._good)
        return came / (now - self._went_on_at) if came >= 5 else 0.0

    # ── what is done about it ───────────────────────────────────────────────────────────────

    def _cut(self, now: float, through: float) -> None:
        """Down to a little below what was let through, and back to where it was refused."""
        if not self._gives_up(now):
            self._curve(now, through)

    def _pay(self, now: float, rate: float, pause: float) -> None:
        """A refusal that costs a pause: one is enough, and the limit is to be met seldom."""
        rate = min(rate, self.allowed(now))
        flow, since = self._flow(now), now - self._went_on_at
        is_far = since < max(FAR_S, FAR_SENDS / rate)
        pauses = BACK_PAUSES
        # 1. The limit is looked for from below: twice, ever more slowly.
        if not self.is_limited:
            self._grow_from(now, max(START, flow * (1 - DIP)), GROWTH_AT_FIRST)
        elif is_far or (self._growing and self._growth > GROWTH_THEN):
            part = FROM_IF_FAR if is_far else FROM
            self._grow_from(now, max(flow, part * rate), GROWTH_THEN)
        # 2. Then it is known, but for the last answers, which came at less than the last rate.
        elif self._growing:
            least = 1 - MUCH if since < FEW_SENDS / rate else DEEPEST
            self._curve(now, max(least * rate, min(rate * (1 - DIP), flow)), pauses * pause)
        # 3. It was thought to be higher than it is.
        elif now < self._since + self._back:
            self._less = min(MUCH, 2 * self._less)
            self._curve(now, rate * (1 - self._less), pauses * pause)
        # 4. What was held all the time is sure; part of what came beyond may have been a burst.
        else:
            self._less = LITTLE
            before = self._limit
            surely = max(before * (1 + DIP), before + BELIEVED * (flow - before))
            through = min(flow, surely) if rate < 2 * before else flow
            if abs(through - before) < SAME * before:
                pauses = min(MOST_BACK_PAUSES, 2 * self._pauses)
            self._curve(now, through, pauses * pause)
        self._pauses = pauses
        self._went_on_at = FREE  # as soon as something is sent again

    def _curve(self, now: float, limit: float, longer: float = 0.0) -> None:
        self._limit = max(SLOWEST, limit)
        self._since = now
        answers = min(LONGEST_BACK_S, BACK_ANSWERS / self._limit)
        self._back = max(BACK_S, answers, longer)
        self._growing = False
        self._judge_anew(now)

    def _grow_from(self, now: float, rate: float, growth: float = GROWTH_A_SECOND) -> None:
        self._limit = max(SLOWEST, rate)
        self._since, self._growing, self._met_at = now, True, FREE
        self._growth = growth
        self._judge_anew(now)

    def _stop_for_a_moment(self, now: float) -> None:
        rate = self.allowed(now)
        if self._gives_up(now):
            return
        flow = self._flow(now)
        self._hold = Hold(now, rate, flow)
        self._grow_from(now, min(rate, flow))

    def _go_on(self, now: float, hold: Hold) -> None:
        """The limiter lets one through again: at what rate do all go on?"""
        self._hold = None
        self._next = now
        lasted = max(ASK_AFTER_S, hold.asked_at - hold.since)
        flow = max(hold.flow, self._flow(now))
        # 1. It was met with a wave: what came through was a burst, or the first of many.
        if hold.rate == FREE:
            least = START if flow <= SLOWEST else SLOWEST
            self._grow_from(now, max(least, flow * (1 - DIP), 1 / lasted))
        # 2. It was met by far.
        elif hold.since - self._went_on_at < AGAIN_WITHIN_S:
            came = min(USED_UP * hold.rate, self._flow_since_it_went_on(hold.since))
            self._curve(now, min(max(DEEPEST * hold.rate, came), max(flow, 2 / lasted)))
        # 3. Something was used up, such as a window's allowance.
        else:
            self._curve(now, min(hold.rate, max(self._flow(now), DEEPEST * hold.rate)))
        self._went_on_at = now

    def _judge_anew(self, now: float) -> None:
        self._judged_from = self._sent
        self._answers.clear()
        self._forgotten = 0
        self._row.clear()
        self._refused = 0
        self._cut_at = now

    def _gives_up(self, now: float) -> bool:
        """Is it refused again and again, at rates far below what was let through? Then the rate is
        no matter, and it goes back up."""
        if not self.is_limited:
            return False
        rate = self.allowed(now)
        if now - self._cut_at > max(SERIES_S, JUDGED_ANSWERS / rate):
            self._series, self._series_rate, self._series_since = 0, 0.0, now
        if now - self._series_since >= JUDGED_S:  # what came before may have met a higher limit
            self._series_rate = max(self._series_rate, self._flow(now))
        self._series += rate < FAR_BELOW * self._series_rate
        if self._series <= SERIES:
            return False
        self._put_up_with = max(self._refused / len(self._answers), SHARE)
        self._put_up_until = now + PUT_UP_WITH_S
        self._series = 0
        self._curve(now, self._series_rate)
        return True
