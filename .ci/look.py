"""
Look at the built pages in Chromium, and print what a reader would stumble over:
C{python .ci/look.py FOLDER}. The exit status is 1 if there is anything.

Each page is opened in a frame as wide as a laptop's window and in one as wide as a
telephone. Nothing may be wider than the frame. Tables scroll within themselves, but on
a laptop all their columns are seen. No name is broken, every picture is there, and
every class and method of the API is described. No link is dead.
"""

import html
import json
import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

LAPTOP, TELEPHONE = 1280, 390
SECONDS = 300

LOOK = """<!doctype html><body><pre id="seen"></pre><script>
async function open(page, width) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border: 0; width: ${width}px; height: 900px`;
  const loaded = new Promise((resolve) => (frame.onload = resolve));
  frame.src = page;
  document.body.append(frame);
  await loaded;
  return frame;
}
function* look(page, width) {
  const found = (selector) => page.querySelectorAll(selector);
  if (!page.querySelector("article h1")) yield "there is no heading";
  // On a telephone the content would scroll, and not the page.
  for (const part of found("html, .content"))
    if (part.scrollWidth > part.clientWidth)
      yield `the page is wider by ${part.scrollWidth - part.clientWidth} pixels`;
  for (const code of found("code.name, code.names .pre, td:first-child code"))
    if (code.getClientRects().length > 1) yield `broken: ${code.textContent}`;
  for (const table of found(".table-wrapper"))
    if (width == LAPTOP && table.scrollWidth > table.clientWidth)
      yield `columns are cut off: ${table.querySelector("tr").innerText}`;
  for (const picture of page.images)
    if (!picture.naturalWidth) yield `no picture: ${picture.src}`;
  for (const name of found("dl.py > dt.sig"))
    if (!name.nextElementSibling?.textContent.trim()) yield `undescribed: ${name.id}`;
}
async function main() {
  const seen = [];
  for (const path of PAGES)
    for (const width of [LAPTOP, TELEPHONE]) {
      const frame = await open(path, width);
      for (const what of look(frame.contentDocument, width))
        seen.push(`${path}, ${width} pixels: ${what}`);
      frame.remove();
    }
  document.getElementById("seen").textContent = ["seen:", ...seen].join("\\n");
}
const [LAPTOP, TELEPHONE, PAGES] = SETTINGS;
main();
</script>"""


class Pages(SimpleHTTPRequestHandler):
    """
    Serves a folder, and what looks at it.
    """

    def __init__(self, look: str, *args: object, **kwargs: str) -> None:
        self.look = look
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self.path != "/look":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.look.encode())
        return None

    def log_message(self, *_: object) -> None:
        pass


def pages_in(folder: Path) -> list[str]:
    """
    All pages that are written, without those of source files and of indexes.
    """
    paths = (path.relative_to(folder) for path in folder.rglob("*.html"))
    made = ("genindex", "search", "py-modindex")
    return sorted(
        f"/{path}"
        for path in paths
        if path.parts[0] != "_modules" and path.stem not in made
    )


def look_at(folder: Path) -> list[str]:
    """
    Have Chromium open every page, and return what it has seen.
    """
    pages = pages_in(folder)
    if not pages:
        raise SystemExit(f"there are no pages in {folder}")
    look = LOOK.replace("SETTINGS", json.dumps([LAPTOP, TELEPHONE, pages]))
    handler = partial(Pages, look, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        command = [
            *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu"),
            *("--dump-dom", f"--virtual-time-budget={SECONDS * 1000}"),
            f"http://127.0.0.1:{server.server_port}/look",
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        server.shutdown()
    told = re.search(r'<pre id="seen">seen:\n?(.*?)</pre>', run.stdout, re.S)
    if told is None:
        raise SystemExit(f"Chromium has not looked at the pages:\n{run.stderr[-2000:]}")
    return html.unescape(told[1]).splitlines()


def dead_links(folder: Path) -> list[str]:
    """
    The links of the pages to files and headings that are not there.
    """
    anchors: dict[Path, set[str]] = {}
    dead = []
    for page in pages_in(folder):
        path = folder / page[1:]
        for link in re.findall(r'(?:href|src)="([^"]+)"', path.read_text()):
            url = urlsplit(html.unescape(link))
            if url.scheme or url.netloc:
                continue
            target = path
            if url.path:
                target = Path(os.path.normpath(path.parent / unquote(url.path)))
            if target not in anchors:
                text = target.read_text(errors="replace") if target.is_file() else ""
                anchors[target] = set(re.findall(r'\bid="([^"]+)"', text))
            known = anchors[target]
            isThere = target.is_file() and (
                target.suffix != ".html"
                or not url.fragment
                or unquote(url.fragment) in known
            )
            if not isThere:
                dead.append(f"{page}: a dead link: {link}")
    return dead


if __name__ == "__main__":
    built = Path(sys.argv[1])
    problems = look_at(built) + dead_links(built)
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))
