"""Whose request it is, and what they may see: their own jobs. Another's job is as unknown as one that never was."""

from typing import Annotated

from fastapi import Depends, Request

from workers.ledger import JobUnknownError
from workers.record import JobRecord


def current_owner(request: Request) -> str:
    """Return the id of the API key that the request came with; empty while keys are off."""
    return str(getattr(request.state, "owner", ""))


OwnerDep = Annotated[str, Depends(current_owner)]


def owned(record: JobRecord, owner: str) -> JobRecord:
    """Return the record if it is theirs. Raises JobUnknownError."""
    if record.origin.owner != owner:
        raise JobUnknownError(record.id)
    return record
