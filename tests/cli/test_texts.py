"""What is written into the ledger as the user's own words."""

from typing import Any

import pytest


@pytest.mark.parametrize("option", ["--requester", "--reference"])
async def test_a_text_that_is_no_utf_8_is_refused(
    desk: Any, service: Any, keys: list[str], option: str
):
    """A text that cannot stand in the ledger is refused (2) before ledger or request."""
    source = desk.csv(keys[:3])
    ended = await desk.run(source, service, option, b"J\xf6rg".decode(errors="surrogateescape"))
    assert (ended.code, ended.json["outcome"]) == (2, "refused")
    assert service.calls == []
    assert desk.ledger_size() == 0
