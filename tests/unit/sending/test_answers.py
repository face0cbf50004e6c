"""What a follow keeps of the service's status words, which may be of any length and number."""

import tracemalloc

from bulk_eraser.sending.asking import Answers


def test_words_are_counted_and_the_most_common_shown():
    """Four of them, each with its number, however many there are."""
    answers = Answers()
    for word, times in {"done": 3000, "waiting": 7, "error": 5, "a": 2, "b": 1}.items():
        for _ in range(times):
            answers.note([word])
    assert answers.most_common() == ["3,000 done", "7 waiting", "5 error", "2 a"]
    assert answers.total == 3015


def test_many_long_words_take_little_memory():
    """All are counted, few are kept, and of each the beginning."""
    answers = Answers()
    tracemalloc.start()
    for number in range(3000):
        answers.note([f"{number}" + "x" * 60_000])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answers.total == 3000
    assert kept < 100_000
    assert all(len(part) < 60 for part in answers.most_common())
