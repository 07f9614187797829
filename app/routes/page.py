"""`GET /`: a page on which a person tries the service, with files of its own and nothing from elsewhere."""

from pathlib import Path

from fastapi import APIRouter, Response

from app.errors import ProblemError
from app.guard.headers import NOTHING

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent.parent / "web"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
FILES = {file.name: file.read_bytes() for file in FOLDER.iterdir() if file.suffix in KINDS}
POLICY = f"{NOTHING}; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'"


@router.get("/")
def page() -> Response:
    """Answer the page."""
    return part("index.html")


@router.get("/web/{name}")
def part(name: str) -> Response:
    """Answer a file of the page. Raises ProblemError for one that there is not."""
    if name not in FILES:
        raise ProblemError(404, "not-found", f"The web page has no file {name!r}.")
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response(FILES[name], media_type=KINDS[Path(name).suffix], headers=headers)
