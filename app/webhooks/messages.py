"""What a webhook says: little, so that it tells nothing to whom it should not; the rest is at the links."""

import json
from datetime import UTC, datetime

from workers.state.record import JobRecord, Status


def message_id(record: JobRecord) -> str:
    """Return the id of a job's webhook, the same at every attempt."""
    return f"msg_{record.id}"


def message(record: JobRecord) -> str:
    """Return the body of a job's webhook."""
    place = f"/jobs/{record.id}"
    links = {"self": place}
    if record.status is Status.FINISHED and record.report and record.report.image:
        links["image"] = f"{place}/image"
    if record.origin.batch:
        links["batch"] = f"/batches/{record.origin.batch}"
    data = {"id": record.id, "kind": record.order.kind, "status": record.status, "links": links}
    ended = datetime.fromtimestamp(record.ended or record.created, UTC).isoformat()
    return json.dumps({"type": f"job.{record.status}", "timestamp": ended, "data": data})
