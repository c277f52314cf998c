"""The viewer OHIF, out of its package on npm, served beside a PACS. `.ci/run` fetches it::

npm pack @ohif/app@3.12.0 --pack-destination .cache/ohif
"""

from __future__ import annotations

import http.server
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

VERSION = "3.12.0"
PACKAGE = Path(__file__).parents[2] / ".cache" / "ohif" / f"ohif-app-{VERSION}.tgz"

_SETTINGS = """window.config = {
  routerBasename: '/', extensions: [], modes: [], showStudyList: true,
  maxNumberOfWebWorkers: 1, investigationalUseDialog: {option: 'never'},
  defaultDataSourceName: 'pacs',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'pacs',
    configuration: {
      friendlyName: 'pacs', name: 'pacs', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web',
      wadoUriRoot: '/wado', qidoSupportsIncludeField: false, imageRendering: 'wadors',
      thumbnailRendering: 'wadors', enableStudyLazyLoad: true, supportsFuzzyMatching: false,
      bulkDataURI: {enabled: true},
    },
  }],
};
"""


class Ohif:
    """A web server of the viewer, whose ``/dicom-web`` is that of a PACS.

    Args:
        folder: To unpack into.
        pacs_port: Of the PACS on this machine.
    """

    def __init__(self, folder: Path, *, pacs_port: int) -> None:
        with tarfile.open(PACKAGE) as archive:
            archive.extractall(folder, filter="data")
        pages = folder / "package" / "dist"
        (pages / "app-config.js").write_text(_SETTINGS)
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), _handler(pages, f"http://127.0.0.1:{pacs_port}")
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(pages: Path, pacs: str) -> type[http.server.SimpleHTTPRequestHandler]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(pages))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path.startswith("/dicom-web/"):
                self._fetch()
                return
            if not (pages / self.path.partition("?")[0].lstrip("/")).is_file():
                self.path = "/index.html"  # the viewer routes by itself
            super().do_GET()

        def _fetch(self) -> None:
            wanted = urllib.request.Request(
                pacs + self.path, headers={"Accept": self.headers.get("Accept", "*/*")}
            )
            try:
                with urllib.request.urlopen(wanted, timeout=30) as said:
                    status, kind, content = 200, said.headers["Content-Type"], said.read()
            except urllib.error.HTTPError as error:
                status, kind, content = error.code, "text/plain", error.read()
            self.send_response(status)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
