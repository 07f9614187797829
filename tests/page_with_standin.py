"""The page at `/` in a browser, with a service that answers what a test says."""

import io
import json
import shutil
from typing import Any

from PIL import Image

from app.routes.page import FILES, KINDS, POLICY

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ORIGIN = "http://page.test"
THERE = {"available": True}
QUALITY = {"type": "integer", "default": 50, "minimum": 1, "maximum": 100}
NETWORK = {"type": "string", "default": "real-esrgan"}
JPEG = {
    "name": "jpeg", "summary": "A file", "availability": THERE,
    "parameters": {"properties": {"name": {}, "quality": QUALITY, "sigma": {"type": "number", "default": 1}}},
}  # fmt: skip
RESTORE = {
    "name": "restore", "summary": "A network.", "parameters": {"properties": {"name": {}, "network": NETWORK}},
    "availability": {"available": False, "reason": "real-esrgan is not here", "cure": "Pull it"},
}  # fmt: skip
METRIC = {"name": "piqe", "summary": "Blocks", "default": True, "availability": THERE}
SCORE = {
    "metric": "piqe", "version": "1", "original": 40.0, "defended": 30.0, "shift": -10.0,
    "higher_is_better": False, "human_trained": False,
}  # fmt: skip


def job(status: str = "finished", name: str = "1", **more: Any) -> dict[str, Any]:
    """Return the document of a job."""
    result = {"image_url": f"/jobs/{name}/image", "scores": [SCORE]} if status == "finished" else None
    links = {"self": f"/jobs/{name}"}
    facts = {"status": status, "progress": 0.5, "position": None, "defense": {"name": "jpeg"}, "error": None}
    return {"id": name, "result": result, "links": links, **facts, **more}


def problem(status: int, detail: str, **headers: str) -> dict[str, Any]:
    """Return an answer that tells of a problem."""
    return {"status": status, "json": {"detail": detail, "status": status}, "headers": headers}


class StandIn:
    """Answers by (method, path): the last of each list stays. None: the connection breaks."""

    def __init__(self, page: Any) -> None:
        self.answers: dict[tuple[str, str], list[Any]] = {
            ("GET", "/defenses"): [{"json": [JPEG, RESTORE]}],
            ("GET", "/iqa-metrics"): [{"json": [METRIC]}],
            ("POST", "/purify"): [{"json": job()}],
            ("GET", "/jobs/1"): [{"json": job()}],
            ("GET", "/jobs/1/image"): [{"body": png((128, 96)), "content_type": "image/png"}],
        }
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.keys: list[str] = []
        self.errors: list[str] = []
        self.page = page
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if "Security Policy" in said.text else None)
        page.route("**/*", self._answer)

    def open(self) -> Any:
        """Open the page; return it once its catalogue is there."""
        self.page.goto(ORIGIN)
        self.page.locator("#metrics input").first.wait_for()
        return self.page

    def _answer(self, route: Any) -> None:
        method, path = route.request.method, route.request.url.removeprefix(ORIGIN)
        name = path.removeprefix("/web/") if path != "/" else "index.html"
        if name in FILES:
            kind = KINDS[f".{name.rpartition('.')[2]}"]
            route.fulfill(body=FILES[name], content_type=kind, headers={"Content-Security-Policy": POLICY})
            return
        self.asked.append(f"{method} {path}")
        if method == "POST":
            self.keys.append(route.request.headers.get("idempotency-key", ""))
            self.sent.append((route.request.post_data_buffer or b"").decode(errors="replace"))
        answers = self.answers[method, path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            route.abort("connectionrefused")
        else:
            if "json" in answer:
                answer = {**answer, "body": json.dumps(answer["json"]), "content_type": "application/json"}
                del answer["json"]
            route.fulfill(**answer)


def handed(page: Any, kind: str, target: str, name: str, text: str = "") -> bool:
    """Drag, drop or paste a file, and `text` with it; return whether the page kept the browser from acting itself."""
    return page.evaluate(
        """([kind, target, name, text]) => {
          const data = new DataTransfer();
          data.items.add(new File(["not looked at"], name, { type: "image/png" }));
          if (text) data.setData("text/plain", text);
          const facts = { bubbles: true, cancelable: true };
          const event = kind === "paste"
            ? new ClipboardEvent(kind, { ...facts, clipboardData: data })
            : new DragEvent(kind, { ...facts, dataTransfer: data });
          return !document.querySelector(target).dispatchEvent(event);
        }""",
        [kind, target, name, text],
    )


def chosen(page: Any, name: str = "a.png", data: bytes | None = None) -> Any:
    """Choose a file, a small picture unless another is given; return the page."""
    data = png((128, 96)) if data is None else data
    page.set_input_files("#image", {"name": name, "mimeType": "image/png", "buffer": data})
    return page


def png(size: tuple[int, int], color: tuple[int, ...] = (200, 60, 40)) -> bytes:
    """Return a PNG file of one color."""
    file = io.BytesIO()
    Image.new("RGBA" if len(color) > 3 else "RGB", size, color).save(file, "png")
    return file.getvalue()
